"""`dodai up`: the whole system on this machine, in the foreground."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define, with_client
from dodai.cli.progress import Elapsed, StepLines, finish
from dodai.core import proposal

if TYPE_CHECKING:
    from dodai.cli.service_lines import ServiceLines
    from dodai.engine.outcome import Outcome
    from dodai.engine.plan import PlanRequest
    from dodai.engine.stop import Stop
    from dodai.operations.environment import Environment
    from dodai.operations.ports import Host

LOOK_S = 0.2


@define("up", summary="Run the whole system on this machine", example="dodai up")
@click.argument("env", default="local")
@with_client
def command(context: CommandContext, env: str, client: str) -> int:
    return asyncio.run(_up(context.of_client(client), env))


async def _up(context: CommandContext, env: str) -> int:
    from dodai.engine.stop import install_signal_stop
    from dodai.operations.environment import host_of

    environment = context.environment(env)
    host = host_of(environment)
    began = time.time()
    request = await _request(context, environment)  # refused before anything is started
    host = await host.bind()
    stop = install_signal_stop(asyncio.get_running_loop())
    try:
        code = finish(context.output, await _start(context, environment, request, stop))
        if code:
            return code
        lines = _service_lines(context, environment, began)
        if lines:
            await lines.show()  # first: the addresses that processes print are not where visitors come in
        tier = f" with its web tier `{context.client}`" if context.client else ""
        url = (await environment.edge.observe()).url
        context.output.line(f"{url}  serves {context.project.manifest.name}{tier}; Ctrl-C stops all")
        return await _until_stopped(context, env, host, stop, lines)
    finally:
        context.output.say("stopping")
        await host.down()
        stop.uninstall()


async def _request(context: CommandContext, environment: Environment) -> PlanRequest:
    """For the tree as it is; DOD361 on a protected environment."""
    from dodai.operations.run.build import publish
    from dodai.operations.run.plans import request_for

    with Elapsed(context.output).around_lines() as note:
        tree = await asyncio.to_thread(publish, environment, note)
    return await request_for(environment, "up", tree, {"command": _command(context, environment)})


def _command(context: CommandContext, environment: Environment) -> str:
    chosen = f" --client {context.client}" if context.client else ""
    return f"{proposal.UP(env=environment.name)}{chosen}"


async def _start(context: CommandContext, environment: Environment, request: PlanRequest, stop: Stop) -> Outcome:
    """Carry out the deploy plan for the tree as it is; what an earlier, killed `up` left half done goes first."""
    from dodai.engine.execute import execute, resume
    from dodai.operations.run.plans import build

    env = environment.name
    sink = StepLines(context.output)
    with environment.journal() as journal:
        lease = environment.lease(request)
        if await journal.unfinished(env):
            context.output.say("the last run was cut short; taking it back first")
            await resume(journal, lease, env, partial(build, environment), undo=True, stop=stop)
        return await execute(build(environment, request), journal, lease, sink=sink, stop=stop)


def _service_lines(context: CommandContext, environment: Environment, began: float) -> ServiceLines | None:
    from dodai.cli.service_lines import ServiceLines

    names = tuple(environment.project.policy.services)
    return ServiceLines(context.output, environment.logs, names, began) if environment.logs else None


async def _until_stopped(context: CommandContext, env: str, host: Host, stop: Stop, lines: ServiceLines | None) -> int:
    """0 once a person ended it, 4 when the host went away by itself; meanwhile what services write is shown."""
    told: dict[str, int] = {}
    while stop.count == 0:
        if lines:
            await lines.show()
        status = await host.status()
        if not status.running:
            context.output.say(f"the host ended; `{proposal.UP(env=env)}` starts it again")
            return 4
        for instance in (one for service in status.services for one in service.instances):
            if instance.restarts > told.get(instance.service, 0):
                told[instance.service] = instance.restarts
                context.output.say(f"{instance.service} ended and was started again; its output: {instance.log}")
        await asyncio.sleep(LOOK_S)
    return 0
