"""The stage of a production rehearsal: the drivers of an environment, sent to stand-ins of their vendors."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import field, replace
from pathlib import Path
from typing import Any

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.observability.ports import PlatformLines
from dodai.operations.environment import Environment
from dodai.operations.environment_policy import EnvironmentPolicy, Part
from dodai.operations.journey import Visit
from dodai.operations.policy import Service
from dodai.operations.ports import DirectSeen
from dodai.operations.programs import find_programs
from dodai.operations.project import Project
from dodai.operations.release import before
from dodai.operations.run.build import publish
from dodai.operations.run.network_probe import look_directly
from dodai.operations.run.release_log import ReleaseLog
from dodai.operations.secret import KEY_RINGS, new_value
from dodai.providers.authentik import authentik_api
from dodai.providers.authentik.authentik_api import authentik
from dodai.providers.cloudflare import cloudflare_api
from dodai.providers.cloudflare.cloudflare_api import cloudflare
from dodai.providers.fly import fly_logs
from dodai.providers.fly.machines_api import HOST, PROXY_LAG, TOKEN, fly_token
from dodai.providers.fly.machines_api import fly as fly_vendor
from dodai.providers.fly.proxy_edge import PUBLIC
from dodai.providers.fly.registry_api import REGISTRY_HOST
from dodai.providers.local.browser import HttpBrowser
from dodai.providers.neon import neon_api
from dodai.providers.neon.neon_api import neon as neon_vendor
from dodai.providers.neon.neon_database import BEFORE
from dodai.providers.postgres.stage_database import PostgresStageDatabase
from dodai.rehearsal.local_stage import LocalStage, discard_data
from dodai.rehearsal.ports import Difference
from dodai.rehearsal.production_drills import EdgeSeen, FaultsMet
from dodai.standins import ApiFault
from dodai.standins.branch_server import pooler_here
from dodai.standins.fly import FlyStandIn, MachineImage, RegistryStandIn
from dodai.standins.neon_standin import NeonStandIn
from dodai.standins.production_zone import ZoneHere, stand_identity, stand_zone
from dodai.vendor_api import ApiToken, api_of
from dodai.vendor_api.codes import NO_STAND_IN

Assemble = Callable[[EnvironmentPolicy, Path, Project, Mapping[str, str], Visit | None], Environment]
ALL = frozenset({"*"})
REGIONS = ("nrt", "ams")
SETTLE_S = 60.0
CHANGES = (
    *("POST .*/machines$", "POST .*/secrets$", "POST .*/uncordon$", "POST .*/cordon$", "POST .*/stop$"),
    *("DELETE .*/machines/[^/]+$", "DELETE .*/lease$"),
)
"""Every kind of change that a deploy asks of Fly; a lease whose reply is lost is waited for until it ends by itself."""
HOW: tuple[Mapping[str, Any], ...] = (
    {"kind": "lost"},
    {"kind": "status", "status": 429, "headers": {"retry-after": "1"}},
    {"kind": "status after", "status": 503},
)
BY_HAND = (
    "import http.server, os\n"
    "class Page(http.server.BaseHTTPRequestHandler):\n"
    "    def do_GET(self): self.send_response(200); self.send_header('content-length', '0'); self.end_headers()\n"
    "http.server.ThreadingHTTPServer(('127.0.0.1', int(os.environ['PORT'])), Page).serve_forever()\n"
)
"""What serves before dodai's first deploy: whatever somebody deployed by hand."""


@dataclass(slots=True)
class VendorsHere:
    """Stand-ins that run, what leads the drivers to them, and how each part differs from what it stands for."""

    config: EnvironmentPolicy
    registry: RegistryStandIn
    fly: FlyStandIn
    neon: NeonStandIn | None = None
    variables: dict[str, str] = field(default_factory=dict, repr=False)
    differences: list[Difference] = field(default_factory=list)
    zone: ZoneHere | None = None


def refuse_unknown(project: Project, config: EnvironmentPolicy) -> None:
    """DOD719 (exit 2) where a part has no stand-in; `local` compute has a rehearsal of its own."""
    known_of: dict[Part, tuple[str, ...]] = {"compute": ("fly",), "edge": ("fly", "cloudflare")}
    known_of |= {"database": ("neon",)} if project.policy.database.used_by else {}
    for part, known in known_of.items():
        named = config.provider_of(part)
        if named not in known:
            said = f"the {part} of `{config.name}` is `{named}`, and no stand-in of it can be rehearsed with"
            fix = f"`{proposal.REHEARSE()}`" if named == "local" else f"known: {', '.join(known)}"
            raise DodaiError(NO_STAND_IN, said, fix, exit_code=2)


