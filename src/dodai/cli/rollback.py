"""`dodai rollback ENV [RELEASE]`: back to an earlier release, or why not and what to do instead."""

from __future__ import annotations

import asyncio

import click

from dodai.cli.deploy import carry_out
from dodai.cli.progress import show
from dodai.cli.session import Session, define


@define("rollback", summary="Go back to an earlier release", example="dodai rollback staging")
@click.argument("env")
@click.argument("release", default="")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask. Never overrides a refusal.")
def command(session: Session, env: str, release: str, dry_run: bool, yes: bool) -> int:
    return asyncio.run(_rollback(session, env, release, dry_run=dry_run, yes=yes))


async def _rollback(session: Session, env: str, word: str, *, dry_run: bool, yes: bool) -> int:
    from dodai.wiring.local import LocalEnvironment

    environment = LocalEnvironment.of(session.project, env)
    release = await environment.rollback_target(word)
    await environment.refuse_misfit(release)
    if dry_run:
        show(session.output, environment.build(await environment.request("rollback", release)))
        return 0
    return await carry_out(session, environment, "rollback", release, yes=yes)
