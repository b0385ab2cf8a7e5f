"""Compute on Fly: a release is a set of clones of the machines that serve, cordoned until it gets the traffic."""

from __future__ import annotations

import asyncio
import hashlib
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field, replace

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.lease import this_process
from dodai.operations.ports import ComputeStatus, Instance, InstanceState, ServiceProbe, ServiceSpec, ServiceStatus
from dodai.providers.fly import codes
from dodai.providers.fly.fleet import (
    COUNT,
    HOLDER,
    IMAGE,
    KEPT,
    LEASE_S,
    RELEASE,
    SERVICE,
    SETTINGS,
    TOKEN,
    Fleet,
    cloned,
    newest_token,
    together,
)
from dodai.providers.fly.machines_api import CORDON, LIST, STOP, UNCORDON, Machine
from dodai.vendor_api import Api, VendorError

POLL_S, STATUS_S, FEW = 1.0, 8.0, 4
UNMANAGED = "unmanaged-"
"""What a release is called that dodai did not deploy: this and the start of its image's digest."""
_ENDED = frozenset({"stopped", "failed", "suspended"})
_STATES: Mapping[str, InstanceState] = {"started": "running", "stopping": "draining", "replacing": "restarting"}


@dataclass(frozen=True)
class FlyCompute:
    """The services of one environment; `apps` maps each to its Fly app, `secret_names` are variables to keep secret.

    `connect` is asked when something is: commands that need nothing of Fly need no token.
    """

    connect: Callable[[], Api] = field(repr=False)
    env: str
    apps: Mapping[str, str]
    secret_names: frozenset[str]
    token: int | None = None
    lease_s: int = LEASE_S
    holder: str = field(default_factory=this_process)
    addresses: dict[str, str] = field(default_factory=dict, repr=False)
    seen: dict[str, tuple[float, tuple[Machine, ...]]] = field(default_factory=dict, repr=False)

    @property
    def api(self) -> Api:
        return self.connect()

    def under(self, token: int, /) -> FlyCompute:
        return replace(self, token=token)

    def newest_token(self) -> int:
        """Asked of every app: what a newer operator left there is what counts."""
        found = [
            self.api.call_now(LIST, path={"app": app}, query={"limit": 1000}).value for app in set(self.apps.values())
        ]
        return max(map(newest_token, found), default=0)

    async def prepare(self) -> None:
        """Fly is there already."""

    def fleet(self, service: str) -> Fleet:
        """The machines of a service; DOD710 when the manifest names no app for it."""
        if service not in self.apps:
            said = f"`[env.{self.env}.fly]` names no app for `{service}`"
            raise DodaiError(codes.NO_APP, said, f'apps = {{ {service} = "NAME" }}', exit_code=2)
        return Fleet(self.api, self.apps[service], self.token, self.holder, self.lease_s, self.seen)

    async def address(self, service: str, /) -> str:
        """`APP.flycast:PORT`: it goes through Fly's proxy, so that cordoned machines get nothing; never `.internal`."""
        if self.token is not None:
            await asyncio.gather(*(self.fleet(each).announce() for each in self.apps))
        if service not in self.addresses:
            machines = _standing(await self.fleet(service).machines(recent=True))
            port = next((port for one in machines if (port := _port(one))), 0)
            if not port:
                raise self._nothing_to_clone(service, "has no machine with a service")
            self.addresses[service] = f"{self.apps[service]}.flycast:{port}"
        return self.addresses[service]

    async def start(
        self, spec: ServiceSpec, release: str, artifact: str, env: Mapping[str, str], /, *, settings: str = ""
    ) -> Instance:
        told = {"DODAI_SERVICE": spec.name, "DODAI_RELEASE": release, "DODAI_ENV": self.env, **spec.env, **env}
        fleet = self.fleet(spec.name)
        machines = await fleet.current()
        mine = [one for one in machines if _is(one, release, settings)]
        others = [one for one in machines if one not in mine]
        dead = [one for one in mine if one.state in _ENDED]
        models = self._models(spec.name, others, mine)
        wanted = {_name(release, settings, model): model for model in models}
        missing = {name: model for name, model in wanted.items() if name not in {one.name for one in mine}}
        if missing or dead:
            version = await fleet.set_secrets({name: told[name] for name in self.secret_names if name in told})
            plain = {name: value for name, value in told.items() if name not in self.secret_names}
            marks = {RELEASE: release, SETTINGS: settings, SERVICE: spec.name, IMAGE: artifact}
            marks |= {TOKEN: str(self.token or 0), HOLDER: self.holder, COUNT: str(len(models) or len(mine))}
            again = [one for one in dead if _is_kept(one)]
            await together(fleet.destroy(one) for one in dead if one not in again)
            missing |= {one.name: wanted.get(one.name, one) for one in dead if one not in again}

            async def clone(name: str, model: Machine) -> None:
                await fleet.standing(model)
                made = await fleet.create(name, model.region, cloned(model, artifact, plain, marks), version)
                if not made.cordoned:
                    await fleet.apply(CORDON, made)

            await together(clone(name, model) for name, model in missing.items())
            await together(fleet.replace(one, cloned(one, artifact, plain, marks), version) for one in again)
        await together(fleet.destroy(one) for one in others if _is_kept(one))
        return Instance(service=spec.name, release=release, settings=settings, state="starting")

    def _models(self, service: str, others: Sequence[Machine], mine: Sequence[Machine]) -> Sequence[Machine]:
        """What is cloned: the machines that serve, else the newest others; DOD713 and DOD714 where that cannot be."""
        models = _standing(others)
        if not models and mine:
            return ()
        if not models:
            raise self._nothing_to_clone(service, "has no machine")
        if not all(has_checks(one) for one in models):
            raise self._nothing_to_clone(service, "has machines without a health check")
        for one in models:
            if one.config.get("mounts"):
                said = f"machine `{one.id}` of `{self.apps[service]}` has a volume"
                raise DodaiError(codes.HAS_VOLUME, said, codes.HAS_VOLUME.fix.en)
        return models

    def _nothing_to_clone(self, service: str, why: str) -> DodaiError:
        said = f"the Fly app `{self.apps[service]}` of `{service}` {why}"
        return DodaiError(codes.NO_TEMPLATE, said, codes.NO_TEMPLATE.fix.en)

    async def probe(
        self, service: str, release: str, /, *, settings: str = "", wait_s: float = 0.0, consecutive: int = 1
    ) -> ServiceProbe:
        """`consecutive` are answers that Fly's checks got one after another, not looks at the same answer."""
        end, asked = time.monotonic() + wait_s, list[str]()
        while True:
            group = [one for one in await self.fleet(service).machines(recent=not asked) if _is(one, release, settings)]
            found = _answer(group, release)
            stamp = "|".join(sorted(check.updated_at for one in group for check in one.checks))
            asked = [*asked, stamp] if found.ready and stamp not in asked else asked if found.ready else []
            if found.ready and len(asked) >= consecutive:
                return found
            late = time.monotonic() >= end
            if late and found.ready:
                said = f"ready {len(asked)} times of {consecutive} within {wait_s:g} s"
                return replace(found, state="not_ready", detail=said)
            if late or found.state in ("exited", "absent", "not_served"):
                return found
            await asyncio.sleep(POLL_S)

    async def switch(self, service: str, release: str, /, *, settings: str = "") -> None:
        """First the new ones get traffic too, then the old ones no more: there is no moment without any."""
        fleet = self.fleet(service)
        machines = await fleet.current()
        group = [one for one in machines if _is(one, release, settings)]
        if not any(one.state not in _ENDED for one in group):
            said = f"no machine of `{fleet.app}` runs release `{release}`"
            raise DodaiError(codes.NO_TEMPLATE, said, f"deploy it: `{proposal.DEPLOY(env='ENV')}`")
        await together(fleet.apply(UNCORDON, one) for one in group if one.cordoned)
        await together(fleet.apply(CORDON, one) for one in machines if one not in group and not one.cordoned)

    async def keep(self) -> None:
        """Fly starts its machines again by itself."""

    async def stop(self, service: str, release: str, drain_s: float | None = None, /, *, settings: str = "") -> None:
        """The last machines of an app are kept, stopped: the next release is made of clones of them."""
        fleet = self.fleet(service)
        machines = await fleet.current()
        group = [one for one in machines if _is(one, release, settings)]
        last = all(one in group or _is_kept(one) for one in machines)
        await together(fleet.apply(CORDON, one) for one in group if not one.cordoned)
        if last:
            await together(fleet.tag(one, {KEPT: "yes"}) for one in group if not _is_marked(one))
        wait_s = 10.0 if drain_s is None else drain_s
        body = {"signal": "SIGTERM", "timeout": f"{max(1, round(wait_s))}s"}
        await together(fleet.apply(STOP, one, body=body) for one in group if one.state not in _ENDED)
        await self._stopped(fleet, group, wait_s)
        if not last:
            await together(fleet.destroy(one) for one in group)

    async def _stopped(self, fleet: Fleet, group: Sequence[Machine], wait_s: float) -> None:
        """Until all of them have ended; Fly kills what does not within its time."""
        end, ids = time.monotonic() + wait_s + 10, {one.id for one in group}
        while True:
            few = len(group) <= FEW  # one by one they may be asked more often than all together
            looks = [await fleet.show(one) for one in group] if few else await fleet.machines()
            if not any(one and one.id in ids and one.state not in _ENDED for one in looks):
                return
            if time.monotonic() >= end:
                said = f"a machine of `{fleet.app}` does not stop within {wait_s + 10:g} s"
                raise self.api.error(codes.LEASED, said, "unavailable")
            await asyncio.sleep(POLL_S / 2)

    async def tail(self, name: str, release: str = "", /, lines: int = 40) -> tuple[str, ...]:
        """What Fly knows of its machines: their events, and what their checks last answered."""
        group = [one for one in await self.fleet(name).machines() if not release or _is(one, release, "")]
        return tuple(_said(group))[-lines:]

    async def status(self) -> ComputeStatus:
        names = tuple(self.apps)
        try:
            found = await asyncio.gather(*(self.fleet(name).machines(STATUS_S, recent=True) for name in names))
        except VendorError as error:
            return ComputeStatus(env=self.env, running=False, unknown=error.message)
        services = tuple(
            _status(name, self.addresses.get(name, ""), machines) for name, machines in zip(names, found, strict=True)
        )
        live = {one.service: f"{one.release}@{one.settings}" for each in services for one in each.instances if one.live}
        return ComputeStatus(
            env=self.env,
            running=any(each.instances for each in services),
            services=services,
            kept=live,
            fencing_token=max(map(newest_token, found), default=0),
        )