@contextlib.asynccontextmanager
async def open_stage(
    project: Project, config: EnvironmentPolicy, folder: Path, assemble: Assemble
) -> AsyncIterator[StandInStage]:
    """The stage until the block ends, its drivers put together by `assemble`; no stand-in is left running."""
    with ExitStack() as stack:
        standing = await asyncio.to_thread(stand, project, config, stack)
        visit = standing.zone.visit if standing.zone else None
        environment = assemble(standing.config, folder, project, standing.variables, visit)
        known = dict(environment.secrets.get())
        wanted = (*KEY_RINGS, *project.policy.secrets)
        environment.secrets.put({**known, **{each: new_value(each) for each in wanted if each not in known}})
        stage = StandInStage(environment, project=project, standing=standing)
        try:
            yield stage
        finally:
            await stage.close()
            await asyncio.to_thread(discard_data, folder)


def stand(project: Project, config: EnvironmentPolicy, stack: ExitStack) -> VendorsHere:
    """The stand-ins of an environment, started; they end with `stack`."""
    # Its gates and its control database are production's own: this plan is made for nobody but this machine.
    behind = config.provider_of("edge") == "cloudflare"
    origins = config.public_origins[:1] if behind else ()
    here = replace(config, control_url="", protected=False, freeze=(), folder="", public_origins=origins)
    token = f"fm2_{secrets.token_hex(16)}"  # as `fly tokens create` makes and prints one
    registry = stack.enter_context(RegistryStandIn(token))
    fly = stack.enter_context(FlyStandIn(registry, {token: ALL}))
    told = {TOKEN: f"FlyV1 {token}", HOST: fly.url, fly_logs.HOST: fly.url, REGISTRY_HOST: registry.host}
    standing = VendorsHere(here, registry, fly, variables={**told, PROXY_LAG: str(fly.noticed_s)})
    if project.policy.database.used_by:
        _neon(project, standing, stack)
    _apps(project, standing)
    if behind and (public := project.policy.public_service):
        standing.zone = stand_zone(here, fly.public_url(here.fly.apps[public.name]), stack)
        standing.variables |= standing.zone.variables
        standing.differences += standing.zone.differences
    if config.provider_of("identity") == "authentik":
        identity, token, difference = stand_identity(here, stack)
        standing.variables |= {authentik_api.TOKEN: token, authentik_api.ADDRESS: identity.url}
        standing.config = replace(here, authentik=replace(here.authentik, url=identity.url))
        standing.differences.append(difference)
    return standing


def _neon(project: Project, standing: VendorsHere, stack: ExitStack) -> None:
    wanted, token = standing.config.neon, secrets.token_hex(16)
    name = wanted.database or project.policy.database.name
    neon = NeonStandIn({token: frozenset({"write"})}, project=wanted.project, database=name, role=wanted.role)
    stack.enter_context(neon)
    standing.neon = neon
    standing.variables |= {neon_api.TOKEN: token, neon_api.ADDRESS: neon.url}
    here = "the stand-in of the API; a branch is a PostgreSQL of this machine and a copy of another one"
    without = "none: `pgbouncer` is not on PATH, a pooled URL leads straight to PostgreSQL"
    pooler = "PgBouncer of this machine" if pooler_here() else without
    standing.differences += [
        Difference("database", "Neon: storage, autosuspend, its own proxy", here),
        Difference("pooler", "Neon's PgBouncer, in transaction mode", pooler),
    ]


def _apps(project: Project, standing: VendorsHere) -> None:
    """What is there before dodai comes: an app for each service, with machines that somebody deployed by hand."""
    apps, fly, registry = standing.config.fly.apps, standing.fly, standing.registry
    public = project.policy.public_service
    local = {name: service for name, service in project.policy.services.items() if service.local_only}
    before = registry.push("before", MachineImage(str(project.root), (sys.executable, "-c", BY_HAND)))
    for name, app in apps.items():
        service = project.policy.services[name]
        told = {f"{need.upper()}_ADDR": f"{need}.flycast:80" for need in service.needs if need in local}
        fly.launch(app, before, machine_config(service, told), REGIONS)
        fly.apps[app].private = True  # whether it is in the account, `doctor --live` says
    standing.variables |= {PUBLIC: fly.public_url(apps[public.name])} if public else {}
    settle(fly, apps.values())
    rows = (
        ("compute", "Fly Machines: VMs in regions, their starts, hosts, network", "a process of this machine for each"),
        ("images", "built by CI, pulled from registry.fly.io", "the files of the release, under a digest of their own"),
        ("edge", "Fly's proxy: TLS, HTTP, anycast, autostart", "TCP forwarding to machines that are not cordoned"),
        ("names", "`APP.flycast` resolves inside Fly", "addresses in variables are replaced"),
        ("API", "Fly's, with limits of its own", "a stand-in after the specification of 2026"),
        ("control", "the control database, gates, other operators", "a file of this rehearsal, no gates"),
        ("lines", "Fly's log: late, cut and lost lines, how long it keeps them", "pages of what the processes wrote"),
        ("certificates, DNS, metrics of the vendor", "as the account has them", "not rehearsed"),
    )
    standing.differences += [Difference(*row) for row in rows]
    standing.differences.append(
        Difference("drivers, plan, health, journeys, migrations", "the same code", "the same code")
    )


