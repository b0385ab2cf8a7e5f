"""A cloud of two regions on this machine: an instance is a process, the router another one, the state a file."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from dodai.core.errors import DodaiError
from dodai.operations.ports import (
    ComputeStatus,
    DatabaseSeen,
    EdgeSpec,
    EdgeState,
    Instance,
    RestorePoints,
    ServiceProbe,
    ServiceSpec,
    ServiceStatus,
)
from dodai.operations.provider import Opening, Provider
from dodai.providers.local.codes import STALE_TOKEN
from dodai.providers.local.release_tree import ReleaseTrees
from dodai.providers.local.secret_file import SecretFile

REGIONS = ("ams", "nrt")
ROUTER = Path(__file__).with_name("router.py")
EMPTY: dict[str, Any] = {"token": 0, "machines": [], "live": {}, "edge": {}}


@dataclass(frozen=True)
class Cloud:
    """What the control plane of a vendor would keep, in one file below `folder`."""

    folder: Path

    @property
    def file(self) -> Path:
        return self.folder / "toy.json"

    def state(self) -> dict[str, Any]:
        with contextlib.suppress(FileNotFoundError):
            return json.loads(self.file.read_text())
        return json.loads(json.dumps(EMPTY))

    @contextmanager
    def changing(self, token: int | None) -> Iterator[dict[str, Any]]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "toy.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            state = self.state()
            if (token or state["token"]) < state["token"]:
                raise DodaiError(STALE_TOKEN, f"`{token}` is older than `{state['token']}`", "stop", exit_code=75)
            state["token"] = token or state["token"]
            yield state
            partial = self.file.with_suffix(".new")
            partial.write_text(json.dumps(state))
            partial.replace(self.file)


@dataclass(frozen=True)
class ToyCompute:
    """One machine of every release of a service in each region."""

    cloud: Cloud
    env: str
    token: int | None = None

    def under(self, token: int, /) -> ToyCompute:
        return replace(self, token=token)

    def newest_token(self) -> int:
        return int(self.cloud.state()["token"])

    async def prepare(self) -> None:
        """A vendor is there already."""

    async def address(self, service: str, /) -> str:
        with self.cloud.changing(self.token):
            return f"{service}.internal:80"

    async def start(
        self, spec: ServiceSpec, release: str, artifact: str, env: Mapping[str, str], /, *, settings: str = ""
    ) -> Instance:
        with self.cloud.changing(self.token) as state:
            there = {one["region"] for one in _machines(state, spec.name, release) if one["settings"] == settings}
            for region in REGIONS:
                if region not in there:
                    machine = self._boot(spec, release, artifact, env, region)
                    state["machines"].append({**machine, "settings": settings})
        return Instance(service=spec.name, release=release, state="starting")

    def _boot(self, spec: ServiceSpec, release: str, artifact: str, env: Mapping[str, str], region: str) -> Any:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
        told = {"DODAI_RELEASE": release, "DODAI_SERVICE": spec.name, "PORT": str(port), "PATH": os.environ["PATH"]}
        with (self.cloud.folder / f"{spec.name}-{release}.log").open("ab") as log:
            process = subprocess.Popen(
                spec.command, cwd=artifact, env={**told, **env}, stdout=log, stderr=log, start_new_session=True
            )
        return {"service": spec.name, "release": release, "region": region, "port": port, "pid": process.pid}

    async def probe(
        self, service: str, release: str, /, *, settings: str = "", wait_s: float = 0.0, consecutive: int = 1
    ) -> ServiceProbe:
        del consecutive
        end = time.monotonic() + wait_s
        while True:
            found = await asyncio.to_thread(self._asked, service, release, settings)
            if found.ready or time.monotonic() >= end or found.state == "absent":
                return found
            await asyncio.sleep(0.05)

    def _asked(self, service: str, release: str, settings: str) -> ServiceProbe:
        """As ready as the least ready machine."""
        machines = _machines(self.cloud.state(), service, release, settings)
        if not machines:
            return ServiceProbe(state="absent")
        answers = [_ready(one["port"]) for one in machines]
        ready = sum(answer is not None for answer in answers)
        if ready < len(answers):
            return ServiceProbe(state="not_ready", detail=f"{ready} of {len(answers)} machines are ready")
        return ServiceProbe(state="ready", version=str(answers[0]), detail=f"{ready} machines")

    async def switch(self, service: str, release: str, /, *, settings: str = "") -> None:
        _perhaps_die("switch")
        with self.cloud.changing(self.token) as state:
            state["live"][service] = _name(_machines(state, service, release, settings)[-1])

    async def keep(self) -> None:
        """The vendor starts its machines again by itself: what is live is what comes back."""

    async def stop(self, service: str, release: str, drain_s: float | None = None, /, *, settings: str = "") -> None:
        del drain_s
        with self.cloud.changing(self.token) as state:
            for one in _machines(state, service, release, settings):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(one["pid"], signal.SIGKILL)
                state["machines"].remove(one)

    async def tail(self, name: str, release: str = "", /, lines: int = 40) -> tuple[str, ...]:
        log = self.cloud.folder / f"{name}-{release}.log"
        return tuple(log.read_text().splitlines()[-lines:]) if log.exists() else ()

    async def status(self) -> ComputeStatus:
        state = self.cloud.state()
        names = dict.fromkeys([*state["live"], *(one["service"] for one in state["machines"])])
        return ComputeStatus(
            env=self.env,
            running=bool(state["machines"]),
            services=tuple(_status(state, name) for name in names),
            fencing_token=state["token"],
            kept=state["live"],
        )


def _machines(state: dict[str, Any], service: str, release: str, settings: str = "") -> list[dict[str, Any]]:
    found = [one for one in state["machines"] if (one["service"], one["release"]) == (service, release)]
    return [one for one in found if settings in ("", one["settings"]) or one["settings"].startswith(f"{settings}-")]


def _name(machine: dict[str, Any]) -> str:
    return f"{machine['release']}@{machine['settings']}"


def _status(state: dict[str, Any], name: str) -> ServiceStatus:
    live = state["live"].get(name, "")
    instances = tuple(
        Instance(
            service=name,
            release=one["release"],
            state="running",
            region=one["region"],
            settings=one["settings"],
            live=_name(one) == live,
            address=f"127.0.0.1:{one['port']}",
        )
        for one in state["machines"]
        if one["service"] == name
    )
    return ServiceStatus(name=name, address=f"{name}.internal:80", release=live.partition("@")[0], instances=instances)


def _ready(port: int) -> str | None:
    """The version that a machine says it runs; None while it is not ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return str(json.loads(answer.read())["version"])
    except (OSError, ValueError):
        return None