# --- one machine ---


def release_of(machine: Machine) -> str:
    """The release that it runs; what dodai did not deploy is named after its image."""
    digest = machine.image_ref.digest.removeprefix("sha256:")[:12] or machine.id
    return machine.metadata.get(RELEASE) or f"{UNMANAGED}{digest}"


def _settings_of(machine: Machine) -> str:
    return machine.metadata.get(SETTINGS, "")


def _is(machine: Machine, release: str, settings: str) -> bool:
    own = _settings_of(machine)
    return release_of(machine) == release and (settings in ("", own) or own.startswith(f"{settings}-"))


def _is_marked(machine: Machine) -> bool:
    return bool(machine.metadata.get(KEPT))


def _is_kept(machine: Machine) -> bool:
    """Whether it is stopped for good, and there only because the next release is made of it."""
    return _is_marked(machine) and machine.cordoned and machine.state in _ENDED


def _name(release: str, settings: str, model: Machine) -> str:
    """Unique in an app and the same at every try: what is cloned, and what for."""
    return f"d-{release[:12]}-{hashlib.sha256(settings.encode()).hexdigest()[:8]}-{model.id}"


def _standing(machines: Iterable[Machine]) -> list[Machine]:
    """The group that serves: those of one release and settings that are not cordoned, the oldest such group while
    traffic is being moved; the newest group of all where every machine is cordoned.
    """
    everyone = list(machines)
    serving = [one for one in everyone if not one.cordoned]
    chosen = serving[0] if serving else everyone[-1] if everyone else None
    return [one for one in serving or everyone if chosen and _group(one) == _group(chosen)]


