"""`dodai resume ENV`: finish an interrupted plan, or take it back."""

from __future__ import annotations

import asyncio
from functools import partial

import click

from dodai.cli.command_context import CommandContext, consent, define, with_break_glass
from dodai.cli.progress import StepLines, confirm, finish, tell
from dodai.core import proposal


@define("resume", summary="Finish or undo an interrupted plan", example="dodai resume staging --undo")
@click.argument("env")
@click.option("--undo", is_flag=True, help="Take back what the plan has changed so far.")
@click.option(
    "--trust",
    type=click.Choice(["database", "copy"]),
    help="Settle two journals that differ: the control database is right, or the copy on this machine is.",
)
@click.option(
    "--take-over",
    metavar="REASON",
    help="The environment lives in this folder from now on: where it lived is gone. Recorded.",
)
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@with_break_glass
def command(
    context: CommandContext, env: str, undo: bool, trust: str | None, take_over: str | None, yes: bool, break_glass: str
) -> int:
    if take_over is not None:
        if not (reason := take_over.strip()):
            raise click.BadParameter("a reason is written down, and this one is empty", param_hint="--take-over")
        return _take_over(context, env, reason, yes=yes)
    if trust:
        return _settle(context, env, trust, break_glass, yes=yes)
    return asyncio.run(_resume(context, env, undo=undo, yes=yes))


async def _resume(context: CommandContext, env: str, *, undo: bool, yes: bool) -> int:
    from dodai.engine.execute import resume
    from dodai.engine.stop import install_signal_stop
    from dodai.operations.run.down import DOWN
    from dodai.operations.run.override import pass_resume, record_what_was_not
    from dodai.operations.run.plans import build, request_for
    from dodai.operations.run.rotation_end import settle_rotation

    environment = context.environment(env)
    await record_what_was_not(environment)
    with environment.journal() as journal:
        entry = await journal.unfinished(env)
        if entry is not None:
            await pass_resume(environment, entry, undo=undo)
            doing = "take back" if undo else "go on with"
            confirm(context.output, build(environment, entry.request), yes=yes, doing=doing)
            if entry.request.kind != DOWN and entry.request.release:
                await environment.compute.prepare()
        lease = environment.lease(entry.request if entry else await request_for(environment, "resume", ""))
        stop = install_signal_stop(asyncio.get_running_loop())
        sink = StepLines(context.output)
        outcome = await resume(journal, lease, env, partial(build, environment), undo=undo, sink=sink, stop=stop)
        if entry and outcome.closed and (left := await settle_rotation(environment, entry.request)):
            context.output.say(left)
    await tell(context.output, outcome)
    return finish(context.output, outcome)


def _settle(context: CommandContext, env: str, trust: str, reason: str, *, yes: bool) -> int:
    """A person's choice between two journals that differ; the other side is kept aside or given what it lost."""
    from dodai.operations.run.override import settle

    consent(f"`{proposal.RESUME(env=env)} --trust {trust}` changes `{env}`", f"trust the {trust} of `{env}`?", yes=yes)
    done = settle(context.environment(env), trust, reason)
    if context.output.as_json:
        context.output.data("dodai.trust/1", {"environment": env, "trusted": trust, "done": done})
    else:
        context.output.line(f"{env}: {done}")
    return 0


def _take_over(context: CommandContext, env: str, reason: str, *, yes: bool) -> int:
    """A person says that the place where an environment lived is gone."""
    from dodai.operations.run.override import take_over

    moves = f"`{proposal.RESUME(env=env)} --take-over` moves `{env}` here"
    consent(moves, f"does `{env}` live here from now on?", yes=yes)
    done = asyncio.run(take_over(context.environment(env), reason))
    if context.output.as_json:
        context.output.data("dodai.take-over/1", {"environment": env, "done": done})
    else:
        context.output.line(f"{env}: {done}")
    return 0
