"""Plans of an environment: the request that is journalled first, and what is built from it, now or at a resume."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import cast

from dodai.core import codes as core
from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.run import probe
from dodai.engine.actor import actor
from dodai.engine.plan import Plan, PlanRequest, Step
from dodai.migrations import run
from dodai.migrations.goose_file.folder import nothing_found
from dodai.migrations.policy import MigrationsPolicy
from dodai.observability.policy import ObservabilityPolicy
from dodai.operations.admission import Change
from dodai.operations.codes import STALE_PLAN, STORE_FAILED, STORE_OF_ANOTHER
from dodai.operations.environment import Environment, host_of
from dodai.operations.environment_policy import EnvironmentPolicy
from dodai.operations.policy import OperationsPolicy
from dodai.operations.ports import (
    CacheRule,
    CanaryCompute,
    DeclaredIdentity,
    EdgeSpec,
    Instance,
    KeptEdge,
    VendorPoints,
)
from dodai.operations.programs import find_programs
from dodai.operations.project import Project
from dodai.operations.run.audit_log import KINDS, AuditLog
from dodai.operations.run.canary import Canary
from dodai.operations.run.dependencies import packages_of
from dodai.operations.run.deploy import DeployPorts, deploy
from dodai.operations.run.description import as_let_in, description_of
from dodai.operations.run.down import DOWN, down
from dodai.operations.run.gate import BREAK_GLASS
from dodai.operations.run.gate_sources import gate_arguments, gated
from dodai.operations.run.preflight import previous_releases
from dodai.operations.run.release_log import ReleaseLog
from dodai.operations.run.relief import RELIEVE, rate_limit, relieve, relieved, standing_reliefs
from dodai.operations.run.rotation import ROTATE, stored_only
from dodai.operations.run.schema import ReleaseSchema
from dodai.operations.run.service_steps import PREVIOUS_SETTINGS
from dodai.operations.setting import ServiceSettings

STATIC_TTL_S = 3600.0


async def request_for(
    here: Environment, kind: str, release: str, arguments: Mapping[str, str] | None = None
) -> PlanRequest:
    """What is journalled before anything happens: who wants which release where, over which one.

    The manifest is that of the release: going back to one brings its own journeys, services and limits back.
    """
    await here.refuse_elsewhere()
    status = await here.compute.status()
    live = [one for s in status.services if status.running for one in s.instances if one.live]
    previous = {f"previous:{one.service}": one.release for one in live}
    previous |= {f"{PREVIOUS_SETTINGS}{one.service}": one.settings for one in live if one.settings}
    project = here.released(release) if release else here.project
    reason = (arguments or {}).get(BREAK_GLASS, "")
    if release and here.host is not None:
        refuse_interpreter(project.policy, here.project.python)
    gates = await gate_arguments(here, cast("Change", kind), project, reason) if release else {}
    described = {} if kind in ("deploy", DOWN) else await description_of(here)
    return PlanRequest(
        kind=kind,
        env=here.name,
        release=release,
        actor=actor(),
        manifest=project.manifest.text,
        manifest_hash=project.manifest.hash,
        secret_versions={} if kind == DOWN else _versions(here, live),  # stopping needs no key of a store
        arguments={**previous, **gates, **described, **(arguments or {})},
    )


def _versions(here: Environment, live: Sequence[Instance]) -> dict[str, str]:
    """Of every secret. Where their store does not answer, what serves is told to go on, and why no plan can begin."""
    try:
        return dict(here.secrets.versions())
    except DodaiError as error:
        if error.code not in (STORE_FAILED, STORE_OF_ANOTHER) or not live:
            raise
        names = ", ".join(f"`{name}`" for name in dict.fromkeys(one.service for one in live))
        said = (
            f"{names} of `{here.name}` goes on with the values it was started with, and comes back with them",
            "a plan starts processes, whose values come from the store alone: a copy would outlive what was rotated",
        )
        raise replace(error, details=(*error.details, *said)) from None


def refuse_interpreter(policy: OperationsPolicy, python: str) -> None:
    """DOD076 (exit 2) when a command has `{python}` and `[project] python` names nothing that can be started."""
    used = any("{python}" in word for service in policy.services.values() for word in service.command)
    if used and shutil.which(python) is None:
        said = f"`{python}` is no program that can be started"
        raise DodaiError(core.INTERPRETER_ABSENT, said, core.INTERPRETER_ABSENT.fix.en, exit_code=2)


def refuse_stale(shown: PlanRequest, now: PlanRequest) -> None:
    """DOD377 when other releases serve than those a person agreed to replace."""
    before, after = previous_releases(shown.arguments), previous_releases(now.arguments)
    changed = sorted(name for name in after if before.get(name, after[name]) != after[name])
    if changed:
        raise DodaiError(
            STALE_PLAN,
            f"`{changed[0]}` serves `{after[changed[0]]}` by now, `{before[changed[0]]}` when the plan was shown",
            f"look at `{proposal.STATUS(env=now.env)}`, then give the command again",
            exit_code=1,
        )


def build(here: Environment, request: PlanRequest, given: str = "") -> Plan:
    """The plan of a request, from the manifest the request carries: never from the working tree.

    `given` is the value of a secret that `request` sets: it is no part of what is journalled.
    """
    if request.kind in KINDS:
        return AuditLog(here.journal).statement(request)
    if request.kind == DOWN:
        return down(request, host_of(here))
    there = as_let_in(here, request)
    if request.kind == RELIEVE:
        reliefs = relieved(request, here.folder)
        return relieve(request, here.folder, there.edge, edge_spec_of(there.project.policy, there.config, reliefs))
    if request.kind == ROTATE and not request.release:
        return stored_only(request, deploy_ports(there, here.project.root), given)
    tree = Path(here.artifacts.path(request.release))
    ports = replace(
        deploy_ports(there, tree, request.command), given=given, edge_spec_before=_edge_spec_before(here, request)
    )
    return deploy(request, there.project.policy, gated(there, request, tree, ports))


def build_for_document(here: Environment) -> Plan:
    """The deploy plan as a runbook shows it: for no release in particular, never carried out."""
    previous = {f"previous:{service}": "PREVIOUS" for service in here.project.policy.services}
    manifest = here.project.manifest
    request = PlanRequest(
        "deploy", here.name, "RELEASE", manifest=manifest.text, manifest_hash=manifest.hash, arguments=previous
    )
    return deploy(request, here.project.policy, deploy_ports(here, here.project.root))


def deploy_ports(here: Environment, tree: Path, command: str = "") -> DeployPorts:
    """What a deploy of the release in the folder `tree`, asked for by `command`, acts through."""
    policy = here.project.policy
    schema = ReleaseSchema(here)
    stored = bool(policy.database.used_by)
    public = policy.public_service
    return DeployPorts(
        compute=here.compute,
        artifacts=here.artifacts,
        settings=ServiceSettings(here, schema.required),
        secrets=here.secrets,
        logins=here.logins,
        login_roles=here.config.database_roles,
        edge_keys=here.edge_keys,
        ask_with_key=partial(_ask_with_key, here),
        database=here.database if stored else None,
        announce=here.migrations.announce,
        migrate=_migration_steps(here, tree, command),
        edge=here.edge,
        edge_spec=edge_spec(here),
        programs=find_programs(here.project.python),
        packages=packages_of(here),
        browser=here.visit,
        surroundings=ReleaseSurroundings(here, here.project.at_root(tree)),
        book=ReleaseLog(here),
        schema=schema,
        restore_points=here.database.restore_points if stored else None,
        probe=partial(_probe, here) if public and (public.app or public.client) else None,
        canary=_canary(here),
        identity=here.identity.of_release(str(tree)) if isinstance(here.identity, DeclaredIdentity) else None,
    )


def _canary(here: Environment) -> Canary | None:
    """How new releases are tried on one instance; DOD010 (exit 2) where that was asked for and cannot be."""
    fly = here.config.fly
    if not fly.canary:
        return None
    compute: object = here.compute
    if here.lines is None or not isinstance(compute, CanaryCompute):
        said = f"`[env.{here.name}.fly] canary` needs compute that keeps the lines of services"
        raise DodaiError(core.PROVIDERS_DO_NOT_FIT, said, core.PROVIDERS_DO_NOT_FIT.fix.en, exit_code=2)
    policy = here.project.policy
    return Canary(
        compute=compute,
        services=frozenset(fly.canary),
        window_s=fly.canary_for_s,
        requests=fly.canary_requests,
        lines=here.lines,
        observability=ObservabilityPolicy.from_manifest(here.project.manifest.section("observability") or {}),
        probes=frozenset({"/healthz", "/readyz", *(one.health.path for one in policy.services.values())}),
    )


def _edge_spec_before(here: Environment, request: PlanRequest) -> EdgeSpec | None:
    """What the edge had to serve for the release that served when the plan was made; None where none did."""
    before = {release for release in previous_releases(request.arguments).values() if release} - {request.release}
    if len(before) != 1:
        return None
    try:
        project = here.released(before.pop())
        return edge_spec_of(project.policy, project.environment(here.name), standing_reliefs(here.folder))
    except DodaiError:  # its files are gone, or it knew no such environment
        return None


def edge_spec(here: Environment) -> EdgeSpec:
    """What the edge of the environment serves, by its manifest."""
    return edge_spec_of(here.project.policy, here.config, standing_reliefs(here.folder))


def edge_spec_of(
    policy: OperationsPolicy, config: EnvironmentPolicy, reliefs: Mapping[str, float] | None = None
) -> EdgeSpec:
    """The same, of the values of a manifest; `reliefs` are the moments until which limits hold nobody back."""
    reliefs = reliefs or {}
    public = policy.public_service
    return EdgeSpec(
        routes=(("/", public.name),) if public else (),
        port=config.port,
        scheme="https" if config.public_origins and config.public_origins[0].startswith("https:") else "http",
        cache=tuple(CacheRule(prefix=path.rstrip("*"), ttl_s=STATIC_TTL_S) for path in policy.edge.static),
        body_bytes=policy.edge.max_body_bytes,
        limits=tuple(rate_limit(one, reliefs.get(one.name, 0.0)) for one in policy.edge.limits.values()),
        client_header=config.client_header,
    )


def _migration_steps(here: Environment, tree: Path, command: str) -> tuple[Step, ...]:
    """The steps a deploy takes before it starts anything; none when the tree has no migrations.

    DOD201 for a folder that the manifest names and the tree has not: what is mistyped must not pass for none.
    """
    project = here.project.at_root(tree)
    if project.migrations is None:
        if project.manifest.mentions("migrations"):
            policy = MigrationsPolicy.from_manifest(project.manifest.section("migrations") or {})
            raise nothing_found(tree, policy.folder).error()
        return ()
    return (run.step(here.migrations.target(tree), command=command),)


async def _probe(here: Environment, edge: str) -> str:
    """The request id of a valid form that passed, sent from the origin people use."""
    csrf = CsrfPolicy.from_manifest(here.project.manifest.section("csrf") or {})
    origins = await here.origins()
    browser = here.visit(edge)
    try:
        return await probe(browser.send, csrf, origins[0] if origins else edge)
    finally:
        await browser.close()


async def _ask_with_key(here: Environment, address: str, path: str, key: str) -> int:
    """The status of a request that comes to `address` past the edge, with `key` as the edge's."""
    visitor = here.visit(f"http://{address}")
    try:
        return (await visitor.send("GET", path, headers={"x-edge-key": key})).status_code
    finally:
        await visitor.close()


