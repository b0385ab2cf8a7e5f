"""The step of a deploy that applies what is pending."""

from __future__ import annotations

import asyncio
import contextlib

from dodai.core.page import Text
from dodai.engine.plan import Observed, Step, StepContext
from dodai.migrations import run
from dodai.migrations.apply import status
from dodai.migrations.goose_file import files_of
from dodai.migrations.ports import MigrationTarget, Process, is_database_error


def step(target: MigrationTarget, *, id: str = "migrate", needs: tuple[str, ...] = ()) -> Step:  # noqa: A002 - as in Step
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
        inputs={"migrations": run.fingerprint(files_of(target).migrations)},
    )


async def _look(target: MigrationTarget, _: StepContext) -> Observed:
    seen = await asyncio.to_thread(status, target)
    if seen.problems:
        raise seen.problems[0].error()
    if seen.refusal:
        raise seen.refusal
    if seen.pending:
        return Observed("needed", f"{len(seen.pending)} pending, first `{seen.pending[0].path}`")
    return Observed("done", f"{len(seen.applied)} applied")


async def _apply(target: MigrationTarget, context: StepContext) -> None:
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


def _cancel(process: Process) -> None:
    try:
        process.cancel()
    except Exception as error:
        if not is_database_error(error):
            raise
