"""Gathering facts: each once, only as dear as asked for, and only when a rule needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path
from typing import Any

from dodai.core import codes
from dodai.core.errors import DodaiError
from dodai.core.fact import Cost, NotApplicable, Unknown
from dodai.core.finding import Finding, Place
from dodai.core.manifest import Manifest, ManifestProblems
from dodai.core.rule import Acceptance, Report, Rule, judge
from dodai.runtime.config import nearest_manifest
from dodai.wiring.project import Project
from dodai.wiring.registry import AREAS, rules

_DEARNESS: Mapping[Cost, int] = {"static": 0, "local": 1, "live": 2}


@dataclass(frozen=True)
class Gathering:
    """What a gatherer knows: the folder, the project (None without a manifest) and how far it may go."""

    root: Path
    project: Project | None
    base: str = ""
    everything: bool = False

    @cached_property
    def manifest(self) -> Manifest | NotApplicable:
        return self.project.manifest if self.project else NotApplicable("there is no dodai.toml")


Gatherer = Callable[[Gathering], Any]


def gatherers() -> dict[type, Gatherer]:
    """How each kind of fact is gathered."""
    from dodai.wiring import fact_sources

    return {Manifest: lambda gathering: gathering.manifest, **fact_sources.GATHERERS}


def check(
    manifest: Path | None, *, areas: tuple[str, ...], cost: Cost, base: str, everything: bool, today: date
) -> Report:
    """The report of every rule of `areas` (all when empty) whose facts cost at most `cost`.

    Without a manifest the rules that need one do not apply. A manifest that is not sound is a report of its problems.
    """
    file = manifest if manifest is not None else nearest_manifest(Path.cwd())
    try:
        project = Project.find(file) if file is not None else None
    except ManifestProblems as problems:
        return Report(findings=problems.findings)
    gathering = Gathering(project.root if project else Path.cwd(), project, base, everything)
    chosen = [rule for rule in rules(areas or AREAS) if _DEARNESS[rule.cost] <= _DEARNESS[cost]]
    facts = gather(chosen, gathering)
    accepted, expired = _acceptances(project, today)
    report = judge(chosen, facts, accepted=accepted, today=today)
    return Report((*expired, *report.findings), report.unknown, report.accepted, report.judged, report.not_applicable)


def gather(chosen: list[Rule], gathering: Gathering) -> dict[type, Any]:
    """Each fact that `chosen` need, gathered once; one that fails is `Unknown` with the reason."""
    sources = gatherers()
    facts: dict[type, Any] = {}
    for need in dict.fromkeys(need for rule in chosen for need in rule.needs):
        source = sources.get(need)
        if source is None:
            facts[need] = Unknown(f"nothing gathers `{need.__name__}`")
            continue
        try:
            facts[need] = source(gathering)
        except DodaiError as error:
            facts[need] = Unknown(str(error), error.fix)
    return facts


def _acceptances(project: Project | None, today: date) -> tuple[tuple[Acceptance, ...], tuple[Finding, ...]]:
    if project is None:
        return (), ()
    rows = tuple(Acceptance(**raw) for raw in project.manifest.data["check"]["accept"])
    expired = tuple(
        Finding(
            codes.ACCEPTANCE_EXPIRED,
            f"`{row.code}` was accepted until {row.expires.isoformat()}: {row.reason}",
            Place(project.manifest.path),
        )
        for row in rows
        if row.expires < today
    )
    return rows, expired
