"""An app of the stand-in and its machines: the record that the API shows, the process behind it, its health checks."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import secrets
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.engine.loopback_port import loopback_port
from dodai.standins.fly.image_registry import MachineImage

KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH")
RETRIES, EVENTS = 2, 20
_HEAD = 512
"""Fly keeps the start of what a check was answered."""


@dataclass(slots=True)
class FlyMachine:
    """One machine: everything the API says of it, and what runs."""

    id: str
    app: str
    name: str
    region: str
    config: dict[str, Any]
    version: str
    folder: Path
    cordoned: bool = False
    state: str = "created"
    created_at: str = ""
    updated_at: str = ""
    digest: str = ""
    port: int = 0
    lease: dict[str, Any] | None = None
    events: list[dict[str, Any]] = field(default_factory=list)
    checks: dict[str, dict[str, Any]] = field(default_factory=dict)
    due: dict[str, float] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    light_version: str = ""
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    stopping: bool = False
    boots: int = 0
    retries: int = 0
    host_status: str = "ok"
    noticed_at: float = 0.0
    guard: threading.RLock = field(default_factory=threading.RLock)

    def event(self, kind: str, status: str, **request: Any) -> None:
        stamp = int(time.time() * 1000)
        entry = {"id": f"{self.id}-{len(self.events)}", "type": kind, "status": status, "source": "flyd"}
        self.events.insert(0, {**entry, "timestamp": stamp, "request": request})
        del self.events[EVENTS:]
        self.updated_at = now()

    def label(self, values: Mapping[str, str]) -> None:
        """Add to its metadata; an empty value removes its key."""
        kept = {**(self.config.get("metadata") or {}), **values}
        self.config["metadata"] = {name: value for name, value in kept.items() if value}

    def cordon(self, cordoned: bool, lag_s: float) -> None:
        """Or uncordon: what is shown changes at once, and after `lag_s` every proxy knows of it."""
        if cordoned != self.cordoned:
            self.cordoned, self.noticed_at = cordoned, time.monotonic() + lag_s
        self.event("cordon" if cordoned else "uncordon", "done")

    def is_led_to(self, proxy: int) -> bool:
        """Whether that proxy, of several, leads traffic here: none knows at once that a machine is let in, every other
        one knows at once that it is taken out.
        """
        late = time.monotonic() < self.noticed_at
        return (self.cordoned and proxy % 2 == 1) if late else not self.cordoned

    # --- its process ---

    def boot(self, image: MachineImage | None, env: Mapping[str, str], boot_s: float) -> None:
        """Start the image's program; the API answers before it runs."""
        with self.guard:
            self.state, self.stopping = "starting", False
            self.boots += 1
            self.event("start", "starting")
        threading.Thread(target=self._run, args=(self.boots, image, dict(env), boot_s), daemon=True).start()

    def _run(self, boot: int, image: MachineImage | None, env: dict[str, str], boot_s: float) -> None:
        time.sleep(boot_s)
        if image is None:
            with self.guard:
                self.state = "failed"
                self.event("launch", "failed", reason="image not found")
            return
        if image.light:
            with self.guard:
                if not self.stopping and boot == self.boots:
                    self.light_version = env.get("DODAI_RELEASE", "")
                    self.state = "started"
                    self.event("start", "started")
            return
        while self._once(boot, image, env):
            time.sleep(0.2)

    def _once(self, boot: int, image: MachineImage, env: Mapping[str, str]) -> bool:
        """Run the program to its end; whether it is to be started again. One that was booted anew meanwhile is not."""
        with self.guard:
            if self.stopping or boot != self.boots:
                return False
            self.port = self.port or loopback_port()
            kept = {name: os.environ[name] for name in KEPT if name in os.environ}
            with (self.folder / f"{self.app}-{self.id}.log").open("ab") as log:
                try:
                    process = subprocess.Popen(
                        image.command,
                        cwd=image.folder,
                        env={**kept, **image.env, **env, "PORT": str(self.port)},
                        stdin=subprocess.DEVNULL,
                        stdout=log,
                        stderr=log,
                        start_new_session=True,
                    )
                except OSError as error:
                    self.state = "failed"
                    self.event("launch", "failed", reason=str(error))
                    return False
            self.process, self.state = process, "started"
            self.event("start", "started")
        code = process.wait()
        with self.guard:
            policy = self.config.get("restart") or {}
            asked = self.stopping or boot != self.boots
            again = not asked and code != 0 and policy.get("policy", "on-failure") != "no"
            again = again and self.retries < policy.get("max_retries", RETRIES)
            exit_event = {"exit_code": code, "requested_stop": asked, "restarting": again}
            self.event("exit", "stopped", MonitorEvent={"exit_event": exit_event})  # where fly-go looks first
            if boot != self.boots:
                return False
            self.retries += 1
            self.process, self.checks = None, {}
            self.state = "starting" if again else "stopped"
        return again

    def halt(self, signal_name: str, timeout_s: float) -> None:
        """Ask it to end, and end it when its time is over; the API answers before it has ended."""
        with self.guard:
            self.stopping, process = True, self.process
            if process is None:
                self.state = "stopped" if self.state not in ("failed", "destroyed") else self.state
                return
            self.state = "stopping"
            self.event("stop", "stopping")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, getattr(signal, signal_name))
        threading.Thread(target=_end, args=(process, timeout_s), daemon=True).start()

    def kill(self) -> None:
        """End it at once and wait until it has."""
        with self.guard:
            self.stopping, process = True, self.process
        if process is not None:
            _end(process, 0.0)

    # --- its checks ---

    def ask(self) -> None:
        """Ask every check that is due, really."""
        for name, check in self.wanted_checks():
            if self.state != "started" or time.monotonic() < self.due.get(name, 0.0):
                continue
            self.due[name] = time.monotonic() + duration_s(check.get("interval", "15s"))
            status, output = self._asked(check)
            was = self.checks.get(name, {})
            since = was["updated_at"] if was.get("status") == status else now()  # Fly's time is that of a change
            self.checks[name] = {"name": name, "status": status, "output": output[:_HEAD], "updated_at": since}

    def wanted_checks(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        for index, service in enumerate(self.config.get("services") or []):
            for number, check in enumerate(service.get("checks") or []):
                yield f"servicecheck-{index:02}-{check.get('type', 'tcp')}-{number}", check
        yield from (self.config.get("checks") or {}).items()

    def _asked(self, check: Mapping[str, Any]) -> tuple[str, str]:
        if self.light_version:
            return "passing", f'200 OK Output: "{{"version": "{self.light_version}"}}"'
        timeout = duration_s(check.get("timeout", "2s"))
        if check.get("type") != "http":
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout).close()
            except OSError as error:
                return "critical", f"connect: {error}"
            return "passing", "Success"
        url = f"http://127.0.0.1:{self.port}{check.get('path', '/')}"
        headers = {each["name"]: each["values"][0] for each in check.get("headers") or []}
        try:
            request = urllib.request.Request(url, headers=headers, method=check.get("method", "GET").upper())
            with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310 - loopback
                return "passing", f'{answer.status} OK Output: "{answer.read(_HEAD).decode("utf-8", "replace")}"'
        except urllib.error.HTTPError as error:
            return "critical", f'{error.code} Output: "{error.read(_HEAD).decode("utf-8", "replace")}"'
        except OSError as error:
            return "critical", f"{error}"

    @property
    def is_well(self) -> bool:
        """Whether traffic may be led here as far as its process is concerned: no check fails, and its host answers."""
        well = all(each["status"] == "passing" for each in self.checks.values()) and self.host_status == "ok"
        return self.state == "started" and well

    @property
    def routable(self) -> bool:
        """Whether it is well and not cordoned; proxies know of that later."""
        return self.is_well and not self.cordoned

    def shown(self) -> dict[str, Any]:
        """As the API shows it."""
        checks = list(self.checks.values())
        waiting = [name for name, _ in self.wanted_checks() if name not in self.checks]
        checks += [{"name": n, "status": "critical", "output": "", "updated_at": self.updated_at} for n in waiting]
        repository = str(self.config.get("image", "")).partition("@")[0]
        registry, _, name = repository.partition("/")
        found = {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "region": self.region,
            "version": self.version,
            "instance_id": self.version,
            "private_ip": "fdaa:0:1::3",
            "config": self.config,
            "image_ref": {"registry": registry, "repository": name, "digest": self.digest},
            "created_at": self.created_at,
            "updated_at": self.updated_at,
            "cordoned": self.cordoned,
            "events": self.events,
            "checks": checks if self.state == "started" else [],
            "host_status": self.host_status,
        }
        if self.host_status != "ok":  # pieces of its configuration are known elsewhere; its host is not asked
            del found["config"]
            kept = {name: self.config[name] for name in ("image", "metadata") if name in self.config}
            found |= {"incomplete_config": kept, "image_ref": {}, "checks": []}
        if self.lease:
            found["lease"] = {name: self.lease[name] for name in ("owner", "description", "expires_at")}
        return found