def machine_config(service: Service, told: Mapping[str, str]) -> dict[str, Any]:
    """A machine as `fly launch` would leave it, with a check of the kind that Fly has for the service."""
    check: dict[str, Any] = {"type": "tcp", "interval": "500ms", "timeout": "500ms"}
    if service.ready_kind == "http":
        check |= {"type": "http", "method": "get", "path": service.ready_path}
    port = 443 if service.public else 80 if service.protocol == "http" else 50051
    ports = {"protocol": "tcp", "internal_port": 8080, "ports": [{"port": port}], "checks": [check]}
    return {"env": dict(told), "restart": {"policy": "on-failure", "max_retries": 1}, "services": [ports]}


def settle(fly: FlyStandIn, apps: Iterable[str]) -> None:
    """Until every machine of the apps passes its checks; DOD719 names those that do not, and what they wrote last."""
    end = time.monotonic() + SETTLE_S
    waiting = [machine for app in apps for machine in fly.machines(app)]
    while waiting := [machine for machine in waiting if not (machine.routable and machine.checks)]:
        if time.monotonic() >= end:
            who = ", ".join(f"{one.app} in {one.region}: {one.state}" for one in waiting)
            said = f"machines of the stand-in do not pass their checks after {SETTLE_S:g} s ({who})"
            wrote = fly.log(waiting[0].app).splitlines()[-8:] or ["they wrote nothing"]
            raise DodaiError(NO_STAND_IN, said, "try again when this machine is less busy", details=tuple(wrote))
        time.sleep(0.05)


