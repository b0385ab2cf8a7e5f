"""`dodai migrate up`: apply what is pending."""

from __future__ import annotations

from functools import partial

import click

from dodai.cli.command_context import CommandContext, define, with_break_glass
from dodai.cli.migrate.target import place, print_applied, with_env


@define("up", summary="Apply what is pending; never asks", example="DATABASE_URL=postgresql://… dodai migrate up")
@with_env
@click.option("--allow-missing", is_flag=True, help="Apply files that sort before applied ones.")
@click.option("--beside-tables", is_flag=True, help="Tables that no ledger accounts for are not of these files.")
@with_break_glass
def up(context: CommandContext, env: str, allow_missing: bool, beside_tables: bool, break_glass: str) -> None:
    from dodai.migrations import run
    from dodai.migrations.run.belonging import refuse_other

    with place(context, env) as target:
        if env != "local":
            from dodai.operations.run.override import pass_migration

            here = context.environment(env)
            pass_migration(here, target, f"dodai migrate up --env {env}", break_glass)
        admit = partial(refuse_other, env=env)
        done = run.up(
            target, allow_missing=allow_missing, beside_tables=beside_tables, note=context.output.say, admit=admit
        )
    print_applied(context, done, "already up to date")
