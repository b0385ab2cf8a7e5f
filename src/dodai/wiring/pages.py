"""The pages of a project: what each area has to say about it, rendered from the same definition that is enforced."""

from __future__ import annotations

from collections.abc import Iterator

from dodai.core.page import Page
from dodai.wiring.local import LocalEnvironment
from dodai.wiring.project import Project


def pages(project: Project) -> Iterator[tuple[Page, str]]:
    """Each page with the name of the region it fills; an empty name means that the whole file is generated."""
    from dodai.operations.document import production_operations

    if project.policy.public_service is not None:
        name = next((name for name in project.policy.environments if name != "local"), "local")
        plan = LocalEnvironment.of(project, name).build_for_document()
        yield production_operations(project.policy, plan), ""