@dataclass(slots=True)
class StandInStage(LocalStage):
    """What an operator and a visitor can reach of an environment whose vendors are stand-ins."""

    project: Project = field(kw_only=True)
    standing: VendorsHere = field(kw_only=True)
    _launched: bool = False

    @property
    def fly(self) -> FlyStandIn:
        return self.standing.fly

    def differences(self) -> tuple[Difference, ...]:
        return (*self.standing.differences, *self._calls())

    def _calls(self) -> Iterator[Difference]:
        """How often each vendor was asked, by where its endpoints are described."""
        here, told = self.standing, self.standing.variables
        asked = {"Fly": api_of(fly_vendor, here.fly.url, fly_token(told)).calls}
        if here.neon:
            asked["Neon"] = api_of(neon_vendor, here.neon.url, ApiToken(neon_api.TOKEN, told[neon_api.TOKEN])).calls
        asked["Fly (logs)"] = api_of(fly_logs.fly_logs, here.fly.url, fly_token(told)).calls
        asked |= self._edge_calls()
        counts = {vendor: Counter[str]() for vendor in asked}
        for vendor, calls in asked.items():
            for (source, _), count in calls.items():
                counts[vendor][source] += count
        counts["the registry"] = Counter(transcribed=len(here.registry.exchanges))
        for vendor, by_source in counts.items():
            if by_source.total():
                said = ", ".join(f"{count} {source}" for source, count in sorted(by_source.items()))
                yield Difference(f"calls to {vendor}", "its own API", f"{said}: all to the stand-in")

    def _edge_calls(self) -> Mapping[str, Counter[Any]]:
        told, found = self.standing.variables, dict[str, Counter[Any]]()
        for vendor, make, api in (("Cloudflare", cloudflare, cloudflare_api), ("Authentik", authentik, authentik_api)):
            if api.ADDRESS in told:
                found[vendor] = api_of(make, told[api.ADDRESS], ApiToken(api.TOKEN, told[api.TOKEN])).calls
        return found

    async def publish(self) -> str:
        release = await asyncio.to_thread(publish, self.environment, lambda _: None, self.images)
        if not self._launched:
            await asyncio.to_thread(self._beside, release)
        return release

    async def derive(self, release: str, changes: Mapping[str, bytes | None]) -> str:
        artifacts = self.environment.artifacts
        made = await asyncio.to_thread(artifacts.derive, release, changes)
        return await asyncio.to_thread(artifacts.with_images, made, self.images(made))

    def images(self, release: str) -> Mapping[str, str]:
        """What CI would push for the files of a release: one image for each service that has an app."""
        return {name: self._image(release, name) for name in self.standing.config.fly.apps}

    def _image(self, release: str, name: str) -> str:
        tree = Path(self.environment.artifacts.path(release))
        service = self.project.at(tree).policy.services[name]
        programs = find_programs(self.project.python)
        image = MachineImage(
            str(tree / service.cwd), programs.fill(service.command), {"DODAI_MANIFEST": str(tree / "dodai.toml")}
        )
        return self.standing.registry.push(name, image, index=True)

    def _beside(self, release: str) -> None:
        """What production has elsewhere runs beside it as an app of its own, as its local stand-in."""
        local = [service for service in self.project.policy.services.values() if service.local_only]
        for service in local:
            config = machine_config(service, {"DODAI_SERVICE": service.name, "DODAI_ENV": self.env})
            self.fly.launch(service.name, self._image(release, service.name), config, REGIONS[:1])
            self.fly.apps[service.name].private = True
        settle(self.fly, [service.name for service in local])
        self._launched = True

    # --- what drills ask ---

    @property
    def lines(self) -> PlatformLines | None:
        return self.environment.lines

    @property
    def has_rays(self) -> bool:
        return self.standing.zone is not None

    async def edge(self) -> EdgeSeen:
        environment, zone, identity = self.environment, self.standing.zone, self.environment.identity
        answer = await self.request("GET", "/")
        return EdgeSeen(
            differs=(await environment.edge.observe()).differs if zone else None,
            sign_in=(await identity.observe()).differs if identity else None,
            foreign=zone.foreign_is_untouched if zone else True,
            ray=answer.headers.get("cf-ray", ""),
            status=answer.status_code,
            reserved=(await self.request("GET", "/-/dodai/metrics")).status_code if zone else None,
            around=await asyncio.to_thread(self._around, answer.status_code)
            if zone and environment.sends_key
            else None,
        )

    def _around(self, through_edge: int) -> DirectSeen:
        """The stand-in's `APP.fly.dev`, asked by somebody who knows its name."""
        return look_directly(self.standing.variables[PUBLIC], through_edge=through_edge)

    def browser_at(self, url: str) -> HttpBrowser:
        zone = self.standing.zone
        return zone.visit(url) if zone else HttpBrowser(url)

    @contextlib.asynccontextmanager
    async def database_away(self) -> AsyncIterator[None]:
        neon = self.standing.neon
        assert neon is not None  # noqa: S101 - a drill of a database asks for it
        server = next(branch for branch in neon.branches.values() if branch.default).server
        await asyncio.to_thread(server.rest)
        try:
            yield
        finally:
            await asyncio.to_thread(server.start)

    async def serves(self) -> Mapping[str, str]:
        status = await self.environment.compute.status()
        return {service.name: service.release for service in status.services}

    def instances(self) -> Mapping[str, int]:
        return {name: len(self.fly.machines(app)) for name, app in self.standing.config.fly.apps.items()}

    async def earlier(self) -> str:
        live = next(iter((await self.serves()).values()), "")
        return before(await ReleaseLog(self.environment).records(), live)

    async def fill(self, table: str, rows: int) -> None:
        await PostgresStageDatabase(lambda: self.database_url).fill(table, rows)

    async def rows(self) -> Mapping[str, int]:
        return await PostgresStageDatabase(lambda: self.database_url, _ledgers(self.project)).rows()

    def set_aside(self) -> tuple[str, ...]:
        branches = self.standing.neon.branches.values() if self.standing.neon else ()
        return tuple(branch.name for branch in branches if branch.name.startswith(BEFORE))

    @contextlib.contextmanager
    def failing(self) -> Iterator[FaultsMet]:
        wanted = [ApiFault(where=where, **HOW[index % len(HOW)]) for index, where in enumerate(CHANGES)]
        for fault in wanted:
            self.fly.faults.add(fault)
        met = FaultsMet(tuple(_named(fault) for fault in wanted))
        try:
            yield met
        finally:
            met.left = tuple(_named(fault) for fault in self.fly.faults.left)
            self.fly.faults.clear()

    @contextlib.contextmanager
    def full(self, service: str) -> Iterator[str]:
        region = self.fly.machines(self.standing.config.fly.apps[service])[-1].region
        self.fly.full.add(region)
        try:
            yield region
        finally:
            self.fly.full.discard(region)


def _ledgers(project: Project) -> tuple[str, ...]:
    return (project.migrations.ledger_parts[1],) if project.migrations else ()


def _named(fault: ApiFault) -> str:
    return f"{fault.kind} {fault.where}"
