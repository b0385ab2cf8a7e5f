"""Migrations in production: values of what was done, and the step of a deploy. Executes no Plan."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import replace

from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.plan import Observed, Step, StepContext
from dodai.migrations import apply, codes, ledger
from dodai.migrations.apply import Applied, Entry, Status, status
from dodai.migrations.goose_file import files_of
from dodai.migrations.lock_probe.rows import save_rows
from dodai.migrations.migration import Migration
from dodai.migrations.ports import Author, Connection, Target, is_database_error
from dodai.migrations.run.adopt import Adopted, adopt
from dodai.migrations.run.author import author_of, new_run
from dodai.migrations.run.new import new
from dodai.migrations.run.rehearse import Copy, MakeCopy, Rehearsed, rehearse
from dodai.migrations.run.repair import Repaired, repair
from dodai.migrations.snapshot import schema_hash

__all__ = [
    "Adopted",
    "Applied",
    "Copy",
    "Entry",
    "MakeCopy",
    "Rehearsed",
    "Repaired",
    "Status",
    "Target",
    "adopt",
    "applied_ids",
    "author_of",
    "down",
    "fingerprint",
    "new",
    "rehearse",
    "repair",
    "required_ids",
    "save_rows",
    "status",
    "step",
    "up",
]


def up(
    target: Target,
    *,
    allow_missing: bool = False,
    note: Callable[[str], None] = lambda _: None,
    opened: Callable[[Connection], None] = lambda _: None,
) -> Applied:
    """Apply what is pending; the same command locally, in CI and in production, and it never asks.

    `note` gets progress lines; `opened` gets the working connection, so that it can be cancelled. Raises DOD200-226 for
    bad files (nothing is run then), DOD250-262 when refused, DOD280-283 when a file fails.
    """
    migrations = files_of(target).sound()
    conn = target.connect()
    try:
        opened(conn)
        return apply.up(
            conn,
            migrations,
            target.policy,
            run=new_run(),
            author=target.author,
            connect=target.connect,
            schema_hash=schema_hash,
            allow_missing=allow_missing,
            note=note,
        )
    finally:
        conn.close()


def down(
    target: Target,
    *,
    count: int = 1,
    to: str = "",
    protected: bool = False,
    break_glass: str = "",
    note: Callable[[str], None] = lambda _: None,
) -> Applied:
    """Undo the last `count` migrations, or all after version `to`.

    Raises DOD256 on a `protected` environment without a `break_glass` reason, and for a file without a way down; DOD285
    when a Down fails (it is rolled back).
    """
    if protected and not break_glass.strip():
        message = f"`{target.policy.ledger}` belongs to a protected environment"
        raise DodaiError(codes.DOWN_REFUSED, message, codes.DOWN_REFUSED.fix.en, exit_code=1)

    def author() -> Author:
        return replace(target.author(), approval=break_glass)

    conn = target.connect()
    try:
        return apply.down(
            conn,
            files_of(target).sound(),
            target.policy,
            run=new_run(),
            count=count,
            to=to,
            author=author,
            connect=target.connect,
            schema_hash=schema_hash,
            note=note,
        )
    finally:
        conn.close()


def step(target: Target, *, id: str = "migrate", needs: tuple[str, ...] = ()) -> Step:  # noqa: A002 - as in Step
    """The deploy's step: done when nothing is pending. It is not taken back: the way is forward (expand, contract)."""
    return Step(
        id=id,
        title=Text("apply pending migrations", "未適用のマイグレーションを適用"),
        area="migrations",
        observe=lambda context: _look(target, context),
        apply=lambda context: _apply(target, context),
        verify=lambda context: _look(target, context),
        needs=needs,
        on_failure="fix_forward",
        timeout_s=target.policy.statement_timeout_s + target.policy.lock_patience_s,
        command="dodai migrate up",
        inputs={"migrations": fingerprint(files_of(target).migrations)},
    )


def fingerprint(migrations: tuple[Migration, ...]) -> str:
    """One hash over all files, for the plan: other files are another plan."""
    digest = hashlib.sha256()
    for migration in migrations:
        digest.update(f"{migration.path}\0{migration.raw_sha256}\n".encode())
    return digest.hexdigest()


async def _look(target: Target, _: StepContext) -> Observed:
    seen = await asyncio.to_thread(status, target)
    if seen.problems:
        raise seen.problems[0].error()
    if seen.refusal:
        raise seen.refusal
    if seen.pending:
        return Observed("needed", f"{len(seen.pending)} pending, first `{seen.pending[0].path}`")
    return Observed("done", f"{len(seen.applied)} applied")


async def _apply(target: Target, context: StepContext) -> None:
    """In a thread; when the step is cancelled so is the running statement, and the thread has ended on return."""
    conns: list[Connection] = []
    loop = asyncio.get_running_loop()

    def note(text: str) -> None:
        loop.call_soon_threadsafe(context.note, text)

    work = asyncio.ensure_future(asyncio.to_thread(up, target, note=note, opened=conns.append))
    try:
        done = await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            for conn in conns:
                await asyncio.to_thread(_cancel, conn)
            await asyncio.wait([work], timeout=0.2)
        with contextlib.suppress(Exception):
            work.result()
        raise
    for ran in done.ran:
        context.note(f"{ran.migration.path} in {ran.ms:.0f} ms")


def _cancel(conn: Connection) -> None:
    try:
        conn.cancel()
    except Exception as error:
        if not is_database_error(error):
            raise


def applied_ids(target: Target) -> tuple[str, ...]:
    """The ids that are in effect, in the order they were applied; what `DODAI_REQUIRED_SCHEMA` is made of."""
    conn = target.connect()
    try:
        conn.autocommit = True
        return ledger.read(conn, target.policy).ids
    finally:
        conn.close()


def required_ids(target: Target) -> tuple[str, ...]:
    """The ids a release of this tree needs before it may serve: all versioned files."""
    return tuple(m.id for m in files_of(target).sound() if not m.repeatable)
