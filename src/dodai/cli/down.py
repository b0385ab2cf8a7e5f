"""`dodai down ENV`: stop a local environment; its data stays."""

from __future__ import annotations

import asyncio

import click

from dodai.cli.session import Session, define


@define("down", summary="Stop a local environment", example="dodai down staging")
@click.argument("env")
def command(session: Session, env: str) -> int:
    from dodai.wiring.local import LocalEnvironment

    environment = LocalEnvironment.of(session.project, env)

    async def stop() -> bool:
        running = (await environment.host.status()).running
        await environment.host.down()
        return running

    was_running = asyncio.run(stop())
    if session.output.as_json:
        session.output.data("dodai.down/1", {"environment": env, "wasRunning": was_running})
    else:
        said = "stopped" if was_running else "already stopped"
        session.output.line(f"{said}: {env}; its data stays in {environment.folder}")
    return 0
