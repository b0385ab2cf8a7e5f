"""The procedures of operations, built as Plans; nothing here executes one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.plan import Observed, Plan, PlanRequest, Retry, Step, StepContext
from dodai.operations import codes
from dodai.operations.journey import Browser, walk
from dodai.operations.policy import Journey, OperationsPolicy, Service
from dodai.operations.ports import Artifacts, Compute, Edge, EdgeSpec, RestorePoints, ServiceSpec
from dodai.operations.release import Book, Schema
from dodai.operations.run.preflight import Surroundings, preflight, previous_releases
from dodai.operations.run.record import Probe, compatible, probe, record, restore_point
from dodai.operations.run.restore import RESTORE, restore_steps

CALLS = Retry(attempts=3, wait_s=0.5)
"""Every change of compute and edge is safe to repeat: after a look, within the step's deadline."""


class Settings(Protocol):
    """What a service needs to know beyond its release: addresses, the database and secrets."""

    async def missing(self) -> tuple[str, ...]:
        """The names of secrets that have no value yet."""

    async def complete(self) -> None:
        """Give every missing secret a value (local environments only)."""

    async def of_service(self, service: Service, release: str) -> Mapping[str, str]:
        """The environment variables of a service, secrets included: never print or journal them."""


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

    `restore_points` None: the database is not ours to copy. `announce` tells it the fencing token
    once it runs. `probe` None: the application carries no layer of ours.
    """

    compute: Compute
    artifacts: Artifacts
    settings: Settings
    database: RunDatabase | None
    migrate: tuple[Step, ...]
    edge: Edge
    edge_spec: EdgeSpec
    python: str
    browser: Callable[[str], Browser]
    surroundings: Surroundings
    book: Book
    schema: Schema
    restore_points: RestorePoints | None = None
    announce: Callable[[int], None] | None = None
    probe: Probe | None = None
    admission: tuple[Step, ...] = ()


def deploy(request: PlanRequest, policy: OperationsPolicy, ports: DeployPorts) -> Plan:
    """The plan that brings `request.release` into service: beside the old one, switched when healthy, undone if not.

    `request.arguments` says what served before (`previous:SERVICE`), so that the plan, and so its undo, is the same
    when it is rebuilt from the journal. Raises `DodaiError` (DOD303, DOD304) for a manifest that cannot be deployed.
    """
    if policy.public_service is None:
        raise DodaiError(codes.NO_PUBLIC_SERVICE, "no `[service.NAME]` is public", codes.NO_PUBLIC_SERVICE.fix.en)
    try:
        services = policy.start_order()
    except ValueError as error:
        raise DodaiError(codes.SERVICE_CYCLE, str(error), codes.SERVICE_CYCLE.fix.en, exit_code=2) from None
    looked = preflight(request, ports.compute, ports.artifacts, ports.surroundings)
    steps = [*ports.admission, looked, _secrets(ports.settings)]
    deploying = _Deploying(request, ports)
    if request.kind == RESTORE and ports.restore_points:
        steps += restore_steps(request, ports.compute, ports.restore_points, services, deploying.reopen)
    if ports.database:
        steps.append(_database(ports.database, ports.announce))
    steps += _schema(request, ports)
    # The edge opens first: the origin people use is among the settings of the services behind it.
    steps.append(_edge(ports))
    for service in services:
        previous = request.arguments.get(f"previous:{service.name}", "")
        steps += [deploying.start(service), deploying.switch(service, previous)]
    if ports.probe:
        steps.append(probe(ports.probe, partial(_edge_url, ports.edge)))
    steps.append(_smoke(policy.journeys, ports))
    steps += [deploying.retire(service) for service in reversed(services)]
    steps.append(record(request, ports.book))
    return Plan(request=request, title=_title(request), steps=_in_order(steps))


def _title(request: PlanRequest) -> Text:
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
    )


@dataclass(frozen=True, slots=True)
class _Deploying:
    """The steps that concern one release of one service."""

    request: PlanRequest
    ports: DeployPorts

    def _compute(self, context: StepContext) -> Compute:
        """What refuses a holder that was replaced."""
        return self.ports.compute.under(context.fencing_token)

    def start(self, service: Service) -> Step:
        return Step(
            id=f"start-{service.name}",
            title=Text(f"start {service.name} beside the old one", f"{service.name} を旧リリースと並行して起動"),
            area="operations",
            observe=partial(self._started, service),
            apply=partial(self._start, service),
            verify=partial(self._healthy, service),
            undo=partial(self._stop, service),
            undo_title=Text(f"stop the new {service.name}", f"新しい {service.name} を停止"),
            timeout_s=service.health.timeout_s + 10.0,
            retry=CALLS,
            inputs={"release": self.request.release, "command": " ".join(service.command)},
        )

    async def _started(self, service: Service, _: StepContext) -> Observed:
        probe = await self.ports.compute.probe(service.name, self.request.release)
        if probe.ready:
            return Observed("done", probe.detail or probe.state)
        return Observed("needed", probe.detail or probe.state, partial=probe.state not in ("absent", "exited"))

    async def _start(self, service: Service, context: StepContext, release: str = "") -> None:
        release = release or self.request.release
        tree = self.ports.artifacts.path(release)
        environment = {
            "DODAI_MANIFEST": f"{tree}/dodai.toml",
            **await self.ports.settings.of_service(service, release),
        }
        await self._compute(context).start(
            service_spec(service, self.ports.python),
            release,
            self.ports.artifacts.reference(release, service.name),
            environment,
        )

    async def reopen(self, service: Service, context: StepContext) -> None:
        """Serve the release again that served before this plan."""
        previous = previous_releases(self.request.arguments).get(service.name, "")
        if previous:
            await self._start(service, context, previous)
            wait_s = min(service.health.timeout_s, context.remaining_s())
            await self.ports.compute.probe(service.name, previous, wait_s=wait_s)
            await self._switch(service, previous, context)

    async def _healthy(self, service: Service, context: StepContext) -> Observed:
        release = self.request.release
        probe = await self.ports.compute.probe(
            service.name,
            release,
            wait_s=min(service.health.timeout_s, context.remaining_s()),
            consecutive=service.health.consecutive,
        )
        if not probe.ready:
            raise DodaiError(
                codes.RELEASE_NOT_HEALTHY,
                f"`{service.name}` of release `{release}` is {probe.state.replace('_', ' ')}: {probe.detail}",
                codes.RELEASE_NOT_HEALTHY.fix.en,
                details=tuple(f"{service.name} | {line}" for line in probe.output),
            )
        _same_version(service.name, release, probe.version)
        return Observed("done", f"healthy {service.health.consecutive} times, version {probe.version or 'unsaid'}")

    async def _stop(self, service: Service, context: StepContext) -> None:
        await self._compute(context).stop(service.name, self.request.release)

    def switch(self, service: Service, previous: str) -> Step:
        return Step(
            id=f"switch-{service.name}",
            title=Text(f"new traffic goes to the new {service.name}", f"新しい通信を新しい {service.name} へ向ける"),
            area="operations",
            observe=partial(self._switched, service),
            apply=partial(self._switch, service, self.request.release),
            verify=partial(self._switched, service),
            undo=partial(self._switch, service, previous) if previous else None,
            undo_title=Text(f"traffic goes back to {previous}", f"通信を {previous} へ戻す") if previous else None,
            timeout_s=15.0,
            retry=CALLS,
            inputs={"release": self.request.release, "previous": previous},
        )

    async def _switched(self, service: Service, _: StepContext) -> Observed:
        status = (await self.ports.compute.status()).service(service.name)
        live = status.release if status else ""
        return Observed("done" if live == self.request.release else "needed", f"serves {live or 'nothing'}")

    async def _switch(self, service: Service, release: str, context: StepContext) -> None:
        await self._compute(context).switch(service.name, release)

    def retire(self, service: Service) -> Step:
        return Step(
            id=f"retire-{service.name}",
            title=Text(f"drain and stop the old {service.name}", f"旧 {service.name} の処理を終えて停止"),
            area="operations",
            observe=partial(self._retired, service),
            apply=partial(self._retire, service),
            verify=partial(self._retired, service),
            on_failure="fix_forward",
            timeout_s=service.drain_s + 15.0,
            retry=CALLS,
            inputs={"release": self.request.release},
            point_of_no_return=True,
        )

    async def _old(self, service: Service) -> list[str]:
        status = (await self.ports.compute.status()).service(service.name)
        instances = status.instances if status else ()
        return [one.release for one in instances if one.release != self.request.release and one.state != "exited"]

    async def _retired(self, service: Service, _: StepContext) -> Observed:
        old = await self._old(service)
        return Observed("needed", f"still runs {', '.join(old)}") if old else Observed("done")

    async def _retire(self, service: Service, context: StepContext) -> None:
        for release in await self._old(service):
            await self._compute(context).stop(service.name, release, service.drain_s)


def _edge(ports: DeployPorts) -> Step:
    async def observe(_: StepContext) -> Observed:
        url = await _edge_url(ports.edge)
        return Observed("done", f"serves {url}") if url else Observed("needed", "not open yet")

    async def apply(context: StepContext) -> None:
        context.note(f"serves {(await ports.edge.under(context.fencing_token).apply(ports.edge_spec)).url}")

    return Step(
        id="edge",
        title=Text("the edge serves the public service", "エッジが公開サービスへ接続している"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        on_failure="undo",
        timeout_s=15.0,
        retry=CALLS,
    )


def _smoke(journeys: tuple[Journey, ...], ports: DeployPorts) -> Step:
    async def observe(_: StepContext) -> Observed:
        return Observed("needed", "asked anew by every deploy")

    async def apply(_: StepContext) -> None:
        """Walking is the verification; there is nothing to change."""

    async def verify(context: StepContext) -> Observed:
        edge = await _edge_url(ports.edge)
        for journey in journeys:
            walked = await walk(journey, ports.browser(edge))
            if not walked.ok:
                raise DodaiError(codes.JOURNEY_FAILED, walked.problem, codes.JOURNEY_FAILED.fix.en)
            context.note(f"{journey.name}: {len(walked.steps)} requests as expected")
        return Observed("done", f"{len(journeys)} journeys")

    return Step(
        id="smoke",
        title=Text("the journeys go as the manifest says", "ジャーニーが定義どおりに進む"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=verify,
        timeout_s=60.0,
        inputs={"journeys": ", ".join(journey.name for journey in journeys)},
    )


def _same_version(service: str, release: str, seen: str) -> None:
    if seen and seen != release:
        raise DodaiError(
            codes.WRONG_VERSION,
            f"`{service}` is healthy as `{seen}`, deployed was `{release}`",
            codes.WRONG_VERSION.fix.en,
        )


def service_spec(service: Service, python: str) -> ServiceSpec:
    """The service as compute has to run it; `{python}` in its command is the interpreter of the project."""
    return ServiceSpec(
        name=service.name,
        command=tuple(word.replace("{python}", python) for word in service.command),
        cwd=service.cwd,
        protocol=service.protocol,
        env=dict(service.env),
        ready_path=service.health.path if service.protocol == "http" else "",
        ready_timeout_s=service.health.timeout_s,
        drain_s=service.drain_s,
        needs=service.needs,
    )
