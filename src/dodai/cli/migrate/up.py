"""`dodai migrate up`: apply what is pending, or say what would be applied."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define, with_break_glass
from dodai.cli.migrate.target import place, print_applied, with_env
from dodai.core import proposal

if TYPE_CHECKING:
    from dodai.migrations.migration import Migration


@define("up", summary="Apply what is pending; never asks", example="DATABASE_URL=postgresql://… dodai migrate up")
@with_env
@click.option("--allow-missing", is_flag=True, help="Apply files that sort before applied ones.")
@click.option("--beside-tables", is_flag=True, help="Tables that no ledger accounts for are not of these files.")
@click.option("--to", metavar="VERSION", default="", help="The last version to apply.")
@click.option("--dry-run", is_flag=True, help="Only say what would be applied, or why not.")
@click.option("--print-sql", is_flag=True, help="The same, with the statements.")
@with_break_glass
def up(
    context: CommandContext,
    env: str,
    allow_missing: bool,
    beside_tables: bool,
    to: str,
    dry_run: bool,
    print_sql: bool,
    break_glass: str,
) -> None:
    from dodai.migrations import run
    from dodai.migrations.run.belonging import refuse_other

    say = context.output.say
    with place(context, env) as target:
        if dry_run or print_sql:
            seen = run.preview(target, allow_missing=allow_missing, beside_tables=beside_tables, to=to, note=say)
            _print_preview(context, seen, print_sql=print_sql)
            return
        if env != "local":
            from dodai.operations.run.override import pass_migration

            here = context.environment(env)
            pass_migration(here, target, f"{proposal.MIGRATE_UP()} --env {env}", break_glass)
        admit = partial(refuse_other, env=env)
        done = run.up(target, allow_missing=allow_missing, beside_tables=beside_tables, to=to, note=say, admit=admit)
        if env == "local":
            from dodai.cli.up_to_date import remember

            remember(context.project)
    print_applied(context, done, "already up to date")


def _print_preview(context: CommandContext, pending: Sequence[Migration], *, print_sql: bool) -> None:
    """What would be applied; values of the environment (ENVSUB) are not shown, and other tools tell no statements."""
    out = context.output
    shown = [(m, () if m.hides_text or not print_sql else m.up) for m in pending]
    if out.as_json:
        rows = [
            {"id": m.id, "path": m.path, "transactional": m.transactional, "sql": [each.sql for each in sent]}
            for m, sent in shown
        ]
        out.data("dodai.migrate.preview/1", {"pending": rows})
        return
    for migration, statements in shown:
        alone = "" if migration.transactional else "  (not one transaction)"
        out.line(f"{'-- ' if print_sql else ''}pending  {migration.path}{alone}")
        if print_sql and not statements:
            out.line("-- its statements are not shown: ENVSUB, or known to its tool alone")
        for statement in statements:
            out.line(statement.sql)
    out.say(f"{len(shown)} would be applied, nothing was changed")
