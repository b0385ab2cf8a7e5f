"""`dodai down ENV`: stop a local environment; its data stays."""

from __future__ import annotations

import asyncio

import click

from dodai.cli.session import Session, consent, define, with_break_glass


@define("down", summary="Stop a local environment", example="dodai down staging")
@click.argument("env")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@with_break_glass
def command(session: Session, env: str, yes: bool, break_glass: str) -> int:
    from dodai.operations.environment import host_of
    from dodai.operations.run.override import is_protected, pass_gates

    environment = session.environment(env)
    host = host_of(environment)
    if is_protected(environment):
        consent(f"`dodai down {env}` changes `{env}`", f"stop `{env}`? nobody is served then", yes=yes)
    asyncio.run(pass_gates(environment, "down", f"dodai down {env}", break_glass))

    async def stop() -> bool:
        running = (await host.status()).running
        await host.down()
        return running

    was_running = asyncio.run(stop())
    if session.output.as_json:
        session.output.data("dodai.down/1", {"environment": env, "wasRunning": was_running})
    else:
        said = "stopped" if was_running else "already stopped"
        session.output.line(f"{said}: {env}; its data stays in {environment.folder}")
    return 0