def _end(process: subprocess.Popen[bytes], timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5)


def duration_s(text: Any) -> float:
    """Seconds of a Go duration (`500ms`, `10s`, `1m`), or of a number of nanoseconds."""
    if isinstance(text, int):
        return text / 1e9
    found = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|s|m|h)?", str(text).strip())
    if not found:
        return 15.0
    return float(found[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}[found[2] or "s"]


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def standing_lease(machine: FlyMachine) -> dict[str, Any] | None:
    """The lease of a machine while it lives."""
    lease = machine.lease
    return lease if lease and lease["until"] > time.time() else None


def lease_shown(lease: Mapping[str, Any]) -> dict[str, Any]:
    """As the examples of https://fly.io/docs/machines/api/machines-resource/ have it, and superfly/fly-go reads it."""
    return {"status": "success", "data": {name: value for name, value in lease.items() if name != "until"}}


def new_version() -> str:
    """Machine versions look like ULIDs: they sort by time."""
    return f"{int(time.time() * 1000):012X}{secrets.token_hex(7).upper()}"


def image_digest(machine: FlyMachine) -> str:
    return str(machine.config["image"]).partition("@")[2]


@dataclass(slots=True)
class FlyAppState:
    """One app of the account."""

    name: str
    machines: dict[str, FlyMachine] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    secrets_at: dict[str, str] = field(default_factory=dict)
    version: int = 0
    half_secrets: bool = False
    private: bool = False

    def addresses(self) -> list[dict[str, Any]]:
        """What `fly launch` allocates, and a private one for who asked for it."""
        public = [{"ip": "66.241.124.11", "shared": True}, {"ip": "2a09:8280:1::2d:1111", "shared": False}]
        flycast = {"ip": "fdaa:2:45b:0:1::11", "shared": False, "network": {"name": "", "org_slug": "standin"}}
        return [
            {"created_at": "", "region": "global", **one} for one in (*public, *([flycast] if self.private else []))
        ]

    def leads_inside(self, port: int) -> bool:
        """Whether `APP.flycast:PORT` leads somebody who speaks plainly: without an address there is no name."""
        services = [service for one in self.machines.values() for service in one.config.get("services") or []]
        ports = [each for service in services for each in service.get("ports") or [] if each.get("port") == port]
        plain = [not each.get("force_https") and "tls" not in (each.get("handlers") or []) for each in ports]
        return self.private and all(plain)

    def set_secrets(self, values: Mapping[str, str | None]) -> list[dict[str, str]]:
        """Set them, and remove those without a value; what the reply says of them."""
        told = self.digests({name: value for name, value in values.items() if value})
        for name, value in list(values.items())[: len(values) // 2 if self.half_secrets else len(values)]:
            if value:
                self.secrets[name], self.secrets_at[name] = value, now()
            else:
                self.secrets.pop(name, None)
        self.version += 1
        return told

    def digests(self, values: Mapping[str, str]) -> list[dict[str, str]]:
        """Fly's digests cannot be made by anybody else: they are for seeing a change."""
        return [
            {
                "name": name,
                "digest": hashlib.sha256(f"{self.name}/{name}/{value}".encode()).hexdigest()[:16],
                "created_at": self.secrets_at.get(name, now()),
            }
            for name, value in values.items()
        ]
