"""`dodai migrate check`: the rules of migrations."""

from __future__ import annotations

from datetime import UTC, datetime

import click

from dodai.cli.check import print_report
from dodai.cli.check_report import by_cause, report_as_json
from dodai.cli.command_context import CommandContext, define


@define("check", summary="The rules of migrations; the same as `dodai check migrations`", example="dodai migrate check")
@click.option("--base", metavar="REF", default="", help="The branch that new files are compared with.")
@click.option("--all", "everything", is_flag=True, help="Judge every file, not only those new against the base.")
def check(context: CommandContext, base: str, everything: bool) -> int:
    from dodai.wiring.checks import check as judge

    began = datetime.now(UTC)
    report = judge(
        context.manifest_path,
        areas=("migrations",),
        cost="local",
        base=base,
        everything=everything,
        today=began.date(),
    )
    seconds = (datetime.now(UTC) - began).total_seconds()
    if context.output.as_json:
        context.output.data("dodai.check/1", report_as_json(report, seconds))
    else:
        print_report(context, report, seconds, by_cause(report, concise=False))
    return report.exit_code
