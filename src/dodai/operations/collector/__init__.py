"""Facts of a project, gathered from its repository and through its ports, and the report of the rules over them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from dodai.core import codes
from dodai.core.fact import Cost
from dodai.core.finding import Finding, Place
from dodai.core.rule import Acceptance, Report, Rule, Undecided, evaluate
from dodai.operations.collector.gathering import Gathering
from dodai.operations.project import Project

_DEARNESS: Mapping[Cost, int] = {"static": 0, "local": 1, "live": 2}
_LEFT_OUT: Mapping[Cost, str] = {"local": "left out by `--fast`", "live": "asked with `--target ENV` only"}


def facts_for(rules: Iterable[Rule], gathering: Gathering) -> dict[type, Any]:
    """Each fact that one of the rules needs."""
    return {need: gathering.fact(need) for rule in rules for need in rule.needs}


def report_of(gathering: Gathering, rules: Sequence[Rule], areas: tuple[str, ...], cost: Cost) -> Report:
    """The report of `rules`, the areas that were asked for in it; facts that cost more than `cost` are not gathered."""
    chosen = [rule for rule in rules if _DEARNESS[rule.cost] <= _DEARNESS[cost]]
    accepted, expired = _acceptances(gathering.project, gathering.today)
    report = evaluate(chosen, facts_for(chosen, gathering), accepted=accepted, today=gathering.today)
    seen = tuple(str(fact.seen) for fact in gathering.known.values() if hasattr(fact, "seen"))
    left = tuple(Undecided(rule, _LEFT_OUT[rule.cost]) for rule in rules if rule not in chosen)
    return replace(report, findings=(*expired, *report.findings), left_out=left, seen=seen).insisting_on(areas)


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
