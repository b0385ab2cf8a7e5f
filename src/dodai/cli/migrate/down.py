"""`dodai migrate down`: undo the last migrations."""

from __future__ import annotations

from functools import partial

import click

from dodai.cli.command_context import CommandContext, consent, define, with_break_glass
from dodai.cli.migrate.target import pass_protected_gates, place, print_applied, with_env, with_yes


@define("down", summary="Undo the last migrations", example="dodai migrate down 2 --yes")
@with_env
@click.argument("count", type=click.IntRange(1), default=1)
@click.option("--to", metavar="VERSION", default="", help="Undo all after this version.")
@with_break_glass
@with_yes
def down(context: CommandContext, env: str, count: int, to: str, break_glass: str, yes: bool) -> None:
    from dodai.migrations import run
    from dodai.migrations.run.belonging import refuse_other

    what = f"undo all after version {to}" if to else f"undo the last {count}"
    consent(f"to {what} changes a database", f"{what}?", yes=yes)
    with place(context, env) as target:
        protected = pass_protected_gates(context, env, "migrate down", f"dodai migrate down: {what}", break_glass)
        done = run.down(
            target,
            count=count,
            to=to,
            protected=protected,
            break_glass=break_glass,
            note=context.output.say,
            admit=partial(refuse_other, env=env),
        )
    print_applied(context, done, "already down: nothing to undo")
