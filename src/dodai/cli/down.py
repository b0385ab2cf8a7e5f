"""`dodai down ENV`: stop a local environment under its lock and on record; its data stays."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, consent, define, with_break_glass
from dodai.cli.progress import finish, tell
from dodai.core import proposal
from dodai.core.errors import DodaiError

if TYPE_CHECKING:
    from dodai.engine.outcome import Outcome
    from dodai.operations.environment import Environment


@define("down", summary="Stop a local environment", example="dodai down staging")
@click.argument("env")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@with_break_glass
def command(context: CommandContext, env: str, yes: bool, break_glass: str) -> int:
    from dodai.operations.environment import host_of
    from dodai.operations.run.down import refuse_foreign, still_runs
    from dodai.operations.run.override import is_protected, pass_gates

    environment = context.environment(env)
    status = asyncio.run(host_of(environment).status())
    refuse_foreign(status)
    if not environment.control.exists and not still_runs(status):
        return _say(context, env, "not running", "nothing was ever started here")
    try:
        if is_protected(environment):
            consent(f"`{proposal.DOWN(env=env)}` changes `{env}`", f"stop `{env}`? nobody is served then", yes=yes)
        asyncio.run(pass_gates(environment, "down", proposal.DOWN(env=env), break_glass))
        outcome = asyncio.run(_stop(context, environment))
    except DodaiError as error:
        return _without_record(context, environment, error, break_glass, yes=yes)
    if outcome.exit_code:
        return finish(context.output, outcome)
    said = "already stopped" if outcome.state == "already" else "stopped"
    return _say(context, env, said, f"its data stays in {environment.folder}", outcome.plan_id)


def _without_record(
    context: CommandContext, environment: Environment, error: DodaiError, reason: str, *, yes: bool
) -> int:
    """Stop it although the control database is away, where a person says why; any other error is what it was."""
    from dodai.engine.codes import CONTROL_UNAVAILABLE
    from dodai.operations.run.override import stop_unrecorded

    env = environment.name
    if error.code is not CONTROL_UNAVAILABLE:
        raise error
    if not reason:
        raise replace(error, fix=f"{error.fix}; if it has to stop now: `{proposal.DOWN_ANYHOW(env=env)}`")
    consent(f"`{proposal.DOWN(env=env)}` stops `{env}` without its lock", f"stop `{env}` without its lock?", yes=yes)
    asyncio.run(stop_unrecorded(environment, proposal.DOWN(env=env), reason))
    return _say(context, env, "stopped", "not on record yet: the next command that changes something writes it down")


async def _stop(context: CommandContext, environment: Environment) -> Outcome:
    from dodai.engine.execute import execute
    from dodai.engine.stop import install_signal_stop
    from dodai.operations.run.override import record_what_was_not
    from dodai.operations.run.plans import build, request_for

    await record_what_was_not(environment)
    request = await request_for(environment, "down", "")
    stop = install_signal_stop(asyncio.get_running_loop())
    with environment.journal() as journal:
        outcome = await execute(build(environment, request), journal, environment.lease(request), stop=stop)
    await tell(context.output, outcome)
    return outcome


def _say(context: CommandContext, env: str, said: str, words: str, plan_id: str = "") -> int:
    if context.output.as_json:
        data = {"environment": env, "wasRunning": said == "stopped", "state": said, "planId": plan_id or None}
        context.output.data("dodai.down/1", data)
    else:
        context.output.line(f"{said}: {env}; {words}")
    return 0
