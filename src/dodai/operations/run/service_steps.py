"""The steps of a plan that concern one service: started beside the old one, switched to, the old one let go, kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import asdict, replace
from functools import partial
from typing import Protocol

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.plan import Observed, PlanRequest, Retry, Step, StepContext, canonical
from dodai.operations import codes
from dodai.operations.policy import Service
from dodai.operations.ports import (
    Artifacts,
    Compute,
    Instance,
    Limits,
    Liveness,
    Readiness,
    ServiceProbe,
    ServiceSpec,
    ServiceStatus,
)
from dodai.operations.programs import Programs
from dodai.operations.run.preflight import previous_releases
from dodai.operations.run.serving import moving_s, note_unreachable, notice_s, retired, running, stages

RESTART, ONLY = "restart", "only"
"""The arguments of a restart: what makes the new processes others than the old ones, and the only service meant."""
PREVIOUS_SETTINGS = "previous_settings:"
CALLS = Retry(attempts=8, wait_s=0.7)
"""Every change of compute and edge is safe to repeat: after a look, within the step's deadline. What died comes back
within that time."""


class Settings(Protocol):
    """What a service needs to know beyond its release: addresses, the database and secrets."""

    async def missing(self) -> tuple[str, ...]:
        """The names of secrets that have no value yet."""

    async def complete(self) -> None:
        """Give every missing secret a value (local environments only)."""

    async def of_service(self, service: Service, release: str) -> Mapping[str, str]:
        """The environment variables of a service, secrets included: never print or journal them."""

    async def own_variables(self, service: Service) -> Mapping[str, str]:
        """The variables that the manifest gives a service, with the addresses they refer to."""

    def secret_names(self, service: Service) -> tuple[str, ...]:
        """The variables of a service whose values must not be in its log."""

    def digest(self, told: Mapping[str, str]) -> str:
        """Equal for equal values in this environment, and nothing about them: made with a key of its own."""


class ReleasePackages(Protocol):
    """The packages that releases are installed with, each release its own."""

    def python(self, release: str, /) -> str:
        """The interpreter that has them."""

    def proven(self, release: str, /) -> None:
        """DOD317 unless they are there, as they were installed."""


class ServicePorts(Protocol):
    """What these steps act through."""

    @property
    def compute(self) -> Compute: ...
    @property
    def artifacts(self) -> Artifacts: ...
    @property
    def settings(self) -> Settings: ...
    @property
    def programs(self) -> Programs: ...
    @property
    def packages(self) -> ReleasePackages | None: ...


@dataclass(frozen=True, slots=True)
class ServiceSteps:
    """The steps that concern one release of one service."""

    request: PlanRequest
    ports: ServicePorts

    def _compute(self, context: StepContext) -> Compute:
        """What refuses a holder that was replaced."""
        return self.ports.compute.under(context.fencing_token)

    def start(self, service: Service) -> Step:
        return Step(
            id=f"start-{service.name}",
            title=self._start_title(service),
            area="operations",
            observe=partial(self._started, service),
            apply=partial(self._begin, service),
            verify=partial(self._healthy, service),
            undo=partial(self._stop_mine, service),
            undo_title=Text(f"stop the new {service.name}", f"新しい {service.name} を停止"),
            timeout_s=service.health.timeout_s + 10.0 + notice_s(self.ports.compute),
            retry=CALLS,
            inputs={"release": self.request.release, "command": " ".join(service.command)},
        )

    def _start_title(self, service: Service) -> Text:
        name = service.name
        if previous_releases(self.request.arguments).get(name):
            return Text(f"start {name} beside the old one", f"{name} を旧リリースと並行して起動")
        return Text(f"start {name}", f"{name} を起動")

    async def given(self, service: Service, release: str = "") -> Given:
        """What `service` is to be started with, and the name of all that: another value of anything is another name."""
        release = release or self.request.release
        artifact = self.ports.artifacts.reference(release, service.name)
        told = await self.ports.settings.of_service(service, release)
        if artifact == self.ports.artifacts.path(release):  # an image has its manifest where it works
            told = {"DODAI_MANIFEST": f"{artifact}/dodai.toml", **told}
        programs = self.ports.programs
        if packages := self.ports.packages:
            programs = replace(programs, python=await asyncio.to_thread(packages.python, release))
        spec = await service_spec(service, programs, self.ports.settings)
        name = self.ports.settings.digest({"spec": canonical(asdict(spec)).decode(), "tree": artifact, **told})
        nonce = self.request.arguments.get(RESTART, "") if release == self.request.release else ""
        return Given(spec, release, artifact, told, f"{name}-{nonce}" if nonce else name)

    async def _started(self, service: Service, _: StepContext) -> Observed:
        given = await self.given(service)
        probe = await self.ports.compute.probe(service.name, given.release, settings=given.settings)
        if probe.ready:
            return Observed("done", probe.detail or probe.state)
        # What exited is there at a vendor until somebody removes it: whoever takes this back has to.
        return Observed("needed", probe.detail or probe.state, partial=probe.state != "absent")

    async def _start(self, service: Service, context: StepContext, release: str = "") -> Given:
        given = await self.given(service, release)
        await asyncio.to_thread(self.ports.artifacts.proven, given.release)  # as approved, whatever happened since
        if packages := self.ports.packages:
            await asyncio.to_thread(packages.proven, given.release)
        compute = self._compute(context)
        await compute.start(given.spec, given.release, given.artifact, given.environment, settings=given.settings)
        return given

    async def _begin(self, service: Service, context: StepContext) -> None:
        await self._start(service, context)

    async def reopen(self, service: Service, context: StepContext) -> None:
        """Serve the release again that served before this plan."""
        if previous := previous_releases(self.request.arguments).get(service.name, ""):
            await self.serve_again(service, context, previous)

    async def serve_again(self, service: Service, context: StepContext, release: str = "") -> None:
        """Traffic goes to `release` (that of the plan when empty) with the settings of now, started if it is gone."""
        given = await self._start(service, context, release)
        wait_s = min(service.health.timeout_s, context.remaining_s())
        await self.ports.compute.probe(service.name, given.release, settings=given.settings, wait_s=wait_s)
        await self._compute(context).switch(service.name, given.release, settings=given.settings)

    async def _healthy(self, service: Service, context: StepContext) -> Observed:
        release, given = self.request.release, await self.given(service)
        probe = await self.ports.compute.probe(
            service.name,
            release,
            settings=given.settings,
            wait_s=min(service.health.timeout_s, context.remaining_s()),
            consecutive=service.health.consecutive,
        )
        if not probe.ready:
            raise DodaiError(
                codes.RELEASE_NOT_HEALTHY,
                f"`{service.name}` of release `{release}` {_unhealthy(probe)}",
                probe.fix or codes.RELEASE_NOT_HEALTHY.fix.en,
                details=tuple(f"{service.name} | {line}" for line in probe.output),
            )
        _same_version(service.name, release, probe.version)
        return Observed("done", f"healthy {service.health.consecutive} times, version {probe.version or 'unsaid'}")

    async def _stop_mine(self, service: Service, context: StepContext) -> None:
        """Whatever runs of this release, but for what served before: that may be the same with other settings."""
        before = (previous_releases(self.request.arguments).get(service.name, ""), self._settings_before(service))
        for release, settings in _each_once((await self._status(service)).instances):
            if release == self.request.release and (release, settings) != before:
                await self._compute(context).stop(service.name, release, settings=settings)

    async def stop_given(self, service: Service, context: StepContext) -> None:
        """Stop what was started with the settings of now; whatever else runs stays."""
        given = await self.given(service)
        await self._compute(context).stop(service.name, given.release, settings=given.settings)

    async def serves_as_told(self, service: Service, one: Instance) -> bool:
        """Whether `one` was started with what it would be told today."""
        return (await self.given(service, one.release)).is_what_runs(one)

    def _settings_before(self, service: Service) -> str:
        return self.request.arguments.get(f"{PREVIOUS_SETTINGS}{service.name}", "")

    async def _status(self, service: Service) -> ServiceStatus:
        return (await running(self.ports.compute)).service(service.name) or ServiceStatus(name=service.name)

    def moving_s(self, service: Service) -> float:
        """How long its traffic may take to move; 0 where it moves at once."""
        return moving_s(self.ports.compute, service)

    def switch(self, service: Service, previous: str) -> Step:
        name = service.name
        title = Text(f"new traffic goes to the new {name}", f"新しい通信を新しい {name} へ向ける")
        if stages(self.ports.compute, service):
            title = Text(f"{name} is replaced some machines at a time", f"{name} のマシンを数台ずつ入れ替える")
        return Step(
            id=f"switch-{service.name}",
            title=title,
            area="operations",
            observe=partial(self.switched, service),
            apply=partial(self._switch, service),
            verify=partial(self.switched, service),
            undo=partial(self._switch_back, service, previous) if previous else None,
            undo_title=Text(f"traffic goes back to {previous}", f"通信を {previous} へ戻す") if previous else None,
            timeout_s=15.0 + self.moving_s(service),
            retry=CALLS,
            inputs={"release": self.request.release, "previous": previous},
        )

    async def switched(self, service: Service, _: StepContext) -> Observed:
        given, status = await self.given(service), await self._status(service)
        live = next((one for one in status.instances if one.live), None)
        if live and given.is_what_runs(live):
            return Observed("done", f"serves {live.release}")
        other = " with other settings" if live and live.release == given.release else ""
        return Observed("needed", f"serves {live.release if live else 'nothing'}{other}", partial=status.moving)

    async def all_serve(self, services: Iterable[Service], context: StepContext) -> Observed:
        """Whether traffic goes to this release of each, as it would be started today."""
        for service in services:
            seen = await self.switched(service, context)
            if seen.state != "done":
                return Observed("needed", f"`{service.name}` {seen.detail}, not `{self.request.release}`")
        return Observed("done")

    async def _switch(self, service: Service, context: StepContext) -> None:
        given = await self.given(service)
        await self._compute(context).switch(service.name, given.release, settings=given.settings)

    async def _switch_back(self, service: Service, previous: str, context: StepContext) -> None:
        await self._compute(context).switch(service.name, previous, settings=self._settings_before(service))

    def retire(self, service: Service) -> Step:
        return Step(
            id=f"retire-{service.name}",
            title=Text(f"drain and stop the old {service.name}", f"旧 {service.name} の処理を終えて停止"),
            area="operations",
            observe=partial(self._retired, service),
            apply=partial(self._retire, service),
            verify=partial(self._retired, service),
            on_failure="fix_forward",
            timeout_s=service.drain_s + service.health.timeout_s + 15.0 + self.moving_s(service),
            retry=CALLS,
            inputs={"release": self.request.release},
            point_of_no_return=True,
        )

    async def _old(self, service: Service) -> list[Instance]:
        given = await self.given(service)
        return [o for o in (await self._status(service)).instances if not given.is_what_runs(o) and o.state != "exited"]

    async def _retired(self, service: Service, _: StepContext) -> Observed:
        return retired(await self._old(service))

    async def _retire(self, service: Service, context: StepContext) -> None:
        await self._still_serves(service, context)
        for release, settings in _each_once(old := await self._old(service)):
            await self._compute(context).stop(service.name, release, service.drain_s, settings=settings)
        note_unreachable(context, old)

    async def _still_serves(self, service: Service, context: StepContext) -> None:
        """Traffic goes to what was proven: what runs it may have died since and come back with what it kept, the old.

        To stop the old then would be to stop what serves.
        """
        if (await self.switched(service, context)).state != "done":
            await self._begin(service, context)
            await self._healthy(service, context)
            await self._switch(service, context)

    def keep(self, services: tuple[Service, ...]) -> Step:
        """From here on this is what comes back after a crash; what runs is once more compared with what it should."""

        async def observe(_: StepContext) -> Observed:
            kept = (await running(self.ports.compute)).kept
            for service in services:
                release, _at, settings = kept.get(service.name, "").partition("@")
                if not (await self.given(service)).is_named(release, settings):
                    what = f"`{service.name}` would come back as {release or 'nothing'}, or with other settings"
                    return Observed("needed", what)
            return Observed("done", "it is what comes back")

        async def apply(context: StepContext) -> None:
            for service in services:
                await self._still_serves(service, context)
            await self._compute(context).keep()

        return Step(
            id="keep",
            title=Text("what serves comes back after a crash", "障害後に復帰する内容を保存"),
            area="operations",
            observe=observe,
            apply=apply,
            verify=observe,
            on_failure="fix_forward",
            timeout_s=20.0 + sum(service.health.timeout_s + self.moving_s(service) for service in services),
            retry=CALLS,
        )


@dataclass(frozen=True, slots=True)
class Given:
    """What a service of a release is started with; `settings` is a keyed name of all of it."""

    spec: ServiceSpec
    release: str
    artifact: str
    environment: Mapping[str, str]
    settings: str

    def is_what_runs(self, one: Instance) -> bool:
        """Whether `one` was started with exactly this."""
        return self.is_named(one.release, one.settings)

    def is_named(self, release: str, settings: str) -> bool:
        """A restart starts the same anew, under a longer name."""
        same = self.settings in ("", settings) or settings.startswith(f"{self.settings}-")
        return release == self.release and same


def _each_once(instances: Iterable[Instance]) -> tuple[tuple[str, str], ...]:
    """What the instances are of: a release with its settings is stopped once, with all of its instances.

    Once it is gone, its name would also be that of what a restart started anew.
    """
    return tuple(dict.fromkeys((one.release, one.settings) for one in instances))


def _unhealthy(probe: ServiceProbe) -> str:
    if probe.state == "exited":
        return probe.detail
    asked = "cannot be asked" if probe.state == "not_served" else f"is {probe.state.replace('_', ' ')}"
    return f"{asked}: {probe.detail}"


def _same_version(service: str, release: str, seen: str) -> None:
    if seen and seen != release:
        raise DodaiError(
            codes.WRONG_VERSION,
            f"`{service}` is healthy as `{seen}`, deployed was `{release}`",
            codes.WRONG_VERSION.fix.en,
        )


async def service_spec(service: Service, programs: Programs, settings: Settings) -> ServiceSpec:
    """The service as compute has to run it, with `programs` in the places that its command leaves for them."""
    return ServiceSpec(
        name=service.name,
        command=programs.fill(service.command),
        cwd=service.cwd,
        protocol=service.protocol,
        env=await settings.own_variables(service),
        secrets=settings.secret_names(service),
        listens=service.kind == "server",
        ready=Readiness(
            kind=service.ready_kind,
            path=service.ready_path,
            host=service.health.host,
            scheme=service.health.scheme,
            command=programs.fill(service.health.command),
            line=service.health.heartbeat,
            age_s=service.health.heartbeat_age_s,
        ),
        ready_timeout_s=service.health.timeout_s,
        liveness=Liveness(
            path=service.health.liveness,
            interval_s=service.health.liveness_interval_s,
            failures=service.health.liveness_failures,
        )
        if service.health.liveness
        else None,
        drain_s=service.drain_s,
        needs=service.needs,
        instances=service.instances,
        user=service.user,
        limits=Limits(**asdict(service.limits)),
    )
