"""The procedures of operations, built as Plans; nothing here executes one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import field, replace
from functools import partial
from typing import Protocol

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.plan import Observed, Plan, PlanRequest, Step, StepContext
from dodai.operations import codes
from dodai.operations.journey import Browser
from dodai.operations.policy import OperationsPolicy, Service
from dodai.operations.ports import (
    Artifacts,
    Compute,
    DeclaredIdentity,
    Edge,
    EdgeSpec,
    KeptEdge,
    Logins,
    RestorePoints,
    SecretStore,
    ServiceRole,
)
from dodai.operations.programs import Programs
from dodai.operations.release import Book, Schema
from dodai.operations.run.canary import Canary, canary_step
from dodai.operations.run.edge_key import AskWithKey, edge_key_steps, told_key_steps
from dodai.operations.run.login import login_steps, new_login_step, old_login
from dodai.operations.run.preflight import PreflightReader, preflight, previous_releases
from dodai.operations.run.restore import RESTORE, restore_steps
from dodai.operations.run.rotation import ROTATE, SECRET, Rotation
from dodai.operations.run.schema_steps import Probe, compatible, probe, record, restore_point, retire_gone, smoke
from dodai.operations.run.service_steps import CALLS, ONLY, ReleasePackages, ServiceSteps, Settings
from dodai.operations.run.serving import stands
from dodai.operations.run.sign_in_step import sign_in
from dodai.operations.secret import DATABASE_LOGIN, EDGE_KEY, new_login
from dodai.operations.service_limits import (
    refuse_impossible_limits,
    refuse_impossible_workers,
    refuse_taken_names,
    require_services,
)


class RunDatabase(Protocol):
    """The database of an environment whose provider runs it for us."""

    async def running(self) -> str:
        """Where it listens; empty when it does not run."""

    async def start(self, token: int) -> None:
        """Run it, made when it is not there yet; refused under a token that was replaced."""


@dataclass(frozen=True, slots=True)
class DeployPorts:
    """What a deploy acts through. `migrate` are the steps of the migrations area; `browser` visits a base URL.
    `admission` stands before everything else where there are gates.

    `edge_keys` None: the edge makes its own keys, or has none; `ask_with_key` is the status that an address gives for a
    path and a key. `logins` None: services sign in at the database as the role that migrates; else as one of
    `login_roles`. `restore_points` None: the database is not ours to copy. `announce` tells it the fencing token
    once it runs. `probe` None: the application carries no layer of ours. `given` is the value of a secret that a person
    gave to the command that runs. `edge_spec_before` is what the edge served before, None for nothing. `packages` None:
    what a release runs with is in its image. `canary` None: every service gets all of its traffic at once.
    `identity` None: no file of the release describes sign-in.
    """

    compute: Compute
    artifacts: Artifacts
    settings: Settings
    secrets: SecretStore
    database: RunDatabase | None
    migrate: tuple[Step, ...]
    edge: Edge
    edge_spec: EdgeSpec
    programs: Programs
    browser: Callable[[str], Browser]
    surroundings: PreflightReader
    book: Book
    schema: Schema
    restore_points: RestorePoints | None = None
    announce: Callable[[int], None] | None = None
    probe: Probe | None = None
    admission: tuple[Step, ...] = ()
    logins: Logins | None = None
    login_roles: tuple[str, ...] = ()
    edge_keys: SecretStore | None = None
    ask_with_key: AskWithKey | None = None
    given: str = field(default="", repr=False)
    edge_spec_before: EdgeSpec | None = None
    packages: ReleasePackages | None = None
    canary: Canary | None = None
    identity: DeclaredIdentity | None = None


def deploy(request: PlanRequest, policy: OperationsPolicy, ports: DeployPorts) -> Plan:
    """The plan that brings `request.release` into service: beside the old one, switched when healthy, undone if not.

    `request.arguments` says what served before (`previous:SERVICE`), so that the plan, and so its undo, is the same
    when it is rebuilt from the journal. Raises `DodaiError` (DOD303, DOD304, DOD311) for a manifest that cannot be
    deployed.
    """
    if policy.public_service is None:
        raise DodaiError(codes.NO_PUBLIC_SERVICE, "no `[service.NAME]` is public", codes.NO_PUBLIC_SERVICE.fix.en)
    try:
        services = policy.start_order()
    except ValueError as error:
        raise DodaiError(codes.SERVICE_CYCLE, str(error), codes.SERVICE_CYCLE.fix.en, exit_code=2) from None
    for service in services:
        require_services(service, tuple(policy.services))
    refuse_impossible_workers(policy)
    refuse_impossible_limits(policy)
    refuse_taken_names(policy)
    ahead = ports.identity if request.kind == "deploy" else None
    only = request.arguments.get(ONLY, "")
    chosen = [service for service in services if not only or service.name in only.split(",")]
    names = [service.name for service in chosen]
    looked = preflight(request, ports.compute, ports.artifacts, ports.surroundings, ahead, names)
    steps = [*ports.admission, looked, _secrets(ports.settings)]
    deploying = ServiceSteps(request, ports)
    if request.kind == RESTORE and ports.restore_points:
        ways = (deploying.reopen, deploying.moving_s)
        steps += restore_steps(request, ports.compute, ports.restore_points, services, *ways)
    if ports.database:
        steps.append(_database(ports.database, ports.announce))
    steps += login_steps(ports, alone=request.kind == RESTORE)
    steps += _schema(request, ports)
    database: object = ports.database
    if policy.database.role and isinstance(database, ServiceRole):
        steps.append(_role(database, policy.database.role))  # after the ledger is there, which it may only read
    # The edge opens first: the origin people use is among the settings of the services behind it.
    steps.append(_edge(ports))
    steps += [sign_in(ahead)] if ahead else []
    rotation = _rotation(request, ports, policy) if request.kind == ROTATE else None
    if rotation:
        steps += _changes(rotation, ports, services, tuple(chosen))
    else:
        steps += _serve(request, deploying, chosen, ports.canary)
    if ports.probe:
        steps.append(probe(ports.probe, partial(_edge_url, ports.edge)))
    steps.append(smoke(policy, ports, partial(_edge_url, ports.edge), partial(deploying.all_serve, chosen)))
    steps += [deploying.retire(service) for service in reversed(chosen)]
    gone = sorted(set(previous_releases(request.arguments)) - set(policy.services))
    steps += [retire_gone(ports.compute, name, request.release) for name in gone]
    steps += [deploying.keep(tuple(chosen)), record(request, ports.book)]
    if ports.identity and request.kind in ("rollback", RESTORE):
        steps.append(sign_in(ports.identity))  # the last: an Authentik that is away keeps nobody from going back
    if rotation:
        steps += [old_login(rotation, ports.logins)] if rotation.name == DATABASE_LOGIN and ports.logins else []
        steps.append(rotation.last())
    look = partial(stands, request, {one.name: one.health.timeout_s for one in services}, ports.compute, gone)
    return Plan(request=request, title=_title(request), steps=_in_order(steps), afterwards=look)


def _rotation(request: PlanRequest, ports: DeployPorts, policy: OperationsPolicy) -> Rotation:
    if request.arguments[SECRET] != DATABASE_LOGIN:
        return Rotation(request, ports, ports.given)
    return Rotation(
        request, ports, fresh=lambda _, old: new_login(ports.login_roles, old), in_url=policy.database.variable
    )


def _changes(
    rotation: Rotation, ports: DeployPorts, services: tuple[Service, ...], consumers: tuple[Service, ...]
) -> list[Step]:
    """Up to the moment when the new value is in use, and nothing is lost yet that the old one opens."""
    if rotation.name == EDGE_KEY:
        return (
            edge_key_steps(rotation, ports, services) if ports.edge_keys else told_key_steps(rotation, ports, consumers)
        )
    steps = rotation.steps(consumers)
    if rotation.name == DATABASE_LOGIN and ports.logins:
        return [steps[0], new_login_step(rotation, ports.logins), *steps[1:]]
    return steps


def _serve(
    request: PlanRequest, deploying: ServiceSteps, services: Iterable[Service], canary: Canary | None
) -> Iterator[Step]:
    """A canary is for a release that is new beside another one: whoever goes back, or restarts, knows it already."""
    new = ("", request.release)
    for service in services:
        previous = request.arguments.get(f"previous:{service.name}", "")
        yield deploying.start(service)
        if canary and request.kind == "deploy" and service.name in canary.services and previous not in new:
            yield canary_step(deploying, canary, service)
        yield deploying.switch(service, previous)


def _title(request: PlanRequest) -> Text:
    if request.kind == ROTATE:
        name = request.arguments[SECRET]
        return Text(f"change {name} on {request.env}", f"{request.env} の {name} を変更")
    if request.kind == "restart":
        return Text(f"restart {request.release} on {request.env}", f"{request.env} の {request.release} を再起動")
    if request.kind == "rollback":
        return Text(f"go back to {request.release} → {request.env}", f"{request.env} を {request.release} へ切り戻し")
    if request.kind == RESTORE:
        point = request.arguments[RESTORE]
        return Text(
            f"go back in time to {point} with {request.release} → {request.env}; what was written since is set aside",
            f"{request.env} を {point} の時点と {request.release} に戻す（以後の書き込みは退避）",
        )
    return Text(f"deploy {request.release} → {request.env}", f"{request.env} へ {request.release} をデプロイ")


def _schema(request: PlanRequest, ports: DeployPorts) -> list[Step]:
    """What becomes of the schema: a rollback changes nothing there, it has to fit."""
    if request.kind in ("restart", ROTATE):
        return []  # what serves, or did, is not held up by what became of the schema since
    if request.kind in ("rollback", RESTORE):
        return [compatible(request, ports.book, ports.schema)]
    if not (ports.migrate and ports.restore_points):
        return [*ports.migrate]
    *proof, migrate = ports.migrate  # nothing is copied for migrations that nobody rehearsed
    return [*proof, restore_point(ports.restore_points, partial(_has_data_to_lose, ports)), migrate]


async def _has_data_to_lose(ports: DeployPorts) -> bool:
    """Whether migrations are pending on a database that has data of ours."""
    return bool(await ports.surroundings.pending()) and bool(await ports.schema.applied())


async def _edge_url(edge: Edge) -> str:
    return (await edge.observe()).url


def _in_order(steps: list[Step]) -> tuple[Step, ...]:
    """A release is one line of steps: each needs the one before it."""
    chained = [steps[0]]
    for step in steps[1:]:
        chained.append(replace(step, needs=(chained[-1].id,)))
    return tuple(chained)


def _secrets(settings: Settings) -> Step:
    async def observe(_: StepContext) -> Observed:
        missing = await settings.missing()
        return Observed("needed", f"no value yet: {', '.join(missing)}") if missing else Observed("done")

    async def apply(_: StepContext) -> None:
        await settings.complete()

    return Step(
        id="secrets",
        title=Text("every secret has a value", "すべてのシークレットに値がある"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        timeout_s=10.0,
    )


def _database(database: RunDatabase, announce: Callable[[int], None] | None) -> Step:
    async def observe(_: StepContext) -> Observed:
        address = await database.running()
        return Observed("done", f"listens on {address}") if address else Observed("needed", "does not run")

    async def apply(context: StepContext) -> None:
        await database.start(context.fencing_token)
        if announce:
            await asyncio.to_thread(announce, context.fencing_token)

    return Step(
        id="database",
        title=Text("PostgreSQL runs", "PostgreSQL が稼働している"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        timeout_s=60.0,
        retry=CALLS,
    )


def _role(database: ServiceRole, name: str) -> Step:
    async def observe(_: StepContext) -> Observed:
        differs = await asyncio.to_thread(database.role_differs)
        return Observed("needed", differs) if differs else Observed("done")

    async def apply(_: StepContext) -> None:
        await asyncio.to_thread(database.make_role)

    return Step(
        id="role",
        title=Text(f"services sign in at the database as {name}", f"サービスが {name} としてデータベースに接続する"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        timeout_s=30.0,
        retry=CALLS,
    )


def _edge(ports: DeployPorts) -> Step:
    kept, before = ports.edge if isinstance(ports.edge, KeptEdge) else None, ports.edge_spec_before
    if before == ports.edge_spec:
        before = None  # it may only have to be opened again, which nothing takes back

    async def observe(context: StepContext) -> Observed:
        state = await ports.edge.observe()
        differs = state.differs or (("it has other settings",) if state.serves not in (None, ports.edge_spec) else ())
        if state.url and not differs:
            return Observed("done", f"serves {state.url}")
        began = kept is not None and kept.of_plan(context.plan_id).changed
        return Observed("needed", "; ".join(differs) or "not open yet", partial=began)

    async def apply(context: StepContext) -> None:
        edge = kept.of_plan(context.plan_id) if kept else ports.edge
        context.note(f"serves {(await edge.under(context.fencing_token).apply(ports.edge_spec)).url}")

    async def undo(context: StepContext) -> None:
        if kept and await kept.of_plan(context.plan_id).back():
            context.note("the edge is as it was before")
        if before and (await ports.edge.observe()).serves not in (None, before):
            await ports.edge.under(context.fencing_token).apply(before)
            context.note("the edge has the settings of the release before")

    return Step(
        id="edge",
        title=Text("the edge serves the public service", "エッジが公開サービスへ接続している"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        undo=undo if kept or before else None,
        undo_title=Text("the edge as it was before", "エッジを変更前の状態に戻す") if kept or before else None,
        on_failure="undo",
        timeout_s=120.0 if kept else 15.0,
        retry=CALLS,
    )
