"""`dodai migrate new`: an empty migration file."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from dodai.cli.command_context import CommandContext, define


@define("new", summary="Make an empty migration file", example="dodai migrate new add-readers")
@click.argument("name")
@click.option("--no-transaction", is_flag=True, help="For statements such as CREATE INDEX CONCURRENTLY.")
def new(context: CommandContext, name: str, no_transaction: bool) -> None:
    from dodai.migrations import run
    from dodai.wiring.migration_target import target

    project = context.project
    here = target(project, project.root, str)
    path = run.new(here, name, no_transaction=no_transaction, now=datetime.now(UTC))
    if context.output.as_json:
        context.output.data("dodai.migrate.new/1", {"path": path})
    else:
        context.output.line(f"wrote: {path}")
