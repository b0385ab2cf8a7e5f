"""`dodai migrate stats`: row counts of the database, for the rules about locks."""

from __future__ import annotations

from dodai.cli.command_context import CommandContext, define
from dodai.cli.migrate.target import place, with_env


@define("stats", summary="Save row counts, so that check can weigh locks", example="DATABASE_URL=… dodai migrate stats")
@with_env
def stats(context: CommandContext, env: str) -> None:
    from dodai.migrations import run

    with place(context, env) as target:
        rows = run.save_rows(target)
    if context.output.as_json:
        context.output.data("dodai.migrate.stats/1", {"rows": dict(rows)})
        return
    for table, count in rows.items():
        context.output.line(f"{'unknown' if count is None else count:>12}  {table}")
