"""`dodai replaced ENV`: the rows that a restore took from the application, to look at, to export, to replay."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define
from dodai.core import proposal

if TYPE_CHECKING:
    from dodai.operations.run.replaced import ReplacedReport


@define(
    "replaced", summary="Show the rows that a restore replaced", example="dodai replaced staging --export lost-rows"
)
@click.argument("env")
@click.argument("name", default="")
@click.option(
    "--export",
    type=click.Path(file_okay=False, path_type=Path),
    help="A new folder for all of the rows as JSON, and for SQL that inserts those that were added.",
)
def command(context: CommandContext, env: str, name: str, export: Path | None) -> int:
    """NAME is one of those that the command lists; without it, the newest."""
    from dodai.operations.run.replaced import replaced_report

    report = asyncio.run(replaced_report(context.environment(env), name, export))
    if context.output.as_json:
        context.output.data("dodai.replaced/1", _document(env, report))
    else:
        _print(context, env, report)
    return 0


def _print(context: CommandContext, env: str, report: ReplacedReport) -> None:
    out, one = context.output, report.one
    if one is None:
        out.line(f"{env}: no restore has replaced any data")
        return
    out.line(f"{one.name}  replaced {one.at[:19]}Z by {one.plan}, by restore point {one.point}")
    for other in report.kept:
        if other is not one:
            out.line(f"{other.name}  replaced {other.at[:19]}Z by restore point {other.point}; not looked at")
    if not report.tables:
        out.line("no row differs: nothing was written after the restore point")
        return
    width = max(len(f"{table.schema}.{table.table}") for table in report.tables)
    out.line(f"{'table':{width}}  {'added':>8}  {'changed':>8}  {'removed':>8}  after the restore point")
    for table in report.tables:
        name = f"{table.schema}.{table.table}"
        out.line(f"{name:{width}}  {table.added:>8}  {table.changed:>8}  {table.removed:>8}")
    for path in report.exported:
        out.line(f"wrote: {path}")
    if not report.exported:
        out.line(f"next: `{proposal.REPLACED_EXPORT(env=env)}`")


def _document(env: str, report: ReplacedReport) -> dict[str, object]:
    one = report.one
    rows = [
        {"table": f"{t.schema}.{t.table}", "added": t.added, "changed": t.changed, "removed": t.removed}
        for t in report.tables
    ]
    return {
        "environment": env,
        "kept": [{"name": o.name, "path": o.path, "point": o.point, "plan": o.plan, "at": o.at} for o in report.kept],
        "compared": one.name if one else None,
        "tables": rows,
        "exported": list(report.exported),
    }
