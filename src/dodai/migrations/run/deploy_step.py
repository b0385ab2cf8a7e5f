"""The step of a deploy that applies what is pending."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import replace

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.plan import Observed, Step, StepContext
from dodai.migrations import run
from dodai.migrations.apply import status
from dodai.migrations.goose_file import files_of
from dodai.migrations.ports import MigrationTarget, Process, is_database_error
from dodai.migrations.run.belonging import refuse


def step(
    target: MigrationTarget,
    *,
    command: str = "",
    id: str = "migrate",  # noqa: A002 - as in Step
    needs: tuple[str, ...] = (),
) -> Step:
    """The deploy's step: done when nothing is pending. It is not taken back: the way is forward (expand, contract).

    DOD264 on the database of another, protected environment, whatever is pending.
    `command` is what is given again once a migration that failed is corrected; by default `migrate up`.
    """
    command = command or proposal.MIGRATE_UP()
    return Step(
        id=id,
        title=Text("apply pending migrations", "未適用のマイグレーションを適用"),
        area="migrations",
        observe=lambda context: _look(target, command, context),
        apply=lambda context: _apply(target, command, context),
        verify=lambda context: _look(target, command, context),
        needs=needs,
        on_failure="fix_forward",
        timeout_s=target.policy.statement_timeout_s + target.policy.lock_patience_s,
        command=proposal.MIGRATE_UP(),
        inputs={"migrations": run.fingerprint(files_of(target).migrations)},
    )


async def _look(target: MigrationTarget, command: str, context: StepContext) -> Observed:
    with _within(command, context.env):
        await asyncio.to_thread(refuse, target, context.env)
        seen = await asyncio.to_thread(status, target)
        if seen.problems:
            raise seen.problems[0].error()
        if seen.refusal:
            raise seen.refusal
    if seen.pending:
        return Observed("needed", f"{len(seen.pending)} pending, first `{seen.pending[0].path}`")
    return Observed("done", f"{len(seen.applied)} applied")


async def _apply(target: MigrationTarget, command: str, context: StepContext) -> None:
    """In a thread, under the token of the lease.

    When the step is cancelled so is the running statement, and the thread has ended on return.
    """
    working: list[Process] = []
    loop = asyncio.get_running_loop()

    def note(text: str) -> None:
        loop.call_soon_threadsafe(context.note, text)

    token = context.fencing_token
    work = asyncio.ensure_future(asyncio.to_thread(run.up, target, token=token, note=note, opened=working.append))
    try:
        with _within(command, context.env):
            done = await asyncio.shield(work)
    except asyncio.CancelledError:
        while not work.done():
            for process in working:
                await asyncio.to_thread(_cancel, process)
            await asyncio.wait([work], timeout=0.2)
        with contextlib.suppress(Exception):
            work.result()
        raise
    for ran in done.ran:
        context.note(f"{ran.migration.path} in {ran.ms:.0f} ms")


@contextlib.contextmanager
def _within(command: str, env: str) -> Iterator[None]:
    """Failures propose the command of the deploy instead of one for a database of its own, any other one for `env`."""
    try:
        yield
    except DodaiError as error:
        fix = error.fix.replace(f"`{proposal.MIGRATE_UP()}`", f"`{command}`")
        raise replace(error, fix=proposal.addressed(fix, {"migrate": f"--env {env}"})) from error


def _cancel(process: Process) -> None:
    try:
        process.cancel()
    except Exception as error:
        if not is_database_error(error):
            raise
