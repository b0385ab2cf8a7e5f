"""`dodai restart ENV [SERVICE]`: what serves, started anew with the settings and secrets of now."""

from __future__ import annotations

import asyncio
import secrets

import click

from dodai.cli.command_context import CommandContext, define
from dodai.cli.deploy import carry_out, rehearsed


@define("restart", summary="Start what serves anew, without a gap", example="dodai restart staging web")
@click.argument("env")
@click.argument("service", default="")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(context: CommandContext, env: str, service: str, dry_run: bool, yes: bool) -> int:
    return asyncio.run(_restart(context, env, service, dry_run=dry_run, yes=yes))


async def _restart(context: CommandContext, env: str, service: str, *, dry_run: bool, yes: bool) -> int:
    from dodai.operations.run.rollback_target import recorded
    from dodai.operations.run.service_steps import ONLY, RESTART

    environment = context.environment(env)
    release = await recorded(environment, service)
    command = " ".join(word for word in ("dodai restart", env, service) if word)
    arguments = {RESTART: secrets.token_hex(4), "command": command, **({ONLY: service} if service else {})}
    if dry_run:
        return await rehearsed(context, environment, "restart", release, arguments)
    return await carry_out(context, environment, "restart", release, arguments, yes=yes)
