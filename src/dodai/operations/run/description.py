"""How an environment is described: by today's manifest, and where protected by the one that came through its gates.

`[env.NAME]` says which origins may send forms, which database and which secrets services are told. A restart of what
was let in must not take those from a tree that nobody has seen. Only where its records are (`control_url`, `folder`)
comes from the working tree: by that they are found.
"""

from __future__ import annotations

from dataclasses import replace

from dodai.engine.plan import PlanRequest
from dodai.operations.environment import Environment
from dodai.operations.environment_policy import EnvironmentPolicy
from dodai.operations.gates import afterwards, in_force
from dodai.operations.project import Project

DESCRIBED = "described_by"
"""The argument of a request that carries the manifest of the release in service, where its `[env.NAME]` is another."""


async def description_of(here: Environment) -> dict[str, str]:
    """The argument, for a request that brings no description of its own; none where the working tree says the same."""
    text = await _manifest_in_service(here)
    if not text or _described(here, here.project.with_manifest(text)) == here.config:
        return {}
    return {DESCRIBED: text.decode()}


def as_let_in(here: Environment, request: PlanRequest) -> Environment:
    """`here` with the services of the request's manifest, described as its gates know it."""
    project = here.project.with_manifest(request.manifest)
    told, arguments = request.arguments.get(DESCRIBED, ""), request.arguments
    if told:
        return here.described_by(project, _described(here, here.project.with_manifest(told.encode())))
    gated = in_force(arguments).protected or afterwards(arguments).protected
    if gated and request.kind == "deploy":
        return here.described_by(project, _described(here, project))
    return here.described_by(project)


async def in_service(here: Environment, project: Project) -> Environment:
    """`here` as `project` has its services and the release in service describes it, where protected."""
    told = (await description_of(here)).get(DESCRIBED, "")
    return here.described_by(project, _described(here, here.project.with_manifest(told.encode())) if told else None)


def _described(here: Environment, project: Project) -> EnvironmentPolicy:
    """`[env.NAME]` of `project`; that of today where it has none."""
    found = project.environments.get(here.name)
    return replace(found, control_url=here.config.control_url, folder=here.config.folder) if found else here.config


async def _manifest_in_service(here: Environment) -> bytes:
    """Of the release that was recorded last; `b""` for none, and where the environment was not protected then."""
    if not here.control.exists:
        return b""
    with here.control.first_journal() as journal:
        newest = next(iter(await journal.of_kind("released", 1)), None)
        entry = await journal.entry(newest.plan_id) if newest else None
    if entry is None or not afterwards(entry.request.arguments).protected:
        return b""
    told = entry.request.arguments.get(DESCRIBED, "")
    return told.encode() if told else entry.request.manifest
