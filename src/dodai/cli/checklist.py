"""`dodai checklist --base REF`: what a branch touches, as a Markdown list for its pull request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from dodai.cli.command_context import CommandContext, define
from dodai.core import proposal
from dodai.core.dataclass import dataclass

if TYPE_CHECKING:
    from dodai.csrf.policy import Exemption
    from dodai.migrations.check.facts import ShadowTrial
    from dodai.migrations.migration import Migration
    from dodai.operations.collector.branch_diff import Touched

MARKER = "<!-- dodai checklist -->"
"""The first line, by which a workflow finds the comment that it wrote before."""


@dataclass(frozen=True, slots=True)
class Point:
    """One line; `proven` only where it was seen, `rest` is what is left to do, a command where there is one."""

    proven: bool
    text: str
    rest: str = ""

    def __str__(self) -> str:
        return f"- [{'x' if self.proven else ' '}] {self.text}" + (f" — {self.rest}" if self.rest else "")


@define("checklist", summary="List what a branch touches, for its pull request", example="dodai checklist --base main")
@click.option("--base", metavar="REF", required=True, help="The branch that the pull request goes to.")
def command(context: CommandContext, base: str) -> int:
    from dodai.operations.collector.branch_diff import touched
    from dodai.rehearsal.commit import commit_of
    from dodai.wiring.checks import facts
    from dodai.wiring.registry import rules

    project, today = context.project, datetime.now(UTC).date()
    found = touched(project, facts(project, today, base=base), rules(), commit_of(project.root))
    sections = tuple((title, tuple(items)) for title, items in _sections(found))
    if context.output.as_json:
        rows = [
            {"section": title, "proven": item.proven, "text": item.text, "rest": item.rest or None}
            for title, items in sections
            for item in items
        ]
        context.output.data("dodai.checklist/1", {"base": base, "fork": found.fork, "items": rows})
    else:
        for line in _markdown(found, sections):
            context.output.line(line)
    return 0


def _markdown(found: Touched, sections: Sequence[tuple[str, Sequence[Point]]]) -> Iterator[str]:
    items = [item for _, each in sections for item in each]
    yield MARKER
    yield "## What this branch touches"
    yield ""
    proven = sum(item.proven for item in items)
    files = f"{len(found.files)} file{'s' * (len(found.files) != 1)}"
    yield f"{files} differ from `{found.base}` (`{found.fork[:9]}`); {proven} of {len(items)} points are proven."
    for title, each in sections:
        if each:
            yield ""
            yield f"### {title}"
            yield ""
            yield from map(str, each)


def _sections(found: Touched) -> Iterator[tuple[str, Iterator[Point]]]:
    yield "Routes", _routes(found)
    yield "Forms", _forms(found)
    yield "Exemptions", _exemptions(found)
    yield "Migrations", (item for pair in found.migrations for item in _migration(found, *pair))
    yield "Secrets", _secrets(found)
    yield "Journeys", _journeys(found)
    yield "Rehearsal", _rehearsal(found)
    yield "Other findings in these files", _others(found)
    yield (
        "Not judged",
        (
            Point(False, f"{area}: {reason}", fix or f"`{proposal.CHECK(area=area)}`")
            for area, reason, fix in found.unknown
        ),
    )


def _routes(found: Touched) -> Iterator[Point]:
    new = {row.route for row in found.exemptions}
    for row in found.routes:
        exempt = row.verdict == "exempt" and not new & set(row.ids)
        proven = row.verdict == "protected" or exempt
        said = f"`{row.id}` (`{row.source}:{row.line}`): {row.verdict}, {row.evidence}"
        yield Point(proven, said, "" if proven else row.fix or f"`{proposal.CHECK(area='csrf')}`")


def _forms(found: Touched) -> Iterator[Point]:
    for row in found.forms:
        proven = row.verdict in ("protected", "exempt")
        said = f"{row.kind} {row.sends} (`{row.path}:{row.line}`): {row.verdict}, {row.evidence}"
        yield Point(proven, said, "" if proven else f"`{proposal.CHECK(area='csrf')}`")


def _exemptions(found: Touched) -> Iterator[Point]:
    """None is ever ticked: whether the reason holds is what the reviewer is asked."""
    for row in found.exemptions:
        yield Point(False, f"`{row.route}` is exempt, new or changed here: {_terms(row)}", "does the reviewer agree?")
    for row in found.outer:
        said = f"`{row.route}` answers in front of every check, new or changed here: {_terms(row)}"
        yield Point(False, said, "does the reviewer agree?")
    for route in found.removed_exemptions:
        yield Point(False, f"`{route}` is exempt no more", "do its callers send a token?")


def _terms(row: Exemption) -> str:
    terms = [row.reason, f"control: {row.control or 'none'}", f"owner: {row.owner or 'none'}"]
    return "; ".join([*terms, f"until {row.expires}" if row.expires else "without an end"])


def _migration(found: Touched, one: Migration, trial: ShadowTrial | None) -> Iterator[Point]:
    here = f"`{one.path}`"
    if trial is None or trial.excuse is not None:
        yield Point(False, f"{here}: not tried on an empty database", f"`{proposal.MIGRATE_CHECK()}`")
        return
    if trial.failure:
        yield Point(
            False, f"{here}: does not apply to an empty database: {trial.failure}", f"`{proposal.MIGRATE_CHECK()}`"
        )
        return
    yield Point(True, f"{here}: applies to an empty database, as {len(trial.probes)} probed statements")
    told = [f for f in found.findings if f.code.area == "migrations" and f.place and f.place.path == one.path]
    for finding in told:
        yield Point(False, f"{here}: {finding.code.id} {finding.message}", finding.advice)
    judged = not any(area == "migrations" for area, _, _ in found.unknown)
    if not told and trial.probes and judged:
        yield Point(True, f"{here}: its locks and its effects were judged, without a finding")
    elif not told:
        yield Point(False, f"{here}: its locks were not judged as a whole", f"`{proposal.MIGRATE_CHECK()}`")
    if one.irreversible:
        yield Point(False, f"{here}: cannot be rolled back ({one.irreversible})", "plan the roll forward")
    elif trial.trip == "same":
        yield Point(True, f"{here}: down and up again gives the same schema")
    else:
        yield Point(False, f"{here}: the way back is not proven ({trial.trip})", f"`{proposal.MIGRATE_CHECK()}`")


def _secrets(found: Touched) -> Iterator[Point]:
    for name in found.secrets:
        yield Point(
            False,
            f"`{name}` is new, or used by other services",
            f"is it set everywhere? `{proposal.SECRETS_LIST(env='ENV')}`",
        )


def _journeys(found: Touched) -> Iterator[Point]:
    rehearsal = found.rehearsal
    for journey in found.journeys:
        said = f"`{journey.name}`: a route of it, or the journey itself, is touched"
        if rehearsal is not None and rehearsal.walked:
            yield Point(True, f"{said}; the rehearsal of this commit walked it ({rehearsal.started_at})")
        else:
            yield Point(False, said, f"`{proposal.REHEARSE()}`")


def _rehearsal(found: Touched) -> Iterator[Point]:
    """One point for the story and one for each drill: what was carried out on this machine, with this commit."""
    if not found.files or not (found.journeys or found.routes or found.migrations or found.rehearsal):
        return
    rehearsal = found.rehearsal
    if rehearsal is None:
        yield Point(
            False, "this commit was not rehearsed on this machine, or has changes since", f"`{proposal.REHEARSE()}`"
        )
        return
    ok = rehearsal.outcome == "ok"
    yield Point(
        ok,
        f"rehearsal of this commit, {rehearsal.started_at}: {rehearsal.outcome}",
        "" if ok else f"`{proposal.REHEARSE()}`",
    )
    for name, outcome in rehearsal.drills:
        rest = "" if outcome == "ok" else f"`{proposal.REHEARSE_ONLY(name=name)}`"
        yield Point(outcome == "ok", f"drill `{name}`: {outcome}", rest)


def _others(found: Touched) -> Iterator[Point]:
    shown = {"DOD101", "DOD102", "DOD103", "DOD104"}  # what stands with its route or form already
    paths = {one.path for one, _ in found.migrations}
    for finding in found.findings:
        place = finding.place
        told = finding.code.id in shown or (finding.code.area == "migrations" and place and place.path in paths)
        if not told:
            yield Point(False, f"{finding.code.id} `{place}`: {finding.message}", finding.advice)