@dataclass(frozen=True, slots=True)
class ReleaseSurroundings:
    """`operations.run.preflight.Surroundings`, seen from the release that `tree` is."""

    environment: Environment
    tree: Project

    async def free_bytes(self) -> int:
        here = self.environment
        return shutil.disk_usage(here.folder if here.folder.exists() else here.project.root).free

    async def clock_offset_s(self) -> float | None:
        here = self.environment
        clock = here.control if here.config.control_url else here.database
        return await clock.clock_offset_s()

    async def reach(self) -> None:
        edge = self.environment.edge
        if isinstance(edge, KeptEdge):
            await edge.possible(edge_spec(self.environment))
        if self.tree.migrations is None:
            return
        points = self.environment.database.restore_points
        if isinstance(points, VendorPoints) and await self.pending():
            await points.possible()

    async def sign_in(self) -> tuple[str, ...]:
        """A deploy may be the cure for what ails sign-in, so that nothing said here holds one up."""
        identity = self.environment.identity
        if identity is None:
            return ()
        try:
            seen = await identity.observe()
        except DodaiError as error:
            return (f"not seen: {error.message}",)
        return (*seen.differs, *seen.remarks)

    async def pending(self) -> tuple[str, ...] | None:
        return await ReleaseSchema(self.environment).pending(self.tree)
