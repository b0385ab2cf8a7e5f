"""The pages of a project: what each area has to say about it, rendered from the same definition that is enforced."""

from __future__ import annotations

from collections.abc import Iterator

from dodai.core.page import Page
from dodai.engine.plan import Plan, PlanRequest
from dodai.wiring.local import LocalEnvironment
from dodai.wiring.project import Project


def pages(project: Project) -> Iterator[tuple[Page, str]]:
    """Each page with the name of the region it fills; an empty name means that the whole file is generated."""
    from dodai.operations.document import production_operations

    if project.policy.public_service is not None:
        yield production_operations(project.policy, _deploy_plan(project)), ""


def _deploy_plan(project: Project) -> Plan:
    """The deploy plan as a document shows it: built, never carried out, for no release in particular."""
    name = next((name for name in project.policy.environments if name != "local"), "local")
    environment = LocalEnvironment.of(project, name)
    manifest = project.manifest
    previous = {f"previous:{service}": "PREVIOUS" for service in project.policy.services}
    request = PlanRequest(
        "deploy", name, "RELEASE", manifest=manifest.text, manifest_hash=manifest.hash, arguments=previous
    )
    return environment.build(request)
