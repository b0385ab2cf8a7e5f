"""`dodai relieve ENV LIMIT`: a rate limit holds nobody back for a while, and then again by itself."""

from __future__ import annotations

import asyncio

import click

from dodai.cli.command_context import CommandContext, define, reason_given
from dodai.cli.deploy import carry_out, rehearsed
from dodai.core.section import UNITS_S, measure


def _duration(context: click.Context, option: click.Parameter, value: str) -> float:
    from dodai.operations.run.relief import LONGEST_S, SHORTEST_S

    del context, option
    try:
        found = measure(value, UNITS_S)
    except ValueError:
        found = 0.0
    if not SHORTEST_S <= found <= LONGEST_S:
        raise click.BadParameter(f"`{value}` is no time between 1s and 1d, such as `30m`")
    return found


@define(
    "relieve",
    summary="Let people past a rate limit for a while",
    example='dodai relieve staging answers --reason "a class"',
)
@click.argument("env")
@click.argument("limit")
@click.option("--for", "for_s", default="1h", show_default=True, callback=_duration, help="How long, a day at most.")
@click.option("--reason", required=True, callback=reason_given, help="Who is held back that should not be. Recorded.")
@click.option("--dry-run", is_flag=True, help="Print the plan and change nothing.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
def command(context: CommandContext, env: str, limit: str, for_s: float, reason: str, dry_run: bool, yes: bool) -> int:
    return asyncio.run(_relieve(context, env, limit, for_s, reason, dry_run=dry_run, yes=yes))


async def _relieve(
    context: CommandContext, env: str, limit: str, for_s: float, reason: str, *, dry_run: bool, yes: bool
) -> int:
    from dodai.engine.moment import utc
    from dodai.operations.run.relief import RELIEVE, UNTIL, relief_arguments
    from dodai.operations.run.rollback_target import recorded

    here = context.environment(env)
    release = await recorded(here)
    arguments = await relief_arguments(here, release, limit, for_s, reason)
    if dry_run:
        return await rehearsed(context, here, RELIEVE, release, arguments)
    done = await carry_out(context, here, RELIEVE, release, arguments, yes=yes)
    if done == 0 and not context.output.as_json:
        context.output.line(f"`{limit}` holds nobody back until {utc(float(arguments[UNTIL]))}, then again by itself")
    return done
