"""The report of a check in every format: a line for each area says how much of it was judged, and why not the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from dodai.cli.output import finding_as_github, finding_as_text, findings_as_sarif, findings_as_text
from dodai.core.code_page import Level
from dodai.core.errors import AREAS
from dodai.core.finding import Finding
from dodai.core.rule import Report, Undecided

_LEVELS: tuple[Level, ...] = ("error", "warning", "info")


def area_lines(report: Report) -> Iterator[str]:
    """`csrf: ok, judged 16 of 16`, for each area that a rule or a finding belongs to."""
    for area in AREAS:
        counts = {level: sum(f.code.area == area and f.severity == level for f in report.findings) for level in _LEVELS}
        found = ", ".join(f"{n} {level}{'s' if n > 1 and level != 'info' else ''}" for level, n in counts.items() if n)
        if area == AREAS[0]:
            if found:
                yield f"{area}: {found}"
        elif line := _area_line(report, area, found):
            yield line


def _area_line(report: Report, area: str, found: str) -> str:
    judged = sum(rule.code.area == area for rule in report.judged)
    unknown, idle, left = (_of(group, area) for group in (report.unknown, report.not_applicable, report.left_out))
    allowed = [(row, reason) for row, reason in report.allowed if row.rule.code.area == area]
    total = judged + len(unknown) + len(idle) + len(left) + len(allowed)
    if not total:
        return f"{area}: {found}" if found else ""
    words = [found] if found else []
    if unknown:
        reasons = list(by_reason(unknown))
        more = f"; {len(reasons) - 1} more reason{'s' if len(reasons) > 2 else ''}" if len(reasons) > 1 else ""
        words.append(f"not judged ({reasons[0][0]}{more})")
    elif not judged and idle:
        words.append(f"not applicable ({idle[0].reason})")
    elif judged and not found:
        words.append("ok")
    rest = [f"{len(rows)} {text}: {', '.join(rows)}" for (text, _), rows in by_reason(left).items()]
    if judged or unknown:
        rest += [f"{len(rows)} not applicable: {reason}" for (reason, _), rows in by_reason(idle).items()]
    for reason in dict.fromkeys(reason for _, reason in allowed):
        rest.append(f"{sum(reason == other for _, other in allowed)} allowed unjudged: {reason}")
    words.append(f"judged {judged} of {total}" + (f" ({'; '.join(rest)})" if rest else ""))
    return f"{area}: {', '.join(words)}"


def by_reason(rows: Iterable[Undecided]) -> dict[tuple[str, str], list[str]]:
    """(reason, fix) to the codes of the rules that have it."""
    found: dict[tuple[str, str], list[str]] = {}
    for row in rows:
        found.setdefault((row.reason, row.fix), []).append(row.rule.code.id)
    return found


def by_cause(report: Report, *, concise: bool) -> Iterator[str]:
    """The findings as text: those of one code with one fix stand together, with their number; or a line for each."""
    groups: dict[tuple[str, str, str], list[Finding]] = {}
    for finding in report.findings:
        groups.setdefault((finding.code.id, finding.advice, finding.harm), []).append(finding)
    for found in groups.values():
        if concise:
            yield from (f"{one.place or '-'}: {one.code.id} {one.severity} {one.message}" for one in found)
        elif len(found) == 1:
            yield f"{finding_as_text(found[0])}\n"
        else:
            yield f"{findings_as_text(found)}\n"


def statistics_of(report: Report) -> Iterator[str]:
    """How often each code was found, the most frequent first."""
    counts = Counter((one.code.id, one.code.name, one.severity) for one in report.findings)
    for (code, name, severity), number in counts.most_common():
        yield f"{number:5}  {code}  {severity:7}  {name}"


def report_as_json(report: Report, seconds: float) -> dict[str, object]:
    """The body of `dodai.check/1`."""
    return {
        "ok": report.ok,
        "findings": [finding.as_json() for finding in report.findings],
        "unknown": [_as_json(row) for row in report.unknown],
        "allowed": [{**_as_json(row), "allowedBecause": reason} for row, reason in report.allowed],
        "accepted": [
            {**finding.as_json(), "reason": acceptance.reason, "expires": acceptance.expires.isoformat()}
            for finding, acceptance in report.accepted
        ],
        "judged": [rule.code.id for rule in report.judged],
        "notApplicable": [_as_json(row) for row in report.not_applicable],
        "leftOut": [_as_json(row) for row in report.left_out],
        "seen": list(report.seen),
        "areas": list(area_lines(report)),
        "seconds": round(seconds, 3),
    }


def report_as_github(report: Report) -> Iterator[str]:
    """Workflow commands: findings beside their lines, an error for each reason why rules were not judged."""
    for finding in report.findings:
        yield finding_as_github(finding)
    for (reason, fix), ids in by_reason(report.unknown).items():
        yield f"::error title=not judged::{', '.join(ids)}: {reason}" + (f"%0Afix: {fix}" if fix else "")
    yield f"::notice title=dodai check::{'%0A'.join(area_lines(report))}"


def report_as_sarif(report: Report) -> dict[str, Any]:
    """SARIF 2.1.0, with what was not judged as notifications of the run."""
    document = findings_as_sarif(report.findings)
    notes = [
        {"level": "error", "descriptor": {"id": row.rule.code.id}, "message": {"text": f"not judged: {row.reason}"}}
        for row in report.unknown
    ]
    whole = {"executionSuccessful": not report.unknown, "toolExecutionNotifications": notes}
    document["runs"][0]["invocations"] = [whole]
    return document


def _as_json(row: Undecided) -> dict[str, object]:
    return {"code": row.rule.code.id, "name": row.rule.code.name, "reason": row.reason, "fix": row.fix or None}


def _of(rows: Iterable[Undecided], area: str) -> list[Undecided]:
    return [row for row in rows if row.rule.code.area == area]
