"""Locks of migrations that are pending, as a throw-away server shows them: what whoever approves a plan is told."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from dodai.core.errors import DodaiError
from dodai.migrations.check import MigrationHistory
from dodai.migrations.check.facts import ShadowTrial
from dodai.migrations.check.shadow import shadow_run
from dodai.migrations.goose_file import history_of
from dodai.operations.project import Project
from dodai.wiring.migration_target import target
from dodai.wiring.shadow_server import shadow_of


def locks(project: Project, pending: Collection[str] | None) -> Iterator[str]:
    """A line for each lock that the files `pending` take on tables that older files made; why not, where not known."""
    if pending is None:
        yield "unknown: the database does not run, so what is pending is not known"
    if not pending:
        return
    judged = frozenset(pending)
    try:
        folder = history_of(target(project, project.root, str))
        history = MigrationHistory(folder.migrations, folder.problems, judged, judged)
        tried = shadow_run(history, shadow_of(project), everything=False)
    except DodaiError as error:
        yield f"unknown: {error.message}"
        return
    found = [line for trial in tried.trials if trial.migration.id in judged for line in _of(trial)]
    yield from found or ["none on a table that was there before"]


def _of(trial: ShadowTrial) -> Iterator[str]:
    path = trial.migration.path
    if trial.failure:
        yield f"{path}:{trial.line}: unknown: {trial.failure}"
    for probe in trial.probes:
        for effect in probe.effects:
            size = ", rewrites it" if effect.rewritten else ", reads it as a whole" if effect.scanned else ""
            writers = ", keeps writers out" if effect.blocks_writes else ""
            yield f"{path}:{probe.statement.line}: {effect.lock} on {effect.table}{writers}{size}"
