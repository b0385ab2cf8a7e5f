"""Create a migration file whose version sorts after every other."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from dodai.core.errors import DodaiError
from dodai.migrations import codes
from dodai.migrations.goose_file import files_of
from dodai.migrations.ports import Target

SEQUENCE_LIMIT = 10**8
"""Versions below this are a sequence (00042), above it timestamps (20260214093000)."""
_BODY = "-- +goose Up\n\n-- +goose Down\n"


def new(target: Target, name: str, *, no_transaction: bool = False, now: datetime | None = None) -> str:
    """The path (relative to the root) of the new file; the version goes on as the last one was made.

    goose's own rules: UTC `YYYYMMDDHHMMSS`, or the next number where the folder counts. Raises DOD201 for a name
    without a letter or digit.
    """
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not slug:
        raise DodaiError(
            codes.FILE_NAME, f"`{name}` has no letter or digit", "name what the migration does", exit_code=2
        )
    existing = [m for m in files_of(target).migrations if not m.repeatable]
    last = max((m.order for m in existing), default=0)
    if 0 < last < SEQUENCE_LIMIT:
        width = max(len(m.path.rsplit("/", 1)[-1].partition("_")[0]) for m in existing)
        version = f"{last + 1:0{width}d}"
    else:
        stamp = int((now or datetime.now(UTC)).strftime("%Y%m%d%H%M%S"))
        version = str(max(stamp, last + 1))
    folder = target.root / target.policy.folder
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{version}_{slug}.sql"
    with path.open("x") as file:
        file.write(("-- +goose NO TRANSACTION\n" if no_transaction else "") + _BODY)
    return str(path.relative_to(target.root))