def _group(machine: Machine) -> tuple[str, str]:
    return release_of(machine), _settings_of(machine)


def _port(machine: Machine) -> int:
    services = machine.config.get("services") or []
    ports = [port.get("port", 0) for service in services for port in service.get("ports") or []]
    return int(next((port for port in ports if port), 0))


def has_checks(machine: Machine) -> bool:
    """Whether Fly asks it anything."""
    services = machine.config.get("services") or []
    return bool(machine.config.get("checks")) or any(service.get("checks") for service in services)


def _answer(group: Sequence[Machine], release: str) -> ServiceProbe:
    """As ready as the least ready machine."""
    if not group:
        return ServiceProbe(state="absent", detail=f"no machine of release {release}")
    output = tuple(_said(group))[-20:]
    count = max(int(one.metadata.get(COUNT) or 0) for one in group)
    if len(group) < count and any(one.cordoned for one in group):  # once it serves, people may scale it
        said = f"{len(group)} of {count} machines exist"
        return ServiceProbe(state="not_ready", detail=said, output=output)
    for one in group:
        if one.state in _ENDED and not _idle(one):
            code = _exit_code(one)
            said = f"machine {one.id} in {one.region} is {one.state}" + ("" if code is None else f", exit code {code}")
            return ServiceProbe(state="exited", detail=said, exit_code=code, output=output)
        meant = one.metadata.get(IMAGE, "").rpartition("@")[2]
        if meant and one.image_ref.digest and one.image_ref.digest != meant:
            said = f"machine {one.id} runs the image {one.image_ref.digest}, deployed was {meant}"
            return ServiceProbe(state="not_served", detail=said, output=output)
    unwell = [one for one in group if not _well(one)]
    if unwell:
        first = unwell[0]
        said = f"{len(group) - len(unwell)} of {len(group)} machines pass their checks; {first.id} in {first.region}: "
        said += ", ".join(f"{check.name} {check.status}" for check in first.checks) or first.state
        return ServiceProbe(state="not_ready", detail=said, output=output)
    versions = {version for one in group if not _idle(one) if (version := _version(one))}
    odd = sorted(versions - {release})
    version = odd[0] if odd else next(iter(versions), "")
    return ServiceProbe(
        state="ready", version=version, detail=f"{len(group)} machines pass their checks", output=output
    )


