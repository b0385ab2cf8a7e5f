"""`dodai up`: the whole system on this machine, in the foreground."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from dodai.cli.progress import StepLines, finish
from dodai.cli.session import Session, define

if TYPE_CHECKING:
    from dodai.engine.outcome import Outcome
    from dodai.engine.plan import PlanRequest
    from dodai.engine.stop import Stop
    from dodai.wiring.local import LocalEnvironment

LOOK_S = 0.2


@define("up", summary="Run the whole system on this machine", example="dodai up")
@click.argument("env", default="local")
def command(session: Session, env: str) -> int:
    return asyncio.run(_up(session, env))


async def _up(session: Session, env: str) -> int:
    from dodai.engine.stop import install_signal_stop
    from dodai.wiring.local import LocalEnvironment

    environment = LocalEnvironment.of(session.project, env)
    request = await _request(session, environment)  # refused before anything is started
    host = await environment.open(detached=False)
    stop = install_signal_stop(asyncio.get_running_loop())
    try:
        code = finish(session.output, await _start(session, environment, request, stop))
        if code:
            return code
        session.output.line(f"{(await host.status()).edge}  serves {session.project.manifest.name}; Ctrl-C stops all")
        return await _until_stopped(session, environment, stop)
    finally:
        session.output.say("stopping")
        await host.down()
        stop.uninstall()


async def _request(session: Session, environment: LocalEnvironment) -> PlanRequest:
    """For the tree as it is; DOD361 on a protected environment."""
    tree = await asyncio.to_thread(environment.releases.publish, str(session.project.root))
    return await environment.request("up", tree, {"command": f"dodai up {environment.environment.name}"})


async def _start(session: Session, environment: LocalEnvironment, request: PlanRequest, stop: Stop) -> Outcome:
    """Carry out the deploy plan for the tree as it is; what an earlier, killed `up` left half done goes first."""
    from dodai.engine.execute import execute, resume

    env = environment.environment.name
    sink = StepLines(session.output)
    with environment.journal() as journal:
        lease = environment.lease(request)
        if await journal.unfinished(env):
            session.output.say("the last run was cut short; taking it back first")
            await resume(journal, lease, env, environment.build, undo=True, stop=stop)
        return await execute(environment.build(request), journal, lease, sink=sink, stop=stop)


async def _until_stopped(session: Session, environment: LocalEnvironment, stop: Stop) -> int:
    """0 once a person ended it, 4 when the host went away by itself."""
    told: dict[str, int] = {}
    while stop.count == 0:
        status = await environment.host.status()
        if not status.running:
            session.output.say("the host ended; `dodai up` starts it again")
            return 4
        for instance in (one for service in status.services for one in service.instances):
            if instance.restarts > told.get(instance.service, 0):
                told[instance.service] = instance.restarts
                session.output.say(f"{instance.service} ended and was started again; its output: {instance.log}")
        await asyncio.sleep(LOOK_S)
    return 0
