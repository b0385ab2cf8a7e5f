"""`dodai up`: the whole system on this machine, in the foreground."""

from __future__ import annotations

import asyncio
import signal

import click

from dodai.cli.progress import StepLines, finish
from dodai.cli.session import Session, define


@define("up", summary="Run the whole system on this machine", example="dodai up")
@click.argument("env", default="local")
def command(session: Session, env: str) -> int:
    return asyncio.run(_up(session, env))


async def _up(session: Session, env: str) -> int:
    from dodai.engine.execute import execute, resume
    from dodai.engine.stop import install_signal_stop
    from dodai.wiring.local import LocalEnvironment

    environment = LocalEnvironment.of(session.project, env)
    host = await environment.open(detached=False)
    try:
        tree = await asyncio.to_thread(environment.releases.publish, str(session.project.root))
        request = await environment.request("up", tree)
        stop = install_signal_stop(asyncio.get_running_loop())
        sink = StepLines(session.output)
        try:
            with environment.journal() as journal:
                lease = environment.lease(request)
                if await journal.unfinished(env):
                    session.output.say("the last run was cut short; taking it back first")
                    await resume(journal, lease, env, environment.build, undo=True, stop=stop)
                outcome = await execute(environment.build(request), journal, lease, sink=sink, stop=stop)
        finally:
            stop.uninstall()
        code = finish(session.output, outcome)
        if code:
            return code
        session.output.line(f"{(await host.status()).edge}  serves {session.project.manifest.name}; Ctrl-C stops all")
        return await _until_stopped(session, environment)
    finally:
        session.output.say("stopping")
        await host.down()


async def _until_stopped(session: Session, environment: object) -> int:
    """0 once a person ended it, 4 when the host went away by itself."""
    from dodai.wiring.local import LocalEnvironment

    assert isinstance(environment, LocalEnvironment)  # noqa: S101 - for the type checker; imports stay on demand
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, over.set)
    told: dict[str, int] = {}
    while not over.is_set():
        status = await environment.host.status()
        if not status.running:
            session.output.say("the host ended; `dodai up` starts it again")
            return 4
        for instance in (one for service in status.services for one in service.instances):
            if instance.restarts > told.get(instance.service, 0):
                told[instance.service] = instance.restarts
                session.output.say(f"{instance.service} ended and was started again; its output: {instance.log}")
        try:
            await asyncio.wait_for(over.wait(), timeout=1.0)
        except TimeoutError:
            continue
    return 0
