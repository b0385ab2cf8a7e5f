"""`dodai check`: the rules that were asked for, over the facts they need."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path

from dodai.core import codes
from dodai.core.fact import Cost, Unknown
from dodai.core.finding import Finding, Place
from dodai.core.manifest import ManifestProblems
from dodai.core.rule import Acceptance, Report, Undecided, evaluate
from dodai.migrations import run
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import MigrationTarget, SqlConnection
from dodai.operations.project import Project
from dodai.runtime.manifest_location import nearest_manifest
from dodai.wiring.fact_sources import GATHERERS
from dodai.wiring.find_project import find_project
from dodai.wiring.gathering import Gathering
from dodai.wiring.registry import AREAS, rules

_DEARNESS: Mapping[Cost, int] = {"static": 0, "local": 1, "live": 2}
_LEFT_OUT: Mapping[Cost, str] = {"local": "left out by `--fast`", "live": "asked with `--target ENV` only"}


def check(
    manifest: Path | None,
    *,
    areas: tuple[str, ...],
    cost: Cost,
    base: str,
    everything: bool,
    today: date,
    target: str = "",
    lifespan: bool = True,
) -> Report:
    """The report of every rule of `areas` (all when empty); those whose facts cost more than `cost` are left out.

    `target` is the environment that live facts are about; DOD051 when there is none of that name. Without `lifespan`
    applications are listed as they are when they have been imported.
    Where there is no manifest, or one that is not sound, the rules that need it are unknown.
    """
    file = manifest if manifest is not None else nearest_manifest(Path.cwd())
    try:
        project = find_project(file) if file is not None else None
    except ManifestProblems as problems:
        lack = Unknown("the manifest is not sound", "put right what is found in it first", by_manifest=True)
        unread = tuple(Undecided(rule, lack.reason, lack.fix, by_manifest=True) for rule in rules(areas or AREAS))
        return Report(findings=problems.findings, unknown=unread)
    if project and target:
        project.environment(target)
    root = project.root if project else Path.cwd()
    gathering = Gathering(root, project, today, GATHERERS, base, everything, target, lifespan)
    wanted = rules(areas or AREAS)
    chosen = [rule for rule in wanted if _DEARNESS[rule.cost] <= _DEARNESS[cost]]
    facts = {need: gathering.fact(need) for rule in chosen for need in rule.needs}
    accepted, expired = _acceptances(project, today)
    report = evaluate(chosen, facts, accepted=accepted, today=today)
    seen = tuple(str(fact.seen) for fact in gathering.known.values() if hasattr(fact, "seen"))
    left = tuple(Undecided(rule, _LEFT_OUT[rule.cost]) for rule in wanted if rule not in chosen)
    return replace(report, findings=(*expired, *report.findings), left_out=left, seen=seen).insisting_on(areas)


def fix(manifest: Path | None) -> tuple[str, ...]:
    """The files that were rewritten because a rule knows how: today goose files that would be cut in the middle."""
    file = manifest if manifest is not None else nearest_manifest(Path.cwd())
    project = find_project(file) if file is not None else None
    policy = project.migrations if project else MigrationsPolicy()
    root = project.root if project else Path.cwd()
    if policy is None or policy.format != "goose" or not (root / policy.folder).is_dir():
        return ()
    return run.fix(MigrationTarget(root, policy, connect=_nowhere))


def _nowhere() -> SqlConnection:
    raise AssertionError("fixing reads and writes files only")


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
