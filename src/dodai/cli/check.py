"""`dodai check`: every rule over every fact this machine may gather."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import click

from dodai.cli.output import finding_as_github, finding_as_text, findings_as_sarif
from dodai.cli.session import Session, define
from dodai.core.errors import AREAS
from dodai.core.fact import Cost
from dodai.core.rule import Report, Rule

_FORMATS = ("text", "json", "github", "sarif")


@define("check", summary="Judge the repository against every rule", example="dodai check csrf --output-format github")
@click.argument("areas", nargs=-1, type=click.Choice(AREAS[1:]))
@click.option("--output-format", type=click.Choice(_FORMATS), default="text", show_default=True, help="How to print.")
@click.option("--fast", is_flag=True, help="Read files only: run nothing, execute no code of the repository.")
@click.option("--base", metavar="REF", default="", help="The branch that new files are compared with.")
@click.option("--all", "everything", is_flag=True, help="Judge every migration, not only those new against the base.")
@click.option("--target", metavar="ENV", default="", help="Judge what runs there too: its schema against the files.")
@click.option("--fix", is_flag=True, help="First rewrite what can be put right without a choice; says which files.")
def command(
    session: Session,
    areas: tuple[str, ...],
    output_format: str,
    fast: bool,
    base: str,
    everything: bool,
    target: str,
    fix: bool,
) -> int:
    from dodai.wiring.facts import check

    if fast and target:
        raise click.UsageError("`--fast` reads files only, `--target` asks what runs: use one of them")
    began = time.monotonic()
    if fix:
        _mend(session, areas)
    cost: Cost = "static" if fast else "live" if target else "local"
    today = datetime.now(UTC).date()
    report = check(
        session.manifest_path, areas=areas, cost=cost, base=base, everything=everything, today=today, target=target
    )
    seconds = time.monotonic() - began
    if session.output.as_json or output_format == "json":
        session.output.data("dodai.check/1", report_as_json(report, seconds))
    elif output_format == "sarif":
        session.output.data("dodai.check-sarif/1", findings_as_sarif(report.findings))
        return 0
    elif output_format == "github":
        for finding in report.findings:
            session.output.line(finding_as_github(finding))
        for rule, reason in _unknown(report):
            session.output.line(
                f"::error title={rule.code.id} not judged::{rule.code.name} could not be judged: {reason}"
            )
    else:
        print_report(session, report, seconds)
    return 0 if report.ok else 1


def _mend(session: Session, areas: tuple[str, ...]) -> None:
    from dodai.wiring.facts import mend

    written = mend(session.manifest_path) if not areas or "migrations" in areas else ()
    for path in written:
        session.output.say(f"wrote: {path}")
    if not written:
        session.output.say("nothing to write: what is left needs a person")


def _unknown(report: Report) -> list[tuple[Rule, str]]:
    return [(undecided.rule, undecided.reason) for undecided in report.unknown]


def report_as_json(report: Report, seconds: float) -> dict[str, object]:
    """The body of `dodai.check/1`."""
    return {
        "ok": report.ok,
        "findings": [finding.as_json() for finding in report.findings],
        "unknown": [{"code": r.code.id, "name": r.code.name, "reason": reason} for r, reason in _unknown(report)],
        "accepted": [
            {**finding.as_json(), "reason": acceptance.reason, "expires": acceptance.expires.isoformat()}
            for finding, acceptance in report.accepted
        ],
        "judged": [rule.code.id for rule in report.judged],
        "notApplicable": [rule.code.id for rule in report.not_applicable],
        "seen": list(report.seen),
        "seconds": round(seconds, 3),
    }


def print_report(session: Session, report: Report, seconds: float) -> None:
    """The report as a person reads it: findings, what was not judged and why, a line for each area."""
    out = session.output
    for finding in report.findings:
        out.line(finding_as_text(finding))
        out.line()
    by_reason: dict[tuple[str, str], list[str]] = {}
    for undecided in report.unknown:
        by_reason.setdefault((undecided.reason, undecided.fix), []).append(undecided.rule.code.id)
    for (reason, fix), ids in by_reason.items():
        out.line(f"{out.paint('not judged', 'yellow')} {', '.join(ids)}: {reason}")
        if fix:
            out.line(f"  fix: {fix}")
        out.line()
    out.line(" · ".join(_area(report, area) for area in AREAS if _rules_of(report, area)) or "no rule applies")
    for seen in report.seen:
        out.say(seen)
    missed = f" {len(report.unknown)} not judged," if report.unknown else ""
    out.say(f"{len(report.judged)} rules judged,{missed} {len(report.accepted)} findings accepted, {seconds:.1f} s")
    if report.findings:
        out.say(f"hint: `dodai explain {report.findings[0].code.id}` says more")


def _rules_of(report: Report, area: str) -> list[Rule]:
    rules = [*report.judged, *(undecided.rule for undecided in report.unknown)]
    return [rule for rule in rules if rule.code.area == area] or [
        rule for rule in report.judged if any(f.code.area == area for f in report.findings)
    ]


def _area(report: Report, area: str) -> str:
    counts = {
        level: sum(f.code.area == area and f.severity == level for f in report.findings)
        for level in ("error", "warning", "info")
    }
    counts["not judged"] = sum(undecided.rule.code.area == area for undecided in report.unknown)
    said = ", ".join(
        f"{n} {level}{'s' if n > 1 and level in ('error', 'warning') else ''}" for level, n in counts.items() if n
    )
    return f"{area} {said or 'ok'}"