def _well(machine: Machine) -> bool:
    """Whether it runs and every check passes; without a check nothing was judged, so it is not well."""
    if _idle(machine):
        return True
    passing = all(check.status == "passing" for check in machine.checks)
    return machine.state == "started" and bool(machine.checks) and passing


def _idle(machine: Machine) -> bool:
    """Stopped by Fly because nobody asked; the next request starts it."""
    services = machine.config.get("services") or []
    stops = any(service.get("autostop") in ("stop", "suspend", True) for service in services)
    return (
        machine.state in ("stopped", "suspended")
        and not machine.cordoned
        and stops
        and _exit_code(machine) in (0, None)
    )


def _version(machine: Machine) -> str:
    """The version that the service said of itself in the answer to a check; Fly keeps the start of it."""
    said = (re.search(r'"version"\s*:\s*"([^"]+)"', check.output) for check in machine.checks)
    return next((found[1] for found in said if found), "")


def _exit_code(machine: Machine) -> int | None:
    for event in machine.events:
        if event.type == "exit":
            code = (event.request.get("exit_event") or {}).get("exit_code")
            return code if isinstance(code, int) else None
    return None


def _said(group: Iterable[Machine]) -> Iterable[str]:
    for one in group:
        for event in reversed(one.events):
            code = f" exit code {_exit_code(one)}" if event.type == "exit" else ""
            yield f"{one.id} {one.region} {event.type} {event.status}{code}"
        for check in one.checks:
            yield f"{one.id} {one.region} check {check.name} {check.status}: {check.output[:200]}"


def _status(name: str, address: str, machines: Sequence[Machine]) -> ServiceStatus:
    standing = [one for one in _standing(machines) if not one.cordoned]
    instances = tuple(
        Instance(
            service=name,
            release=release_of(one),
            settings=_settings_of(one),
            state=_state(one),
            address=one.id,
            live=one in standing,
            region=one.region,
            exit_code=_exit_code(one),
            trouble="stopped by Fly while nobody asks; the next request starts it" if _idle(one) else "",
        )
        for one in machines
    )
    release = release_of(standing[0]) if standing else ""
    return ServiceStatus(name=name, address=address, release=release, instances=instances)


def _state(machine: Machine) -> InstanceState:
    if machine.state in _ENDED:
        if machine.cordoned and not _is_marked(machine):
            return "draining"  # whoever was retiring it did not come to its end: it is still there
        return "running" if _idle(machine) else "exited"
    return _STATES.get(machine.state, "starting")
