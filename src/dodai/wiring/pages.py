"""The pages of a project: what each area has to say about it, rendered from the same definition that is enforced."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dodai.core import codes
from dodai.core.errors import DodaiError
from dodai.core.page import Page, PageTable, Text, paragraphs
from dodai.csrf.document import csrf_rollout
from dodai.csrf.form_table import FormTable
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteTable
from dodai.migrations.document import migration_operations, tool_decision
from dodai.migrations.goose_file import files_of
from dodai.observability.document import alert_links, observability
from dodai.observability.policy import ObservabilityPolicy
from dodai.operations.document import production_operations
from dodai.operations.policy import Limitation
from dodai.operations.project import Project
from dodai.operations.run.plans import build_for_document
from dodai.operations.run.secret_status import known_secrets
from dodai.rehearsal.document import rehearsed_failures, said_of
from dodai.rehearsal.drill import known_drills
from dodai.rehearsal.rehearsed import FILE, Rehearsed
from dodai.wiring import environments
from dodai.wiring.fact_sources import GATHERERS
from dodai.wiring.gathering import Gathering
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


def rehearsed_file(project: Project) -> Path:
    """Where the last rehearsal is kept for the documents."""
    return project.root / str(project.manifest.data["project"]["docs"]) / FILE


def rehearsed(project: Project) -> Rehearsed | None:
    """The rehearsal that the documents tell of; None for none, DOD008 (exit 2) for a file that cannot be read."""
    path = rehearsed_file(project)
    try:
        return Rehearsed.read(path)
    except ValueError as error:
        said = f"`{path.relative_to(project.root)}` is no record of a rehearsal: {error}"
        fix = "remove it, or let `dodai rehearse --document` write it anew"
        raise DodaiError(codes.DOCUMENT_MARKERS, said, fix, exit_code=2) from None


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
    gathering = Gathering(project.root, project, datetime.now(UTC).date(), GATHERERS)
    routes, forms = gathering.fact(RouteTable), gathering.fact(FormTable)
    return csrf_rollout(
        CsrfPolicy.from_manifest(project.manifest.section("csrf") or {}),
        routes if isinstance(routes, RouteTable) else None,
        forms if isinstance(forms, FormTable) else None,
    )


def known_limitations(limitations: tuple[Limitation, ...]) -> Page:
    """`tech`: what is limited, and what shows that it no longer is; `dodai check` holds that the proof exists."""
    head = (Text("id", "id"), Text("limitation", "内容"), Text("shown to be resolved by", "解消を示すもの"))
    stands = Text("still stands", "残っている")
    rows = tuple(
        (f"`{row.id}`", Text(row.text_en or row.text, row.text), f"`{row.resolved_by}`" if row.resolved_by else stands)
        for row in limitations
    )
    said = Text(
        "The rows are the `[[limitation]]` tables of `dodai.toml`. What resolves one is a rule of `dodai check`, "
        "a drill of `dodai rehearse` or a test, and would turn red if the limitation came back.",
        "行は `dodai.toml` の `[[limitation]]` です。解消を示すものは `dodai check` の規則、`dodai rehearse` の訓練、"
        "またはテストで、制約が再び生じれば失敗します。",
    )
    return Page("tech", Text("Known Limitations", "Known Limitations"), (*paragraphs(said), PageTable(head, rows)))
