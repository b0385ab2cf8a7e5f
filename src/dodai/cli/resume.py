"""`dodai resume ENV`: finish an interrupted plan, or take it back."""

from __future__ import annotations

import asyncio

import click

from dodai.cli.progress import StepLines, confirm, finish
from dodai.cli.session import Session, define


@define("resume", summary="Finish or undo an interrupted plan", example="dodai resume staging --undo")
@click.argument("env")
@click.option("--undo", is_flag=True, help="Take back what the plan has changed so far.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(session: Session, env: str, undo: bool, yes: bool) -> int:
    return asyncio.run(_resume(session, env, undo=undo, yes=yes))


async def _resume(session: Session, env: str, *, undo: bool, yes: bool) -> int:
    from dodai.engine.execute import resume
    from dodai.engine.stop import install_signal_stop
    from dodai.wiring.local import LocalEnvironment

    environment = LocalEnvironment.of(session.project, env)
    with environment.journal() as journal:
        entry = await journal.unfinished(env)
        if entry is not None:
            confirm(
                session.output, environment.build(entry.request), yes=yes, doing="take back" if undo else "go on with"
            )
            await environment.open(detached=True)
        lease = environment.lease(entry.request if entry else await environment.request("resume", ""))
        stop = install_signal_stop(asyncio.get_running_loop())
        sink = StepLines(session.output)
        outcome = await resume(journal, lease, env, environment.build, undo=undo, sink=sink, stop=stop)
    return finish(session.output, outcome)
