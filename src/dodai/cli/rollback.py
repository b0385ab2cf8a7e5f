"""`dodai rollback ENV [RELEASE]`: back to an earlier release, or why not and what to do instead."""

from __future__ import annotations

import asyncio

import click

from dodai.cli.command_context import CommandContext, define
from dodai.cli.deploy import carry_out, rehearsed
from dodai.core import proposal


@define("rollback", summary="Go back to an earlier release", example="dodai rollback staging")
@click.argument("env")
@click.argument("release", default="")
@click.option(
    "--restore",
    default="",
    metavar="POINT",
    help="Also put the data of a restore point back: what was written since is set aside.",
)
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask. Never overrides a refusal.")
def command(context: CommandContext, env: str, release: str, restore: str, dry_run: bool, yes: bool) -> int:
    return asyncio.run(_rollback(context, env, release, restore, dry_run=dry_run, yes=yes))


async def _rollback(context: CommandContext, env: str, word: str, point: str, *, dry_run: bool, yes: bool) -> int:
    from dodai.operations.run import RESTORE
    from dodai.operations.run.rollback_target import refuse_misfit, restore_target, rollback_target

    environment = context.environment(env)
    release = await rollback_target(environment, word)
    kind, arguments = "rollback", dict[str, str]()
    if point:
        point = await restore_target(environment, release, point)
        command = proposal.ROLLBACK_RESTORE(env=env, release=release, point=point)
        kind, arguments = RESTORE, {RESTORE: point, "command": command}
    else:
        await refuse_misfit(environment, release)
    if dry_run:
        return await rehearsed(context, environment, kind, release, arguments)
    return await carry_out(context, environment, kind, release, arguments, yes=yes)
