"""The Machines API of the stand-in: apps, machines, leases, metadata, secrets, certificates."""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dodai.standins.fly.app_logs import AppLogs
from dodai.standins.fly.app_metrics import AppMetrics
from dodai.standins.fly.app_proxy import AppProxy
from dodai.standins.fly.fly_requests import (
    LeaseRequest,
    MachineRequest,
    MetadataRequest,
    SecretsRequest,
    StopRequest,
)
from dodai.standins.fly.image_registry import MachineImage, RegistryStandIn
from dodai.standins.fly.machine_process import (
    FlyAppState,
    FlyMachine,
    duration_s,
    image_digest,
    lease_shown,
    new_version,
    now,
    standing_lease,
)
from dodai.standins.fly.platform_api import ORGANISATION, PlatformApi, bare
from dodai.standins.standin_server import Asked, Handler, Reply, StandIn, StandInRefusal, StandInRoute, route

NONCE = "fly-machine-lease-nonce"
RATE, SHOW_RATE = (1.0, 3), (5.0, 10)
CHECK_S = 0.1
_FLYCAST = re.compile(r"([a-z0-9][a-z0-9-]*)\.flycast:(\d+)")


class FlyStandIn(StandIn):
    """One organisation at Fly. `boot_s` is how long a machine takes to start.

    `full` are regions without capacity; in those of `full_hosts` each host refuses in the words given, with no other
    sign (superfly/fly-go flaps/flaps_error.go).
    `proxy_lag_s` is how long proxies take to know of a cordon or its end; `noticed_s` is a wait that is long enough.
    `restart_applies_secrets`: whether a machine that is only started again sees what was set since; reports conflict.
    """

    def __init__(
        self,
        registry: RegistryStandIn,
        tokens: Mapping[str, frozenset[str]],
        *,
        port: int = 0,
        limited: bool = False,
        boot_s: float = 0.05,
        proxy_lag_s: float = 0.1,
    ) -> None:
        super().__init__(tokens, port=port, limited=limited)
        self.registry, self.boot_s, self.proxy_lag_s = registry, boot_s, proxy_lag_s
        self.noticed_s = proxy_lag_s + 0.02
        self.apps: dict[str, FlyAppState] = {}
        self.full: set[str] = set()
        self.full_hosts: dict[str, str] = {}
        self.restart_applies_secrets = True
        self.certificates: dict[str, dict[str, Any]] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="dodai-fly-", ignore_cleanup_errors=True)
        self.metrics = AppMetrics()
        self.logs = AppLogs(Path(self._folder.name))
        self._lock = threading.RLock()
        self._closing = threading.Event()
        self.proxy = AppProxy(self.machines)
        self.routes = tuple(self._routes())
        self._checker = threading.Thread(target=self._check, daemon=True)
        self._checker.start()

    # --- what a test or a rehearsal does by hand, as somebody with flyctl would ---

    def launch(self, app: str, image: str, config: Mapping[str, Any], regions: tuple[str, ...]) -> None:
        """What `fly launch` leaves: an app with a machine in each region, serving."""
        state = self.apps.setdefault(app, FlyAppState(app))
        for region in regions:
            self._create(state, f"launched-{len(state.machines)}", region, {**config, "image": image}, cordoned=False)

    def machines(self, app: str) -> list[FlyMachine]:
        state = self.apps.get(app)
        return list(state.machines.values()) if state else []

    def public_url(self, app: str) -> str:
        return f"http://127.0.0.1:{self.proxy.port(app)}"

    def log(self, app: str) -> str:
        """What the machines of an app wrote, those that are gone included."""
        files = sorted(Path(self._folder.name).glob(f"{app}-*.log"))
        return "\n".join(file.read_text("utf-8", "replace") for file in files)

    def close(self) -> None:
        self._closing.set()
        super().close()
        self._checker.join(5)
        for app in list(self.apps):
            for machine in self.machines(app):
                machine.kill()
        self.proxy.close()
        self._folder.cleanup()

    def _check(self) -> None:
        while not self._closing.wait(CHECK_S):
            for app in list(self.apps):
                for machine in self.machines(app):
                    with contextlib.suppress(RuntimeError):
                        machine.ask()
            self.metrics.scrape([one for app in list(self.apps) for one in self.machines(app)])
            self.logs.gather({one.id: one for app in list(self.apps) for one in self.machines(app)})

    # --- routes ---

    def _routes(self) -> list[StandInRoute]:
        app, one = "/v1/apps/{app}", "/v1/apps/{app}/machines/{machine}"

        def of_app(method: str, path: str, handler: Handler, scope: str) -> StandInRoute:
            return route(method, path, handler, scope, rate=RATE, limited_by=("app",))

        def of_one(
            method: str, path: str, handler: Handler, scope: str, rate: tuple[float, int] = RATE
        ) -> StandInRoute:
            return route(method, path, handler, scope, rate=rate, limited_by=("app", "machine"))

        return [
            route("GET", "/v1/tokens/current", self._token),
            of_app("GET", app, lambda asked: Reply(200, self._app_shown(self._app(asked))), "read"),
            of_app("GET", f"{app}/machines", self._list, "read"),
            of_app("POST", f"{app}/machines", self._post, "deploy"),
            of_one("GET", one, lambda asked: Reply(200, self._machine(asked).shown()), "read", SHOW_RATE),
            of_one("POST", one, self._update, "deploy"),
            of_one("DELETE", one, self._delete, "deploy"),
            of_one("POST", f"{one}/start", self._start, "deploy"),
            of_one("POST", f"{one}/stop", self._stop, "deploy"),
            of_one("POST", f"{one}/cordon", lambda asked: self._cordon(asked, cordoned=True), "deploy"),
            of_one("POST", f"{one}/uncordon", lambda asked: self._cordon(asked, cordoned=False), "deploy"),
            of_one("GET", f"{one}/wait", self._wait, "read"),
            of_one("POST", f"{one}/lease", self._lease, "deploy"),
            of_one("GET", f"{one}/lease", self._show_lease, "read"),
            of_one("DELETE", f"{one}/lease", self._drop_lease, "deploy"),
            of_one("GET", f"{one}/metadata", lambda a: Reply(200, self._metadata(self._machine(a))), "read"),
            of_one("PATCH", f"{one}/metadata", self._patch_metadata, "deploy"),
            of_app("GET", f"{app}/ip_assignments", lambda a: Reply(200, {"ips": self._app(a).addresses()}), "read"),
            of_app("GET", f"{app}/secrets", self._list_secrets, "read"),
            of_app("POST", f"{app}/secrets", self._set_secrets, "deploy"),
            of_app("GET", f"{app}/certificates/{{hostname}}", self._certificate, "read"),
            *PlatformApi(self.apps, self.logs, self.metrics).routes(),
        ]

    def bearer(self, headers: Mapping[str, str]) -> str:
        """Whatever scheme stands before it: Fly's examples have `Bearer`, for tokens that begin with `FlyV1` too."""
        return bare(headers.get("authorization", ""))

    def error(self, status: int, text: str, kind: str = "unknown") -> Reply:
        return Reply(status, {"error": text, "status": kind})

    def _refuse(self, status: int, text: str, kind: str = "unknown") -> StandInRefusal:
        return StandInRefusal(self.error(status, text, kind))

    def _app(self, asked: Asked) -> FlyAppState:
        state = self.apps.get(asked.params["app"])
        if state is None:
            raise self._refuse(404, "app not found")
        return state

    def _machine(self, asked: Asked) -> FlyMachine:
        machine = self._app(asked).machines.get(asked.params["machine"])
        if machine is None:
            raise self._refuse(404, "machine not found")
        return machine

    def _reached(self, asked: Asked) -> FlyMachine:
        """The machine, when its host answers; what Fly says else is not published, flyctl knows 408."""
        machine = self._machine(asked)
        if machine.host_status != "ok":
            raise self._refuse(408, f"deadline_exceeded: host of {machine.id} is {machine.host_status}")
        return machine

    def _changeable(self, asked: Asked) -> FlyMachine:
        """The machine, when nobody else has its lease."""
        machine = self._reached(asked)
        lease = standing_lease(machine)
        nonce = asked.headers.get(NONCE, "")
        if lease and nonce != lease["nonce"]:
            raise self._refuse(409, f"lease currently held by {lease['owner']}, expires at {lease['expires_at']}")
        if nonce and not lease:
            raise self._refuse(409, "lease nonce does not match: the lease has expired")
        return machine

    def _token(self, asked: Asked) -> Reply:
        scopes = sorted(asked.scopes)
        return Reply(200, {"tokens": [{"organization": "standin", "apps": sorted(self.apps), "token_id": scopes[0]}]})

    def _app_shown(self, state: FlyAppState) -> dict[str, Any]:
        organization = {"name": ORGANISATION, "slug": ORGANISATION}
        return {
            "id": state.name,
            "name": state.name,
            "status": "deployed" if state.machines else "pending",
            "machine_count": len(state.machines),
            "organization": organization,
        }

    def _list(self, asked: Asked) -> Reply:
        machines = sorted(self._app(asked).machines.values(), key=lambda one: one.id)
        if "limit" not in asked.query:
            return Reply(200, [one.shown() for one in machines])
        limit, start = asked.number("limit", 100, 1, 1000), asked.query.get("cursor", "")
        page = [one for one in machines if one.id > start][:limit]
        more = bool(page) and page[-1].id != machines[-1].id
        return Reply(200, [one.shown() for one in page], {"fly-next-cursor": page[-1].id} if more else {})

    def _post(self, asked: Asked) -> Reply:
        state, wanted = self._app(asked), asked.read(MachineRequest)
        region, name = wanted.region, wanted.name or f"machine-{secrets.token_hex(3)}"
        if region in self.full:
            said = f"insufficient resources available to fulfill request in {region}"
            raise self._refuse(422, said, "insufficient_capacity")
        self._reserve(region)
        if not wanted.config.get("image"):
            raise self._refuse(400, "config.image is required")
        if wanted.min_secrets_version > state.version:
            raise self._refuse(400, "min_secrets_version is not reached")
        with self._lock:
            taken = next((one for one in state.machines.values() if one.name == name), None)
            if taken:
                said = f"unique machine name violation, machine ID {taken.id} already exists with name {name!r}"
                raise self._refuse(409, f"already_exists: {said}")
            ways = {"cordoned": wanted.skip_service_registration, "launch": not wanted.skip_launch}
            machine = self._create(state, name, region, wanted.config, **ways)
        return Reply(200, machine.shown())

    def _reserve(self, region: str) -> None:
        if said := self.full_hosts.get(region):
            raise StandInRefusal(Reply(409, {"error": f"aborted: could not reserve resource for machine: {said}"}))

    def _create(
        self,
        state: FlyAppState,
        name: str,
        region: str,
        config: Mapping[str, Any],
        *,
        cordoned: bool,
        launch: bool = True,
    ) -> FlyMachine:
        machine = FlyMachine(
            id=secrets.token_hex(7),
            app=state.name,
            name=name,
            region=region,
            config=json.loads(json.dumps(config)),
            version=new_version(),
            folder=Path(self._folder.name),
            cordoned=cordoned,
            created_at=now(),
            updated_at=now(),
        )
        state.machines[machine.id] = machine
        machine.digest = self.registry.child(image_digest(machine))
        if launch:
            self._boot(state, machine)
        return machine

    def restart(self, machine: FlyMachine) -> None:
        """What `fly machine restart` does."""
        self._boot(self.apps[machine.app], machine, again=True)

    def _boot(self, state: FlyAppState, machine: FlyMachine, *, again: bool = False) -> None:
        if not again or self.restart_applies_secrets:
            machine.secrets = dict(state.secrets)
        machine.digest = self.registry.child(image_digest(machine))
        image: MachineImage | None = self.registry.images.get(machine.digest)
        env = {**(machine.config.get("env") or {}), **machine.secrets}
        known = {"FLY_APP_NAME": state.name, "FLY_MACHINE_ID": machine.id, "FLY_REGION": machine.region}
        led = {name: _FLYCAST.sub(self._inside, value) for name, value in env.items()}
        machine.boot(image, {**led, **known}, self.boot_s)

    def _inside(self, named: re.Match[str]) -> str:
        """Where a name inside leads; one that leads nowhere, as at Fly, stays a name."""
        state = self.apps.get(named[1])
        leads = state is None or state.leads_inside(int(named[2]))
        return f"127.0.0.1:{self.proxy.port(named[1])}" if leads else named[0]

    def _update(self, asked: Asked) -> Reply:
        machine, wanted = self._changeable(asked), asked.read(MachineRequest)
        if wanted.current_version not in ("", machine.version):
            said = f"current_version {wanted.current_version} is not {machine.version}"
            raise self._refuse(409, f"aborted: {said}")
        self._reserve(machine.region)
        machine.kill()
        machine.config = json.loads(json.dumps(wanted.config or machine.config))
        machine.version, machine.retries, machine.checks = new_version(), 0, {}
        self._boot(self._app(asked), machine)
        return Reply(200, machine.shown())

    def _delete(self, asked: Asked) -> Reply:
        machine = self._changeable(asked)
        force = asked.query.get("force") == "true"
        if machine.state not in ("stopped", "failed", "created") and not force:
            raise self._refuse(412, "failed_precondition: unable to destroy machine, not currently stopped")
        machine.kill()
        self._app(asked).machines.pop(machine.id, None)
        return Reply(200)

    def _start(self, asked: Asked) -> Reply:
        machine = self._changeable(asked)
        if machine.state not in ("started", "starting"):
            self._reserve(machine.region)
            self._boot(self._app(asked), machine, again=bool(machine.events))
        return Reply(200)

    def _stop(self, asked: Asked) -> Reply:
        wanted = asked.read(StopRequest)
        self._changeable(asked).halt(wanted.signal, duration_s(wanted.timeout))
        return Reply(200)

    def _cordon(self, asked: Asked, *, cordoned: bool) -> Reply:
        self._changeable(asked).cordon(cordoned, self.proxy_lag_s)
        return Reply(200)

    def _wait(self, asked: Asked) -> Reply:
        machine, state = self._machine(asked), asked.query.get("state", "started")
        end = time.monotonic() + asked.number("timeout", 60, 1, 60)
        while machine.state != state:
            if time.monotonic() >= end:
                raise self._refuse(408, f"deadline_exceeded: machine is {machine.state}")
            time.sleep(0.02)
        return Reply(200, {"ok": True, "state": machine.state, "version": machine.version})

    # --- leases and metadata ---

    def _lease(self, asked: Asked) -> Reply:
        machine, wanted = self._reached(asked), asked.read(LeaseRequest)
        with self._lock:
            standing, nonce = standing_lease(machine), asked.headers.get(NONCE, "")
            if standing and nonce != standing["nonce"]:
                said = f"lease currently held by {standing['owner']}, expires at {standing['expires_at']}"
                raise self._refuse(409, said)
            expires = time.time() + wanted.ttl
            machine.lease = {
                "nonce": nonce if standing else secrets.token_hex(6),
                "expires_at": int(expires),
                "until": expires,
                "owner": "standin@dodai",
                "description": wanted.description,
                "version": machine.version,
            }
            return Reply(201, lease_shown(machine.lease))

    def _show_lease(self, asked: Asked) -> Reply:
        lease = standing_lease(self._machine(asked))
        if lease is None:
            raise self._refuse(404, "lease not found")
        return Reply(200, lease_shown(lease))

    def _drop_lease(self, asked: Asked) -> Reply:
        self._changeable(asked).lease = None
        return Reply(200)

    def _metadata(self, machine: FlyMachine) -> dict[str, str]:
        found: dict[str, str] = machine.config.setdefault("metadata", {})
        return found

    def _patch_metadata(self, asked: Asked) -> Reply:
        machine, wanted = self._changeable(asked), asked.read(MetadataRequest)
        if wanted.machine_version not in ("", machine.version):
            raise self._refuse(412, "machine_version does not match")
        machine.label(wanted.metadata)
        return Reply(204)

    # --- secrets and certificates ---

    def _list_secrets(self, asked: Asked) -> Reply:
        return Reply(200, {"secrets": (state := self._app(asked)).digests(state.secrets)})

    def _set_secrets(self, asked: Asked) -> Reply:
        state, values = self._app(asked), dict(asked.read(SecretsRequest).values)
        if any(not isinstance(value, str | None) for value in values.values()):
            raise self._refuse(400, "a secret is not a string")
        told = state.set_secrets(values)
        return Reply(200, {"secrets": told, "version": state.version, "Version": state.version})

    def _certificate(self, asked: Asked) -> Reply:
        self._app(asked)
        found = self.certificates.get(asked.params["hostname"])
        if found is None:
            raise self._refuse(404, "certificate not found")
        return Reply(200, {"hostname": asked.params["hostname"], **found})
