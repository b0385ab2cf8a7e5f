"""The pages of a project: what each area has to say about it, rendered from the same definition that is enforced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from dodai.core.page import Page, Text
from dodai.csrf.document import csrf_rollout
from dodai.csrf.form_table import FormTable
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteTable
from dodai.migrations.document import migration_operations, tool_decision
from dodai.migrations.goose_file import files_of
from dodai.observability.document import alert_links, observability
from dodai.observability.policy import ObservabilityPolicy
from dodai.operations.document import known_limitations, production_operations
from dodai.operations.project import Project
from dodai.operations.run.plans import build_for_document
from dodai.operations.run.secret_status import known_secrets
from dodai.rehearsal.document import rehearsed, rehearsed_failures, said_of
from dodai.rehearsal.drill import known_drills
from dodai.rehearsal.rehearsed import Rehearsed
from dodai.wiring import environments
from dodai.wiring.checks import facts
from dodai.wiring.migration_target import target
from dodai.wiring.stage import subject_of


def pages(project: Project) -> Iterator[tuple[Page, str]]:
    """Each page with the name of the region it fills; an empty name means that the whole file is generated."""
    if project.policy.limitations:
        yield known_limitations(project.policy.limitations), "known-limitations"
    if project.policy.public_service is None:
        return
    record = rehearsed(project)
    for page, region in _runbook(project, record):
        yield page if region else replace(page, blocks=(*page.blocks, said_of(record))), region


def _runbook(project: Project, record: Rehearsed | None) -> Iterator[tuple[Page, str]]:
    name = next((name for name in project.policy.environments if name != "local"), "local")
    here = environments.open(project, name)
    plan = build_for_document(here)
    yield _csrf(project), ""
    migrations = project.migrations
    if migrations is not None:
        files = files_of(target(project, project.root, str)).migrations
        yield migration_operations(migrations, plan, files), ""
        yield tool_decision(migrations), "migrations"
    watched = ObservabilityPolicy.from_manifest(project.manifest.section("observability") or {})
    failures = rehearsed_failures(known_drills(subject_of(project, str)), record)
    more = (failures, alert_links(watched, _file_of(project, "observability")))
    restored = record.restore() if record else None
    yield production_operations(project.policy, plan, known_secrets(here), more, restored), ""
    yield observability(watched, name), ""


def _file_of(project: Project, name: str) -> Text:
    """The file of a page beside another one, in each language; the first language has no suffix."""
    first = project.manifest.data["project"]["langs"][0]
    return Text(*(f"{name}.md" if lang == first else f"{name}.{lang}.md" for lang in ("en", "ja")))


def _csrf(project: Project) -> Page:
    gathering = facts(project, datetime.now(UTC).date())
    routes, forms = gathering.fact(RouteTable), gathering.fact(FormTable)
    return csrf_rollout(
        CsrfPolicy.from_manifest(project.manifest.section("csrf") or {}),
        routes if isinstance(routes, RouteTable) else None,
        forms if isinstance(forms, FormTable) else None,
    )
