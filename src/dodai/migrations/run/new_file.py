"""Create a migration file whose version sorts after every other."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from dodai.core.errors import DodaiError
from dodai.migrations import codes
from dodai.migrations.goose_file import files_of
from dodai.migrations.goose_file.plain import DOWN_SUFFIX, UP_SUFFIX
from dodai.migrations.policy import Format
from dodai.migrations.ports import MigrationTarget

SEQUENCE_LIMIT = 10**8
"""Versions below this are a sequence (00042), above it timestamps (20260214093000)."""
_BODY = "-- +goose Up\n\n-- +goose Down\n"
_WITHOUT_A_MARK: dict[Format, str] = {
    "plain": "leave it out: a statement such as CREATE INDEX CONCURRENTLY shows by itself that it needs none",
    "alembic": "leave it out, and put such statements into `with op.get_context().autocommit_block():`",
    "django": "leave it out, and say `atomic = False` in the migration",
}


def new(target: MigrationTarget, name: str, *, no_transaction: bool = False, now: datetime | None = None) -> str:
    """The path (relative to the root) of the new file; the version goes on as the last one was made.

    goose's own rules: UTC `YYYYMMDDHHMMSS`, or the next number where the folder counts; a plain file has no
    annotations, and a way down beside it where the last one has (golang-migrate). Another tool makes its own file (for
    Django `name` is `APP.NAME`). Raises DOD201 for a name that does not do, and for a mark that the format has not.
    """
    if no_transaction and target.policy.format != "goose":
        message = f"the format `{target.policy.format}` has no mark for `--no-transaction`"
        raise DodaiError(codes.FILE_NAME, message, _WITHOUT_A_MARK[target.policy.format], exit_code=2)
    if target.tool:
        return target.tool.new(name)
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
    in_pairs = target.policy.format == "plain" and bool(existing) and existing[-1].path.endswith(UP_SUFFIX)
    path = folder / f"{version}_{slug}{UP_SUFFIX if in_pairs else '.sql'}"
    with path.open("x") as file:
        file.write(_body(target, no_transaction=no_transaction))
    if in_pairs:
        (folder / f"{version}_{slug}{DOWN_SUFFIX}").touch()
    return str(path.relative_to(target.root))


def _body(target: MigrationTarget, *, no_transaction: bool) -> str:
    if target.policy.format == "plain":
        return ""
    return ("-- +goose NO TRANSACTION\n" if no_transaction else "") + _BODY
