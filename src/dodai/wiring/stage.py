"""A rehearsal, put together: on a private Host bound to this process, or with the drivers of an environment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from dodai.csrf.policy import CsrfPolicy
from dodai.observability.policy import ObservabilityPolicy
from dodai.operations.environment_policy import EnvironmentPolicy
from dodai.operations.project import Project
from dodai.providers.local.browser import HttpBrowser
from dodai.providers.postgres.stage_database import PostgresStageDatabase
from dodai.rehearsal.commit import commit_of
from dodai.rehearsal.local_stage import discard_data, open_stage
from dodai.rehearsal.ports import Subject
from dodai.rehearsal.rehearse import Rehearsal, RehearsalWatcher, new_folder
from dodai.wiring import environments
from dodai.wiring.migration_target import target

ENVIRONMENT = "rehearsal"


def subject_of(project: Project, database_url: Callable[[], str]) -> Subject:
    """What drills know of the project; `database_url` is that of the stage, asked for late."""
    migrations = project.migrations
    ledgers = (migrations.ledger_parts[1],) if migrations else ()
    return Subject(
        policy=project.policy,
        csrf=CsrfPolicy.from_manifest(project.manifest.section("csrf") or {}),
        visit=HttpBrowser,
        visit_from=lambda url, address: HttpBrowser(url, address=address),
        observability=ObservabilityPolicy.from_manifest(project.manifest.section("observability") or {}),
        migrations=target(project, Path(project.root), database_url) if migrations else None,
        database=PostgresStageDatabase(database_url, ledgers) if project.policy.database.used_by else None,
    )


def rehearsal(project: Project, now: datetime, watcher: RehearsalWatcher, *, only: str, everything: bool) -> Rehearsal:
    """A rehearsal of the working tree, in a new folder of the project's state."""
    folder = new_folder(project.state / "rehearsals", now, lambda old: discard_data(old / "env"))
    roles = next((one.database_roles for one in project.policy.environments.values() if one.database_roles), ())
    config = EnvironmentPolicy(ENVIRONMENT, "local", (), "", 0, protected=False, database_roles=roles)
    environment = environments.assemble(config, folder / "env", project)
    return Rehearsal(
        project=project.manifest.name,
        commit=commit_of(project.root),
        subject=subject_of(project, environment.database.url),
        open_stage=partial(open_stage, environment, _postgres),
        folder=folder,
        watcher=watcher,
        only=only,
        everything=everything,
    )


def production_rehearsal(
    project: Project, name: str, now: datetime, watcher: RehearsalWatcher, *, only: str
) -> Rehearsal:
    """A rehearsal of the environment `name` with its own drivers; DOD719 (exit 2) for a provider without a stand-in."""
    from dodai.rehearsal.production_drills import production_drills
    from dodai.standins import production_stage  # drivers and stand-ins of every vendor

    config = project.environment(name)
    production_stage.refuse_unknown(project, config)
    remote = replace(project, elsewhere=True)
    folder = new_folder(project.state / "rehearsals", now, lambda old: discard_data(old / "env"))
    subject = subject_of(remote, lambda: "")
    return Rehearsal(
        project=project.manifest.name,
        commit=commit_of(project.root),
        subject=subject,
        open_stage=partial(production_stage.open_stage, project, config, folder / "env", environments.assemble),
        folder=folder,
        watcher=watcher,
        only=only,
        everything=True,
        known=production_drills,
    )


def _postgres() -> str:
    from dodai.providers.postgres.binaries import find_binaries

    return find_binaries().version
