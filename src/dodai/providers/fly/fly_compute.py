"""Compute on Fly: a release is a set of clones of the machines that serve, cordoned until it gets the traffic."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field, replace

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.lease import this_process
from dodai.operations.ports import ComputeStatus, Instance, ServiceProbe, ServiceSpec
from dodai.providers.fly import codes
from dodai.providers.fly.fleet import (
    COUNT,
    FEW,
    HOLDER,
    IMAGE,
    IMAGE_CHILD,
    KEPT,
    LEASE_S,
    LOOK_S,
    RELEASE,
    SECRETS,
    SERVICE,
    SETTINGS,
    TOKEN,
    Fleet,
    cloned,
    newest_token,
    together,
)
from dodai.providers.fly.machine_checks import Judged, checks_of, has_checks, steady_s, too_slow
from dodai.providers.fly.machine_state import (
    answer_of,
    clone_name,
    is_kept,
    is_marked,
    is_of,
    is_whole,
    models_among,
    no_way_inside,
    port_of,
    said_of,
    several_groups,
    standing,
    status_of,
)
from dodai.providers.fly.machines_api import CORDON, LIST, LIST_ADDRESSES, PROXY_LAG_S, START, UNCORDON, WAITS, Machine
from dodai.providers.fly.rolling import Rolling, roll
from dodai.vendor_api import Api, VendorError

POLL_S, STATUS_S = 1.0, 8.0


@dataclass(frozen=True)
class FlyCompute:
    """The services of one environment; `apps` maps each to its Fly app, `secret_names` are variables to keep secret.

    The machines of a service in `rolling` are replaced some at a time, those of the others all at once. `judged` says
    of each how it becomes healthy.

    `needed` are the services that others come to. `child_of` says which manifest of an image a machine runs where the
    image is an index, "" where it is none.

    `connect` is asked when something is: commands that need nothing of Fly need no token.
    """

    connect: Callable[[], Api] = field(repr=False)
    env: str
    apps: Mapping[str, str]
    secret_names: frozenset[str]
    token: int | None = None
    rolling: Mapping[str, Rolling] = field(default_factory=dict)
    judged: Mapping[str, Judged] = field(default_factory=dict)
    lease_s: int = LEASE_S
    proxy_lag_s: float = PROXY_LAG_S
    needed: frozenset[str] = frozenset()
    child_of: Callable[[str], str] = field(default=lambda _: "", repr=False)
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
        app = self.apps[service]
        return Fleet(self.api, app, self.token, self.holder, self.lease_s, self.proxy_lag_s, self.seen)

    async def address(self, service: str, /) -> str:
        """`APP.flycast:PORT`: it goes through Fly's proxy, so that cordoned machines get nothing; never `.internal`."""
        if self.token is not None:
            await asyncio.gather(*(self.fleet(each).announce() for each in self.apps))
        if service not in self.addresses:
            machines = standing(await self.fleet(service).machines(recent=True))
            port = next((port for one in machines if (port := port_of(one))), 0)
            if not port:
                raise self._nothing_to_clone(service, "has no machine with a service")
            self.addresses[service] = f"{self.apps[service]}.flycast:{port}"
        return self.addresses[service]

    async def possible(self, services: Sequence[str], release: str, /) -> None:
        """DOD710, DOD713, DOD714, DOD732, DOD733, which `start` refuses as well: migrations have run by then."""

        async def look(service: str) -> None:
            machines = await self.fleet(service).current()
            mine = [one for one in machines if is_of(one, release, "")]
            models = self._models(service, [one for one in machines if one not in mine], mine)
            await self._refuse_unreachable(service, models or mine)

        await together(map(look, services))

    async def start(
        self, spec: ServiceSpec, release: str, artifact: str, env: Mapping[str, str], /, *, settings: str = ""
    ) -> Instance:
        told = {"DODAI_SERVICE": spec.name, "DODAI_RELEASE": release, "DODAI_ENV": self.env, **spec.env, **env}
        fleet = self.fleet(spec.name)
        machines = await fleet.current()
        mine = [one for one in machines if is_of(one, release, settings)]
        others = [one for one in machines if one not in mine]
        dead = [one for one in mine if one.ended and not one.waits and not one.is_away]
        models, rolled = self._models(spec.name, others, mine), spec.name in self.rolling
        wanted = {clone_name(release, settings, model): model for model in models}
        missing = _without_clone(wanted, mine)
        if missing or dead:
            await self._refuse_unreachable(spec.name, models or mine)
            version, digests = await fleet.set_secrets({name: told[name] for name in self.secret_names if name in told})
            plain = {name: value for name, value in told.items() if name not in self.secret_names}
            marks = {RELEASE: release, SETTINGS: settings, SERVICE: spec.name, IMAGE: artifact}
            marks |= {TOKEN: str(self.token or 0), HOLDER: self.holder, COUNT: str(len(models) or len(mine))}
            child = await asyncio.to_thread(self.child_of, artifact)
            marks |= {IMAGE_CHILD: child} if child else {}
            marks |= {WAITS: "yes"} if rolled else {}
            marks |= {SECRETS: digests} if digests else {}
            again = [one for one in dead if is_kept(one)]
            await together(fleet.destroy(one) for one in dead if one not in again)
            missing |= {one.name: wanted.get(one.name, one) for one in dead if one not in again}

            async def clone(name: str, model: Machine) -> None:
                await fleet.standing(model)
                config = cloned(model, artifact, plain, marks)
                made = await fleet.create(name, model.region, config, version, launch=not rolled)
                mine.append(made)
                if not made.cordoned:
                    await fleet.apply(CORDON, made)

            await together(clone(name, model) for name, model in missing.items())
            await together(fleet.replace(one, cloned(one, artifact, plain, marks), version) for one in again)
        if rolled and not any(one.runs for one in mine if one not in dead):
            turn = list(wanted)  # the clone of the oldest comes first, whichever was answered first
            waiting = [one for one in mine if one.waits]
            await fleet.apply(
                START, min(waiting, key=lambda one: turn.index(one.name) if one.name in turn else len(turn))
            )
        await together(fleet.destroy(one) for one in others if is_kept(one))
        return Instance(service=spec.name, release=release, settings=settings, state="starting")

    def _models(self, service: str, others: Sequence[Machine], mine: Sequence[Machine]) -> Sequence[Machine]:
        """What is cloned: the machines that serve, else the newest others; DOD713 and DOD714 where that cannot be."""
        models = models_among(others)
        if not models and mine:
            return ()
        if not models:
            why = "has only machines whose host is away" if others else "has no machine"
            raise self._nothing_to_clone(service, why)
        if mixed := several_groups(others):
            raise self._nothing_to_clone(service, *mixed)
        if not all(has_checks(one) for one in models):
            raise self._nothing_to_clone(service, "has machines without a health check")
        for one in models:
            if one.config.get("mounts"):
                said = f"machine `{one.id}` of `{self.apps[service]}` has a volume"
                raise DodaiError(codes.HAS_VOLUME, said, codes.HAS_VOLUME.fix.en)
        if slow := too_slow(checks_of(models), service, self.judged.get(service, Judged())):
            raise DodaiError(codes.CHECKS_TOO_SLOW, f"`{self.apps[service]}`: {slow[0]}", slow[1])
        return models

    async def _refuse_unreachable(self, service: str, machines: Sequence[Machine]) -> None:
        """DOD733 for a service that others need and would not reach; a token that may not look judges nothing."""
        if service not in self.needed:
            return
        app = self.apps[service]
        try:
            addresses = (await self.api.call(LIST_ADDRESSES, path={"app": app})).value.ips
        except VendorError as error:
            if error.status in (403, 404):
                return
            raise
        if lacking := no_way_inside(app, machines, addresses):
            raise DodaiError(codes.NO_WAY_INSIDE, *lacking)

    def _nothing_to_clone(self, service: str, why: str, fix: str = codes.NO_TEMPLATE.fix.en) -> DodaiError:
        said = f"the Fly app `{self.apps[service]}` of `{service}` {why}"
        return DodaiError(codes.NO_TEMPLATE, said, fix)

    async def probe(
        self, service: str, release: str, /, *, settings: str = "", wait_s: float = 0.0, consecutive: int = 1
    ) -> ServiceProbe:
        """`consecutive` are answers that Fly's checks got one after another, not looks at the same answer."""
        end, fleet = time.monotonic() + wait_s, self.fleet(service)
        group = _of(await fleet.machines(recent=True), release, settings)
        since = math.inf
        while True:
            found, now = answer_of(group, release), time.monotonic()
            since, needed = min(since, now) if found.ready else math.inf, steady_s(checks_of(group), consecutive)
            if now - since >= needed:
                return found
            late = now >= end
            if late and found.ready:
                said = f"well for {now - since:.1f} s of the {needed:g} s that {consecutive} answers of its checks take"
                return replace(found, state="not_ready", detail=f"{said}, within {wait_s:g} s")
            if late or found.state in ("exited", "absent", "not_served"):
                return found
            if is_whole(group) and len(group) <= FEW:
                await asyncio.sleep(LOOK_S)
                group = await fleet.seen_again(group)
            else:
                await asyncio.sleep(POLL_S)
                group = _of(await fleet.machines(), release, settings)

    async def switch(self, service: str, release: str, /, *, settings: str = "") -> None:
        """First the new ones get traffic too, then the old ones no more: there is no moment without any."""
        fleet, rolling = self.fleet(service), self.rolling.get(service)
        machines = await fleet.current()
        group = [one for one in machines if is_of(one, release, settings)]
        if not (group if rolling else any(one.runs and not one.is_away for one in group)):
            said = f"no machine of `{fleet.app}` runs release `{release}`"
            raise DodaiError(codes.NO_TEMPLATE, said, f"deploy it: `{proposal.DEPLOY(env='ENV')}`")
        if rolling:
            await roll(fleet, service, release, settings, rolling)
            return
        await fleet.let_in(group, [one for one in machines if one not in group], last=True)

    async def let_in(self, service: str, release: str, /, *, settings: str = "") -> str:
        """The same machine at every try: the oldest that runs, unless another one has traffic already."""
        fleet = self.fleet(service)
        machines = await fleet.current()
        group = [one for one in machines if is_of(one, release, settings) and one.runs and not one.is_away]
        chosen = next((one for one in group if not one.cordoned), group[0] if group else None)
        if chosen is None:
            said = f"no machine of `{fleet.app}` runs release `{release}`"
            raise DodaiError(codes.NO_TEMPLATE, said, f"deploy it: `{proposal.DEPLOY(env='ENV')}`")
        if chosen.cordoned:
            await fleet.apply(UNCORDON, chosen)
        return f"machine {chosen.id} in {chosen.region}"

    async def is_in(self, service: str, release: str, /, *, settings: str = "") -> bool:
        there = await self.fleet(service).machines()
        return any(is_of(one, release, settings) and not one.cordoned for one in there)

    async def hold_back(self, service: str, release: str, /, *, settings: str = "") -> None:
        fleet = self.fleet(service)
        group = [one for one in await fleet.current() if is_of(one, release, settings) and not one.cordoned]
        await together(fleet.apply(CORDON, one) for one in group)

    def stages(self, service: str, /) -> int:
        return self.rolling[service].stages if service in self.rolling else 0

    def notice_s(self) -> float:
        return self.proxy_lag_s

    async def keep(self) -> None:
        """Fly starts its machines again by itself."""

    async def stop(self, service: str, release: str, drain_s: float | None = None, /, *, settings: str = "") -> None:
        """The last machines of an app are kept, stopped: the next release is made of clones of them."""
        fleet = self.fleet(service)
        machines = await fleet.current()
        group = [one for one in machines if is_of(one, release, settings)]
        last = all(one in group or is_kept(one) or one.is_away for one in machines)
        await together(fleet.apply(CORDON, one) for one in group if not one.cordoned)
        if last:
            await together(fleet.tag(one, {KEPT: "yes"}) for one in group if not is_marked(one))
        wait_s = 10.0 if drain_s is None else drain_s
        await fleet.stop(group, wait_s)
        if not last:
            await together(fleet.destroy(one) for one in group)

    async def tail(self, name: str, release: str = "", /, lines: int = 40) -> tuple[str, ...]:
        """What Fly knows of its machines: their events, and what their checks last answered."""
        group = [one for one in await self.fleet(name).machines() if not release or is_of(one, release, "")]
        return tuple(said_of(group))[-lines:]

    async def status(self) -> ComputeStatus:
        names = tuple(self.apps)
        try:
            found = await asyncio.gather(*(self.fleet(name).machines(STATUS_S, recent=True) for name in names))
        except VendorError as error:
            return ComputeStatus(env=self.env, running=False, unknown=error.message)
        services = tuple(
            status_of(name, self.addresses.get(name, ""), machines) for name, machines in zip(names, found, strict=True)
        )
        live = {one.service: f"{one.release}@{one.settings}" for each in services for one in each.instances if one.live}
        return ComputeStatus(
            env=self.env,
            running=any(each.instances for each in services),
            services=services,
            kept=live,
            fencing_token=max(map(newest_token, found), default=0),
        )


def _of(machines: Sequence[Machine], release: str, settings: str) -> list[Machine]:
    """Those that run `release`, or are about to."""
    return [one for one in machines if is_of(one, release, settings) and not is_kept(one)]


def _without_clone(wanted: Mapping[str, Machine], mine: Sequence[Machine]) -> dict[str, Machine]:
    """The models, by the name of their clone, that no machine of `mine` stands for: by that name, or in that region.

    Whoever goes back to a group that still runs has another group serving, whose clones would have other names.
    """
    names = {one.name for one in mine}
    spare = Counter(one.region for one in mine if one.name not in wanted)
    missing = {}
    for name, model in wanted.items():
        if name not in names and spare[model.region]:
            spare[model.region] -= 1
        elif name not in names:
            missing[name] = model
    return missing
