"""`dodai check`: the ports that facts are gathered through, over the providers of a project."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dodai.core.dataclass import dataclass
from dodai.core.fact import Cost, Unknown
from dodai.core.finding import Finding
from dodai.core.manifest import ManifestProblems
from dodai.core.rule import Report, Undecided
from dodai.csrf.check.web_tier import RouteSource
from dodai.migrations import run
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import MigrationTarget, Shadow, SqlConnection, Tool
from dodai.operations.collector import Gathering, report_of
from dodai.operations.collector.fact_sources import GATHERERS
from dodai.operations.programs import find_programs
from dodai.operations.project import Project
from dodai.runtime.manifest_location import nearest_manifest
from dodai.wiring.find_project import find_project
from dodai.wiring.migration_target import target, tool_of
from dodai.wiring.registry import AREAS, rules
from dodai.wiring.shadow_server import shadow_of

if TYPE_CHECKING:
    from dodai.operations.environment import Environment


@dataclass(frozen=True, slots=True)
class ProviderFacts:
    """`dodai.operations.collector.FactPorts`; what an environment acts through is heavy, and loaded late."""

    def open(self, project: Project, name: str, /) -> Environment:
        from dodai.wiring import environments

        return environments.open(project, name)

    def problems_of(self, project: Project, name: str, /) -> tuple[Finding, ...]:
        from dodai.wiring import environments

        return environments.problems_of(project, name)

    def unkept_limits_of(self, project: Project, name: str, /) -> tuple[Finding, ...]:
        from dodai.wiring import environments

        return environments.unkept_limits_of(project, name)

    def target(self, project: Project, root: Path, url: Callable[[], str], /) -> MigrationTarget:
        return target(project, root, url)

    def tool_of(self, project: Project, policy: MigrationsPolicy, root: Path, /) -> Tool | None:
        return tool_of(project, policy, root)

    def shadow_of(self, project: Project | None, /) -> Shadow:
        return shadow_of(project)

    def database_to_migrate(self, project: Project, env: str, /) -> AbstractContextManager[str]:
        from dodai.wiring.migration_database import database_to_migrate

        return database_to_migrate(project, env)

    def route_source(self) -> RouteSource | None:
        if importlib.util.find_spec("tree_sitter_typescript") is None:
            return None
        from dodai.providers.remix import RemixTier

        return RemixTier(find_programs(sys.executable).node)

    def proofs(self, project: Project, /) -> frozenset[str]:
        from dodai.rehearsal.drill import known_drills
        from dodai.wiring.stage import subject_of

        drills = known_drills(subject_of(project, str))
        return frozenset({rule.code.id for rule in rules()} | {drill.id for drill in drills})


def facts(project: Project, today: date, **options: Any) -> Gathering:
    """What is known of a project, gathered as it is asked for; `options` are those of `Gathering`."""
    return Gathering(project.root, project, today, GATHERERS, ProviderFacts(), **options)


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
    wanted = rules(areas or AREAS)
    try:
        project, root = _here(manifest)
    except ManifestProblems as problems:
        lack = Unknown("the manifest is not sound", "put right what is found in it first", by_manifest=True)
        unread = tuple(Undecided(rule, lack.reason, lack.fix, by_manifest=True) for rule in wanted)
        return Report(findings=problems.findings, unknown=unread)
    if project and target:
        project.environment(target)
    gathering = Gathering(root, project, today, GATHERERS, ProviderFacts(), base, everything, target, lifespan)
    return report_of(gathering, wanted, areas, cost)


def fix(manifest: Path | None) -> tuple[str, ...]:
    """The files that were rewritten because a rule knows how: today goose files that would be cut in the middle."""
    project, root = _here(manifest)
    policy = project.migrations if project else MigrationsPolicy()
    if policy is None or policy.format != "goose" or not (root / policy.folder).is_dir():
        return ()
    return run.fix(MigrationTarget(root, policy, connect=_nowhere))


def _here(manifest: Path | None) -> tuple[Project | None, Path]:
    """The project, and its root; without a manifest the current folder."""
    file = manifest if manifest is not None else nearest_manifest(Path.cwd())
    project = find_project(file) if file is not None else None
    return project, project.root if project else Path.cwd()


def _nowhere() -> SqlConnection:
    raise AssertionError("fixing reads and writes files only")