def _perhaps_die(verb: str) -> None:
    if os.environ.get("TOY_DIES_AT") == verb:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class ToyEdge:
    """A router process that sends each request to the next machine of the live release."""

    cloud: Cloud
    token: int | None = None

    def under(self, token: int, /) -> ToyEdge:
        return replace(self, token=token)

    async def observe(self) -> EdgeState:
        return EdgeState(url=self.cloud.state()["edge"].get("url", ""))

    async def apply(self, spec: EdgeSpec, /) -> EdgeState:
        with self.cloud.changing(self.token) as state:
            state["edge"] = state["edge"] or self._route(spec.routes[0][1])
        return await self.observe()

    def _route(self, service: str) -> dict[str, Any]:
        words = [sys.executable, str(ROUTER), str(self.cloud.file), service]
        pipe, null = subprocess.PIPE, subprocess.DEVNULL
        router = subprocess.Popen(words, stdout=pipe, stderr=null, start_new_session=True, text=True)
        assert router.stdout is not None
        return {"url": f"http://127.0.0.1:{router.stdout.readline().strip()}", "pid": router.pid}


@dataclass(frozen=True)
class NoDatabase:
    """What an application that uses no database is given."""

    @property
    def restore_points(self) -> RestorePoints:
        self._none()

    def url(self, *, direct: bool = True) -> str:
        del direct
        return ""

    @contextmanager
    def serving(self) -> Iterator[str]:
        self._none()
        yield ""

    async def running(self) -> str:
        return ""

    async def start(self, token: int, /) -> None:
        del token
        self._none()

    async def clock_offset_s(self) -> float | None:
        return None

    def inspect(self) -> DatabaseSeen:
        self._none()

    def _none(self) -> NoReturn:
        raise AssertionError("the toy cloud has no database")


def _cloud(opening: Opening) -> Cloud:
    return Cloud(opening.folder / "toy")


PROVIDER = Provider(
    compute=lambda opening: ToyCompute(_cloud(opening), opening.config.name),
    artifacts=lambda opening: ReleaseTrees(opening.folder / "releases"),
    database=lambda _: NoDatabase(),
    edge=lambda opening: ToyEdge(_cloud(opening)),
    secrets=lambda opening: SecretFile(opening.folder),
    together={"edge": "compute"},
)
