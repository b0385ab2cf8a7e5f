"""`dodai secrets rotate ENV NAME`: a new random value, while the environment serves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define
from dodai.cli.deploy import carry_out, rehearsed

if TYPE_CHECKING:
    from dodai.operations.run.rotation import SecretChange

COST = "whatever was made with the old value (sessions, forms, tokens) is refused from then on"


@define("rotate", summary="Change a secret while it is in use", example="dodai secrets rotate staging SESSION_SECRET")
@click.argument("env")
@click.argument("name")
@click.option("--finish", is_flag=True, help="Drop the old value of a rotation once nothing made with it is in use.")
@click.option("--now", is_flag=True, help="The old value is compromised: it stops working at once.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(context: CommandContext, env: str, name: str, finish: bool, now: bool, dry_run: bool, yes: bool) -> int:
    return asyncio.run(_rotate(context, env, name, finish=finish, now=now, dry_run=dry_run, yes=yes))


async def _rotate(
    context: CommandContext, env: str, name: str, *, finish: bool, now: bool, dry_run: bool, yes: bool
) -> int:
    from dodai.operations.run.secret_status import secret_of

    overlap = secret_of(context.environment(env), name).rotation == "overlap"
    change: SecretChange = "finish" if finish else "overlap" if overlap and not now else "replace"
    words = [word for word, on in (("--finish", finish), ("--now", now)) if on]
    return await change_secret(context, env, name, change, "rotate", words, dry_run=dry_run, yes=yes, at_once=now)


async def change_secret(
    context: CommandContext,
    env: str,
    name: str,
    change: SecretChange,
    verb: str,
    words: list[str],
    *,
    dry_run: bool,
    yes: bool,
    at_once: bool = False,
    given: str = "",
) -> int:
    """The exit code of changing a secret by a plan, as any other change of what serves."""
    import time

    from dodai.operations.run.rollback_target import last_release, recorded
    from dodai.operations.run.rotation import ROTATE, arguments_of
    from dodai.operations.run.secret_status import refuse_change, secret_of, status_of_secret
    from dodai.operations.secret import entries

    here = context.environment(env)
    secret = secret_of(here, name)
    refuse_change(here, status_of_secret(here, secret, time.time()), change, at_once=at_once)
    if secret.rotation == "overlap" and change in ("replace", "set"):
        context.output.say(f"warning: {COST}")
        if (parts := len(entries(given))) > 1:
            context.output.say(f"warning: commas make {parts} values of it: the first one signs, all are recognised")
    release = await (last_release(here) if change == "set" else recorded(here))
    arguments = arguments_of(secret, change, " ".join(["dodai secrets", verb, env, name, *words]))
    if dry_run:
        return await rehearsed(context, here, ROTATE, release, arguments)
    return await carry_out(context, here, ROTATE, release, arguments, yes=yes, given=given)
