"""`dodai check`: every rule over every fact this machine may gather."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import click

from dodai.cli.check_report import (
    area_lines,
    by_cause,
    by_reason,
    report_as_github,
    report_as_json,
    report_as_sarif,
    statistics_of,
)
from dodai.cli.command_context import CommandContext, define
from dodai.core import proposal
from dodai.core.errors import AREAS
from dodai.core.fact import Cost
from dodai.core.rule import Report

_FORMATS = ("text", "concise", "json", "github", "sarif")


def _words(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Codes, their beginnings, names or areas, separated by commas; a word that stands for no rule is a mistake."""
    del context, option
    from dodai.wiring.registry import rules

    words = tuple(word.strip() for value in values for word in value.split(",") if word.strip())
    for word in words:
        if not any(rule.code.is_meant_by(word) for rule in rules()):
            raise click.BadParameter(f"`{word}` is neither a rule, the beginning of one, nor an area")
    return words


def _allowances(context: click.Context, option: click.Parameter, values: tuple[str, ...]) -> Mapping[str, str]:
    """Code, name of a code, or area, to the reason; a word that stands for no rule is a mistake of whoever typed it."""
    del context, option
    from dodai.wiring.registry import rules

    known = {word for rule in rules() for word in (rule.code.id, rule.code.name, rule.code.area)} if values else set()
    given = {name.strip(): reason.strip() for name, _, reason in (value.partition("=") for value in values)}
    for name, reason in given.items():
        if not reason:
            raise click.BadParameter(f"`{name}` has no reason: write `{name}=why this is acceptable`")
        if name not in known:
            raise click.BadParameter(f"`{name}` is neither a rule nor an area")
    return given


@define("check", summary="Judge the repository against every rule", example="dodai check csrf --output-format github")
@click.argument("areas", nargs=-1, type=click.Choice(AREAS[1:]))
@click.option("--output-format", type=click.Choice(_FORMATS), default="text", show_default=True, help="How to print.")
@click.option("--fast", is_flag=True, help="Read files only: run nothing, execute no code of the repository.")
@click.option("--base", metavar="REF", default="", help="The branch that new files are compared with.")
@click.option("--all", "everything", is_flag=True, help="Judge every migration, not only those new against the base.")
@click.option("--target", metavar="ENV", default="", help="Judge what runs there too: its schema against the files.")
@click.option(
    "--allow-unjudged",
    "allow",
    metavar="CODE=REASON",
    multiple=True,
    callback=_allowances,
    help="Let a rule or area that cannot be judged pass; repeatable.",
)
@click.option(
    "--select", metavar="CODE,…", multiple=True, callback=_words, help="Only these: codes, DOD2, names, areas."
)
@click.option("--ignore", metavar="CODE,…", multiple=True, callback=_words, help="Not these; the report names them.")
@click.option("--statistics", is_flag=True, help="Only how often each code was found.")
@click.option("--no-lifespan", is_flag=True, help="List routes without starting the lifespan of an ASGI app first.")
@click.option("--fix", is_flag=True, help="First rewrite what can be put right without a choice; says which files.")
def command(
    context: CommandContext,
    areas: tuple[str, ...],
    output_format: str,
    fast: bool,
    base: str,
    everything: bool,
    target: str,
    allow: Mapping[str, str],
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    statistics: bool,
    no_lifespan: bool,
    fix: bool,
) -> int:
    from dodai.wiring.checks import check

    if fast and target:
        raise click.UsageError("`--fast` reads files only, `--target` asks what runs: use one of them")
    began = time.monotonic()
    if fix:
        _mend(context, areas)
    cost: Cost = "static" if fast else "live" if target else "local"
    today = datetime.now(UTC).date()
    report = check(
        context.manifest_path,
        areas=areas,
        cost=cost,
        base=base,
        everything=everything,
        today=today,
        target=target,
        lifespan=not no_lifespan,
    ).allowing(allow)
    report = report.chosen(select, ignore)
    seconds = time.monotonic() - began
    if context.output.as_json or output_format == "json":
        context.output.data("dodai.check/1", report_as_json(report, seconds))
    elif output_format == "sarif":
        context.output.data("dodai.check-sarif/1", report_as_sarif(report))
    elif output_format == "github":
        for line in report_as_github(report):
            context.output.line(line)
    else:
        findings = statistics_of(report) if statistics else by_cause(report, concise=output_format == "concise")
        print_report(context, report, seconds, findings)
    return report.exit_code


def _mend(context: CommandContext, areas: tuple[str, ...]) -> None:
    from dodai.wiring.checks import fix

    written = fix(context.manifest_path) if not areas or "migrations" in areas else ()
    for path in written:
        context.output.say(f"wrote: {path}")
    if not written:
        context.output.say("nothing to write: what is left needs a person")


def print_report(context: CommandContext, report: Report, seconds: float, findings: Iterable[str]) -> None:
    """The report as a person reads it: findings, what was not judged and why, a line for each area."""
    out = context.output
    for text in findings:
        out.line(text)
    for (reason, fix), ids in by_reason(report.unknown).items():
        out.line(f"{out.paint('not judged', 'yellow')} {', '.join(ids)}: {reason}")
        if fix:
            out.line(f"  fix: {fix}")
        out.line()
    for line in area_lines(report):
        out.line(line)
    for seen in report.seen:
        out.say(seen)
    missed = f" {len(report.unknown)} not judged," if report.unknown else ""
    out.say(f"{len(report.judged)} rules judged,{missed} {len(report.accepted)} findings accepted, {seconds:.1f} s")
    if report.findings:
        out.say(f"hint: `{proposal.EXPLAIN(code=report.findings[0].code.id)}` says more")
