"""Migrations in production: values of what was done, and the step of a deploy. Executes no Plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from dodai.core.errors import DodaiError
from dodai.core.sha256 import sha256
from dodai.migrations import apply, codes, ledger
from dodai.migrations.apply.preconditions import coded
from dodai.migrations.ports import Author, MigrationTarget, Process, SqlConnection, Worker, url_of
from dodai.migrations.run.author import author_of, new_run
from dodai.migrations.run.settled import settled

if TYPE_CHECKING:
    from dodai.migrations.apply import Applied, MigrationEntry, Status, status
    from dodai.migrations.lock_probe.rows import save_rows
    from dodai.migrations.migration import Migration
    from dodai.migrations.run.adoption import Adopted, adopt
    from dodai.migrations.run.belonging import announce, newest_token
    from dodai.migrations.run.copy_rehearsal import MigrationRehearsal, rehearse
    from dodai.migrations.run.correction import Repaired, repair
    from dodai.migrations.run.deploy_step import step
    from dodai.migrations.run.dry_run import Validation, preview, validate
    from dodai.migrations.run.new_file import fix, new

# `migrate up` is typed all day: what it does not need is loaded when it is asked for.
_LATER = {
    "Applied": "dodai.migrations.apply",
    "MigrationEntry": "dodai.migrations.apply",
    "Status": "dodai.migrations.apply",
    "status": "dodai.migrations.apply",
    "save_rows": "dodai.migrations.lock_probe.rows",
    "Adopted": "dodai.migrations.run.adoption",
    "adopt": "dodai.migrations.run.adoption",
    "fix": "dodai.migrations.run.new_file",
    "step": "dodai.migrations.run.deploy_step",
    "new": "dodai.migrations.run.new_file",
    "Validation": "dodai.migrations.run.dry_run",
    "preview": "dodai.migrations.run.dry_run",
    "validate": "dodai.migrations.run.dry_run",
    "MigrationRehearsal": "dodai.migrations.run.copy_rehearsal",
    "rehearse": "dodai.migrations.run.copy_rehearsal",
    "Repaired": "dodai.migrations.run.correction",
    "repair": "dodai.migrations.run.correction",
    "announce": "dodai.migrations.run.belonging",
    "newest_token": "dodai.migrations.run.belonging",
}

__all__ = [
    "Adopted",
    "Applied",
    "MigrationEntry",
    "MigrationRehearsal",
    "MigrationTarget",
    "Repaired",
    "Status",
    "Validation",
    "adopt",
    "announce",
    "applied_ids",
    "author_of",
    "down",
    "fingerprint",
    "fix",
    "new",
    "new_run",
    "newest_token",
    "preview",
    "rehearse",
    "repair",
    "required_ids",
    "save_rows",
    "status",
    "step",
    "up",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(name)
    return getattr(import_module(_LATER[name]), name)


@coded()
def up(
    target: MigrationTarget,
    *,
    token: int | None = None,
    allow_missing: bool = False,
    beside_tables: bool = False,
    to: str = "",
    note: Callable[[str], None] = lambda _: None,
    opened: Callable[[Process], None] = lambda _: None,
    admit: Callable[[SqlConnection], None] = lambda _: None,
) -> Applied:
    """Apply what is pending; the same command locally, in CI and in production, and it never asks.

    `token` is the fencing token of the lease it runs under, None without one. `note` gets progress lines; `opened` gets
    what works for us, so that it can be cancelled; `admit` looks at the database first and may refuse it. Raises
    DOD200-226 for bad files (nothing is run then), DOD250-266 when refused, DOD280-283 when a file fails, DOD351 when
    somebody took over.
    """
    run = new_run()
    worker = _opened(target, opened)
    conn: SqlConnection | None = None
    try:
        conn = target.connect()
        opened(conn)
        admit(conn)
        if same := settled(conn, target, run, note, to):
            return same
        if worker:
            worker.begin(url_of(conn))
        from dodai.migrations.goose_file import history_of
        from dodai.migrations.snapshot import schema_hash

        return apply.up(
            conn,
            history_of(target, worker).sound(),
            target.policy,
            run=run,
            author=target.author,
            connect=target.connect,
            schema_hash=schema_hash,
            token=token,
            allow_missing=allow_missing,
            beside_tables=beside_tables,
            to=to,
            note=note,
            tool=target.tool,
            opened=opened,
            worker=worker,
        )
    finally:
        if worker:
            worker.close()
        if conn:
            conn.close()


def _opened(target: MigrationTarget, opened: Callable[[Process], None]) -> Worker | None:
    """The tool of the history, which loads itself while we connect and read the files; None where it cannot start.

    What keeps it from starting is said once it is needed.
    """
    if target.tool is None:
        return None
    try:
        worker = target.tool.open()
    except DodaiError:
        return None
    opened(worker)
    return worker


@coded()
def down(
    target: MigrationTarget,
    *,
    count: int = 1,
    to: str = "",
    protected: bool = False,
    break_glass: str = "",
    note: Callable[[str], None] = lambda _: None,
    admit: Callable[[SqlConnection], None] = lambda _: None,
) -> Applied:
    """Undo the last `count` migrations, or all after version `to`.

    Raises DOD256 on a `protected` environment without a `break_glass` reason, and for a file without a way down; DOD285
    when a Down fails (it is rolled back).
    """
    if protected and not break_glass.strip():
        message = f"`{target.policy.table}` belongs to a protected environment"
        raise DodaiError(codes.DOWN_REFUSED, message, codes.DOWN_REFUSED.fix.en, exit_code=1)

    from dodai.migrations.goose_file import history_of
    from dodai.migrations.snapshot import schema_hash

    def author() -> Author:
        return replace(target.author(), approval=break_glass)

    conn = target.connect()
    try:
        admit(conn)
        return apply.down(
            conn,
            history_of(target).sound(),
            target.policy,
            run=new_run(),
            count=count,
            to=to,
            author=author,
            connect=target.connect,
            schema_hash=schema_hash,
            note=note,
            tool=target.tool,
        )
    finally:
        conn.close()


def fingerprint(migrations: tuple[Migration, ...]) -> str:
    """One hash over all files, for the plan: other files are another plan."""
    digest = sha256()
    for migration in migrations:
        digest.update(f"{migration.path}\0{migration.raw_sha256}\n".encode())
    return digest.hexdigest()


@coded()
def applied_ids(target: MigrationTarget) -> tuple[str, ...]:
    """The ids that are in effect, in the order they were applied; what `DODAI_REQUIRED_SCHEMA` is made of."""
    with target.reading() as conn:
        return apply.readable(lambda: ledger.read(conn, target.policy, target.tool)).ids


def required_ids(target: MigrationTarget) -> tuple[str, ...]:
    """The ids a release of this tree needs before it may serve: all versioned files."""
    from dodai.migrations.goose_file import history_of

    return tuple(m.id for m in history_of(target).sound() if not m.repeatable)
