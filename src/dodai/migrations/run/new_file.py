"""Create a migration file whose version sorts after every other."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from dodai.core.errors import DodaiError
from dodai.migrations import codes
from dodai.migrations.format_words import WORDS
from dodai.migrations.goose_file import files_of, fixed_text
from dodai.migrations.goose_file.layouts import DOWN_SUFFIX, UP_SUFFIX, version_parts
from dodai.migrations.migration import Migration
from dodai.migrations.policy import Format
from dodai.migrations.ports import MigrationTarget

SEQUENCE_LIMIT = 10**8
"""Versions below this are a sequence (00042), above it timestamps (20260214093000)."""
_BODY = "-- +goose Up\n\n-- +goose Down\n"
_SHOWS_ITSELF = "a statement such as CREATE INDEX CONCURRENTLY shows by itself that it needs none"


def new(target: MigrationTarget, name: str, *, no_transaction: bool = False, now: datetime | None = None) -> str:
    """The path (relative to the root) of the new file; the version goes on as the last one was made.

    UTC `YYYYMMDDHHMMSS`, or the next number where the folder counts. It is laid out as the format has it, with a way
    down beside it where the last one has (golang-migrate). Alembic and Django make their own file (for Django `name` is
    `APP.NAME`). Raises DOD201 for a name that does not do, and for a mark that the format has not.
    """
    mark = WORDS[target.policy.format].mark
    if no_transaction and (target.tool or not mark):
        message = f"the format `{target.policy.format}` has no mark for `--no-transaction`"
        fix = f"leave it out{f', and {mark}' if mark else f': {_SHOWS_ITSELF}'}"
        raise DodaiError(codes.FILE_NAME, message, fix, exit_code=2)
    if target.tool:
        return target.tool.new(name)
    slug = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    if not slug:
        raise DodaiError(
            codes.FILE_NAME, f"`{name}` has no letter or digit", "name what the migration does", exit_code=2
        )
    existing = [m for m in files_of(target).migrations if not m.repeatable]
    stamp = (now or datetime.now(UTC)).strftime("%Y%m%d%H%M%S")
    files = _files(target.policy.format, existing, stamp, slug, no_transaction=no_transaction)
    folder = target.root / target.policy.folder
    for name_, body in files.items():
        (folder / name_).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name_).open("x") as file:
            file.write(body)
    return str((folder / next(iter(files))).relative_to(target.root))


def _files(
    layout: Format, existing: Sequence[Migration], stamp: str, slug: str, *, no_transaction: bool
) -> dict[str, str]:
    """What to write below the folder, the way up first."""
    last = max((m.order for m in existing), default=0)
    if layout == "flyway":
        newest = max((version_parts(m.path)[0] for m in existing), default=0)
        number = newest + 1 if 0 < newest < SEQUENCE_LIMIT else max(int(stamp), newest + 1)
        return {f"V{number}__{slug}.sql": ""}
    if 0 < last < SEQUENCE_LIMIT and layout not in ("diesel", "prisma"):
        width = max(len(m.path.rsplit("/", 1)[-1].partition("_")[0]) for m in existing)
        version = f"{last + 1:0{width}d}"
    else:
        version = str(max(int(stamp), last + 1))
    name = f"{version}_{slug}"
    if layout == "diesel":
        dashed = f"{version[:4]}-{version[4:6]}-{version[6:8]}-{version[8:]}_{slug}"
        alone = {f"{dashed}/metadata.toml": "run_in_transaction = false\n"} if no_transaction else {}
        return {f"{dashed}/up.sql": "", f"{dashed}/down.sql": "", **alone}
    if layout == "prisma":
        return {f"{name}/migration.sql": ""}
    if layout == "dbmate":
        return {f"{name}.sql": f"-- migrate:up{' transaction:false' if no_transaction else ''}\n\n-- migrate:down\n"}
    if layout == "plain" and existing and existing[-1].path.endswith(UP_SUFFIX):
        return {f"{name}{UP_SUFFIX}": "", f"{name}{DOWN_SUFFIX}": ""}
    return {
        f"{name}.sql": "" if layout == "plain" else ("-- +goose NO TRANSACTION\n" if no_transaction else "") + _BODY
    }


def fix(target: MigrationTarget) -> tuple[str, ...]:
    """The paths (relative to the root) of files that were rewritten; only annotation lines are added."""
    changed: list[str] = []
    wrong = {problem.path for problem in files_of(target).problems if problem.code is codes.SPLIT_DIFFERS}
    for path in sorted(wrong):
        file = target.root / path
        before = file.read_text()
        after = fixed_text(before)
        if after != before:
            file.write_text(after)
            changed.append(path)
    return tuple(changed)
