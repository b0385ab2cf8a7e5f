"""`dodai migrate repair`: correct the record of migrations, never the schema."""

from __future__ import annotations

from functools import partial
from typing import Literal

import click

from dodai.cli.command_context import CommandContext, consent, define
from dodai.cli.migrate.target import pass_protected_gates, place, say_json, with_env, with_yes


@define("repair", summary="Correct the record of migrations, never the schema", example="dodai migrate repair 42 43")
@with_env
@click.argument("versions", metavar="VERSION...", nargs=-1, required=True)
@click.option("--reason", metavar="TEXT", default="", help="Why; recorded.")
@click.option(
    "--statement", type=int, default=0, help="An interrupted statement of a file that runs without a transaction."
)
@click.option("--was", type=click.Choice(("done", "undone")), default=None, help="How that statement ended.")
@with_yes
def repair(
    context: CommandContext,
    env: str,
    versions: tuple[str, ...],
    reason: str,
    statement: int,
    was: Literal["done", "undone"] | None,
    yes: bool,
) -> None:
    from dodai.migrations import run
    from dodai.migrations.run.belonging import refuse_other

    named = " ".join(versions)
    what = f"correct the record of {named}"
    consent(f"to {what} changes a ledger", f"{what}?", yes=yes)
    with place(context, env) as target:
        pass_protected_gates(context, env, "migrate repair", f"dodai migrate repair {named}", reason)
        admit = partial(refuse_other, env=env)
        repaired = run.repair(target, *versions, reason=reason, statement=statement, was=was or "", admit=admit)
    if context.output.as_json:
        say_json(context, repaired.as_json())
    else:
        for row in repaired.rows:
            context.output.line(f"{row.id}: {row.did}")
