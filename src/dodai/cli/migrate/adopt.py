"""`dodai migrate adopt`: take over a database that another tool, or nobody, managed."""

from __future__ import annotations

from functools import partial

import click

from dodai.cli.command_context import CommandContext, consent, define, with_break_glass
from dodai.cli.migrate.target import pass_protected_gates, place, say_json, with_env, with_yes


@define("adopt", summary="Take over a database that another tool, or nobody, managed", example="dodai migrate adopt")
@with_env
@click.option("--at", metavar="VERSION", default="", help="The version it is at, where several fit.")
@click.option(
    "--baseline",
    "baselines",
    metavar="VERSION",
    multiple=True,
    help="The file that stands for applied ones that are gone; for several apps or branches one each.",
)
@with_break_glass
@with_yes
def adopt(context: CommandContext, env: str, at: str, baselines: tuple[str, ...], break_glass: str, yes: bool) -> None:
    from dodai.migrations import run
    from dodai.migrations.run.belonging import refuse_other
    from dodai.wiring.shadow_server import shadow_of

    what = "record as applied the files whose schema is proven to be the database's"
    consent(f"to {what} changes its ledger", f"{what}?", yes=yes)
    with place(context, env) as target:
        pass_protected_gates(context, env, "migrate adopt", "dodai migrate adopt", break_glass)
        admit = partial(refuse_other, env=env)
        adopted = run.adopt(target, shadow_of(context.project), at=at, baselines=baselines, admit=admit)
    if context.output.as_json:
        say_json(context, adopted.as_json())
        return
    word = "already adopted" if adopted.already else "adopted"
    context.output.line(f"{word}: {len(adopted.baseline)} migrations are in effect, {len(adopted.pending)} pending")
    if adopted.foreign:
        context.output.line(f"the ledger of another tool was found and left as it is: {adopted.foreign}")
