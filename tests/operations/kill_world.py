"""The real deploy plan, journal and lock over a Host that is a file: killed at any point, its effects stay countable."""

# The fakes have the signatures of what they stand for.
# ruff: noqa: ARG002
from __future__ import annotations

import asyncio
import fcntl
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tests.engine.world import Spec, World, make_step

from dodai.core.errors import DodaiError
from dodai.engine.execute import execute, resume
from dodai.engine.journal import SqliteJournal
from dodai.engine.outcome import Outcome
from dodai.engine.plan import Plan, PlanRequest
from dodai.engine.stop import Stop
from dodai.operations.ports import ComputeStatus, EdgeSpec, EdgeState, Instance, ServiceProbe, ServiceStatus
from dodai.operations.programs import Programs
from dodai.operations.release import ReleaseRecord, RollbackTrial
from dodai.operations.run import DeployPorts, deploy
from dodai.operations.run.release_log import ReleaseLog
from dodai.providers.local.codes import STALE_TOKEN
from dodai.providers.postgres.control import ControlConnection, PostgresJournal, PostgresLease
from dodai.wiring.find_project import load_project

QUIET = 1_000_000
MANIFEST = b"""[project]
name = "killed"
[env.staging]
[service.backend]
command = ["backend"]
[service.web]
command = ["web"]
public = true
needs = ["backend"]
"""


class Points:
    """Where a process may be killed: it dies at point number `at`; `passed` counts."""

    def __init__(self, at: int = QUIET) -> None:
        self.at = at
        self.names: list[str] = []

    async def reach(self, name: str) -> None:
        if len(self.names) == self.at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.names.append(name)


def telling(names: list[str]) -> list[int]:
    """The points that differ: between a write and the next, where nothing happens, after one is before the other."""
    after = ("after applying", "after undoing", "after closed", "after halted", "after begin", "after acquire")
    return [n for n, name in enumerate(names) if name.startswith("before ") or name in after]


@dataclass(frozen=True)
class FileHost:
    """Compute and edge whose instances are lines in a file. It fences like the real one; every change is one line of `log`."""

    folder: Path
    points: Points
    token: int | None = None
    newest: Any = None  # what the control database has granted, asked at each change

    def under(self, token: int) -> FileHost:
        return replace(self, token=token)

    async def address(self, service: str, port: int = 0) -> str:
        async with self._changing():
            return "127.0.0.1:1"

    async def start(self, spec, release, tree, env, *, settings="") -> Instance:
        there = f"{spec.name} {release}" in self.state()["instances"]  # as the real one: no second process
        async with self._changing("" if there else f"start {spec.name} {release}") as state:
            state["instances"][f"{spec.name} {release}"] = "running"
        return Instance(service=spec.name, release=release, state="running")

    async def switch(self, service, release, *, settings="") -> None:
        async with self._changing(f"switch {service} {release}") as state:
            state["live"][service] = release

    async def stop(self, service, release, drain_s=None, *, settings="") -> None:
        async with self._changing(f"stop {service} {release}") as state:
            state["instances"].pop(f"{service} {release}", None)

    async def keep(self) -> None:
        async with self._changing() as state:
            state["kept"] = dict(state["live"])

    async def observe(self) -> EdgeState:
        return EdgeState(url=self.state()["edge"])

    async def apply(self, spec: EdgeSpec) -> EdgeState:
        async with self._changing("edge") as state:
            state["edge"] = "http://edge"
        return await self.observe()

    async def probe(self, service, release, *, settings="", wait_s=0.0, consecutive=1) -> ServiceProbe:
        await self.points.reach("probe")
        if f"{service} {release}" not in self.state()["instances"]:
            return ServiceProbe(state="absent")
        return ServiceProbe(state="not_ready" if release.startswith("bad") else "ready", version=release)

    async def status(self) -> ComputeStatus:
        state = self.state()
        names = dict.fromkeys([*state["live"], *(key.split()[0] for key in state["instances"])])
        services = tuple(
            ServiceStatus(
                name=name,
                release=state["live"].get(name, ""),
                instances=tuple(
                    Instance(
                        service=name,
                        release=key.split()[1],
                        state="running",
                        live=state["live"].get(name) == key.split()[1],
                    )
                    for key in state["instances"]
                    if key.split()[0] == name
                ),
            )
            for name in names
        )
        kept = {name: f"{release}@" for name, release in state.get("kept", {}).items()}
        return ComputeStatus(env="staging", running=True, services=services, kept=kept)

    def state(self) -> dict[str, Any]:
        try:
            return json.loads((self.folder / "host.json").read_text())
        except FileNotFoundError:
            return {"token": 0, "instances": {}, "live": {}, "edge": ""}

    def preset(self, release: str) -> None:
        """As after a deploy of `release` that nobody recorded."""
        lines = [f"{verb} {name} {release} 0 0" for name in ("backend", "web") for verb in ("start", "switch")]
        (self.folder / "host.log").write_text("".join(f"{line}\n" for line in lines))
        live = dict.fromkeys(("backend", "web"), release)
        state = {"token": 0, "instances": {f"{n} {release}": "running" for n in live}, "live": live, "edge": "http://e"}
        (self.folder / "host.json").write_text(json.dumps(state))

    def log(self) -> list[str]:
        path = self.folder / "host.log"
        return path.read_text().splitlines() if path.exists() else []

    @asynccontextmanager
    async def _changing(self, effect: str = "") -> AsyncIterator[dict[str, Any]]:
        await self.points.reach(f"before {effect}")
        with self._alone():
            state = self.state()
            if self.token is not None and self.token < state["token"]:
                raise DodaiError(STALE_TOKEN, f"`{self.token}` is older than `{state['token']}`", "stop", exit_code=75)
            state["token"] = max(state["token"], self.token or 0)
            yield state
            newest = self.newest() if self.newest else 0
            fresh = self.folder / "host.new"
            fresh.write_text(json.dumps(state))
            fresh.replace(self.folder / "host.json")
            if effect:
                with (self.folder / "host.log").open("a") as log:
                    log.write(f"{effect} {self.token} {newest}\n")
        await self.points.reach(f"after {effect}")

    @contextmanager
    def _alone(self) -> Iterator[None]:
        fd = os.open(self.folder / "host.lock", os.O_CREAT | os.O_RDWR)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            yield
        finally:
            os.close(fd)


class PointedJournal(PostgresJournal):
    """The real journal, with a point before and after every write."""

    points: Points = Points()

    async def begin(self, *args: Any, **options: Any) -> None:
        await self.points.reach("before begin")
        await super().begin(*args, **options)
        await self.points.reach("after begin")

    async def append(self, plan_id: str, kind: Any, **options: Any) -> Any:
        await self.points.reach(f"before {kind}")
        event = await super().append(plan_id, kind, **options)
        await self.points.reach(f"after {kind}")
        return event


class PointedLease(PostgresLease):
    """The real lock, with a point before and after taking it, checking it and giving it back."""

    points: Points = Points()

    async def acquire(self, floor: int = 0) -> int:
        await self.points.reach("before acquire")
        token = await super().acquire(floor)
        await self.points.reach("after acquire")
        return token

    async def held(self) -> bool:
        held = await super().held()
        await self.points.reach("after held")
        return held

    async def release(self) -> None:
        await self.points.reach("before release")
        await super().release()


class ShortLog(ReleaseLog):
    """The real book; the facts of a release are made up."""

    async def gather(self, release: str) -> ReleaseRecord:
        return ReleaseRecord(release, "config")

    async def prune(self) -> tuple[str, ...]:
        return ()


class Still:
    """Everything a deploy asks that has nothing to do with being killed."""

    def path(self, release: str) -> str:
        return f"/trees/{release}"

    def reference(self, release: str, service: str) -> str:
        return self.path(release)

    def proven(self, release: str) -> str:
        return self.path(release)

    async def missing(self) -> tuple[str, ...]:
        return ()

    async def complete(self) -> None: ...

    async def of_service(self, service: Any, release: str = "") -> Mapping[str, str]:
        return {}

    def secret_names(self, service: Any) -> tuple[str, ...]:
        return ()

    async def own_variables(self, service: Any) -> Mapping[str, str]:
        return service.env

    def digest(self, told: Mapping[str, str]) -> str:
        return ""

    async def reach(self) -> None:
        """Nobody else has a part in it."""

    async def sign_in(self) -> tuple[str, ...]:
        return ()

    async def free_bytes(self) -> int:
        return 2**40

    async def clock_offset_s(self) -> float | None:
        return 0.0

    async def pending(self) -> tuple[str, ...]:
        return ()

    async def applied(self) -> tuple[str, ...]:
        return ()

    async def trial(self, release: str) -> RollbackTrial:
        return RollbackTrial("unknown")


@dataclass
class Killed:
    """One environment: an env name of its own in the shared control database, a folder for Host, world and copy."""

    folder: Path
    dsn: str
    env: str
    points: Points = field(default_factory=Points)
    fenced: bool = True
    ttl_s: float = 600.0

    @property
    def host(self) -> FileHost:
        return FileHost(self.folder, self.points)

    @property
    def world(self) -> World:
        return World(self.folder / "world")

    @contextmanager
    def journal(self) -> Iterator[PointedJournal]:
        with (
            SqliteJournal(self.folder / "copy.sqlite") as copy,
            PointedJournal(ControlConnection(self.dsn, self.env, 2.0), copy) as journal,
        ):
            journal.points = self.points
            yield journal

    def lease(self, actor: str) -> PointedLease:
        async def fence(token: int) -> None:
            await self.host.under(token).address("web")

        session = ControlConnection(self.dsn, self.env, 2.0)
        lease = PointedLease(session, actor, "dodai", fence=fence if self.fenced else None, ttl_s=self.ttl_s)
        lease.points = self.points
        return lease

    def build(self, request: PlanRequest) -> Plan:
        policy = load_project(MANIFEST, self.folder).policy
        still: Any = Still()
        ports = DeployPorts(
            compute=self.host,
            artifacts=still,
            settings=still,
            secrets=still,
            database=None,
            migrate=(make_step(Spec("migrate", kind="forward"), self.world, Stop()),),
            edge=self.host,
            edge_spec=EdgeSpec(routes=(("/", "web"),)),
            programs=Programs("python"),
            browser=still,
            surroundings=still,
            book=ShortLog(self),
            schema=still,
        )
        return deploy(request, policy, ports)

    async def request(self, kind: str, release: str) -> PlanRequest:
        live = {f"previous:{one.name}": one.release for one in (await self.host.status()).services if one.release}
        return PlanRequest(kind, self.env, release, "hana", MANIFEST, "config", arguments=live)

    async def run(self, kind: str, release: str, actor: str = "hana") -> Outcome:
        with self.journal() as journal:
            plan = self.build(await self.request(kind, release))
            return await execute(plan, journal, self.lease(actor))

    async def resume(self, *, undo: bool = False, actor: str = "taro") -> Outcome:
        with self.journal() as journal:
            return await resume(journal, self.lease(actor), self.env, self.build, undo=undo)

    def in_child(self, work: Any, at: int) -> int:
        """The exit code of `work` in a process killed at point `at`: -9, 0-4, or 100 + the code's last two digits."""
        pid = os.fork()
        if pid == 0:
            code = 99
            try:
                self.points = Points(at)
                code = asyncio.run(work()).exit_code
            except DodaiError as error:
                code = 100 + int(error.code.id[-2:])
            finally:
                (self.folder / "points").write_text(json.dumps(self.points.names))
                os._exit(code)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

    def operate(self, kind: str, release: str, kills: tuple[int, ...] = (), *, undo: bool = False) -> int:
        """What a person does: give the command, and after each crash resume, until something ends in peace."""
        points = iter((*kills, *(QUIET,) * 20))
        code = self.in_child(lambda: self.run(kind, release), next(points))
        while code == -signal.SIGKILL:
            code = self.in_child(lambda: self.resume(undo=undo), next(points))
            if code == 157 and self.last() != (kind, release):  # it died before its request was written: again
                code = self.in_child(lambda: self.run(kind, release), next(points))
        return code

    def last(self) -> tuple[str, str]:
        entry = self.history()[0] if self.history() else None
        return (entry.request.kind, entry.request.release) if entry else ("", "")

    def history(self) -> tuple[Any, ...]:
        with self.journal() as journal:
            return asyncio.run(journal.history(self.env))

    def passed(self) -> list[str]:
        """The kill points that the last command in peace went through."""
        return json.loads((self.folder / "points").read_text())

    def end_of_host(self) -> dict[str, Any]:
        """What runs and serves, and whether the schema was migrated."""
        state = self.host.state()
        return {
            "live": state["live"],
            "instances": sorted(state["instances"]),
            "migrated": sorted(self.world.present()),
        }

    def end(self) -> dict[str, Any]:
        """What counts in the end: what runs and serves, what was recorded, how the newest plan ended."""
        with self.journal() as journal:
            head = asyncio.run(journal.verify_chain())
            assert head == asyncio.run(journal.copy.verify_chain())
            records = asyncio.run(journal.of_kind("released"))
            newest = asyncio.run(journal.history(self.env))[0]
        return {
            **self.end_of_host(),
            "released": [event.data["release"] for event in records],
            "newest": (newest.request.kind, newest.request.release, newest.state, newest.closed),
        }

    def duplicates(self) -> list[str]:
        """Effects that happened twice: a start of what runs, a switch to what serves, a stop of what is gone."""
        twice, running, live = list(self.world.duplicates()), set[str](), dict[str, str]()
        for line in self.host.log():
            verb, *rest = line.split()[:-2]
            name = " ".join(rest)
            if (verb == "start" and name in running) or (verb == "stop" and name not in running):
                twice.append(line)
            if verb == "switch":
                if live.get(rest[0]) == rest[1]:
                    twice.append(line)
                live[rest[0]] = rest[1]
            if verb == "start":
                running.add(name)
            if verb == "stop":
                running.discard(name)
        return twice


@dataclass(frozen=True)
class Story:
    """What leads up to a command, the command, and whether a crash of it is taken back instead of finished."""

    name: str
    before: tuple[tuple[str, str], ...]
    command: tuple[str, str]
    undo: bool = False
    empty: bool = False


STORIES = (
    Story("first deploy", (), ("deploy", "r1"), empty=True),
    Story("deploy", (), ("deploy", "r2")),
    Story("bad release", (), ("deploy", "bad")),
    Story("rollback", (("deploy", "r1"), ("deploy", "r2")), ("rollback", "r1")),
    Story("resume --undo", (), ("deploy", "r2"), undo=True),
)


@dataclass
class Matrix:
    """Every kill point of a story against the end of a run in peace; `bad` says what was not as it should be."""

    dsn: str
    root: Path
    runs: int = 0
    bad: list[str] = field(default_factory=list)

    def fresh(self, story: Story) -> Killed:
        self.runs += 1
        folder = self.root / f"{story.name.replace(' ', '')}{self.runs}"
        folder.mkdir()
        place = Killed(folder, self.dsn, folder.name)
        if not story.before and not story.empty:
            place.host.preset("r1")
            place.world.write("+migrate")
        for kind, release in story.before:
            assert place.operate(kind, release) == 0
        return place

    def in_peace(self, story: Story) -> tuple[int, dict[str, Any], dict[str, Any], list[int]]:
        """Exit code and end of the command, the state before it, and its telling points."""
        place = self.fresh(story)
        before = place.end() if story.before else {**place.end_of_host(), "released": []}
        code = place.operate(*story.command)
        return code, place.end(), before, telling(place.passed())

    def judge(self, story: Story, kills: tuple[int, ...], peace: tuple[int, dict, dict, list[int]]) -> None:
        """Kill the command, and its resumes, at these points; then the end must be that of a run in peace."""
        code, good, before, _ = peace
        place = self.fresh(story)
        got = place.operate(*story.command, kills=kills, undo=story.undo)
        end, said = place.end(), f"{story.name} killed at {kills}: exit {got}"
        if twice := place.duplicates():
            self.bad.append(f"{said}: twice {twice}")
        same = {key: value for key, value in end.items() if key != "newest"}
        if story.undo:
            ends = ({k: v for k, v in one.items() if k != "newest"} for one in (good, before))
            if same not in tuple(ends) and end["newest"][2] != "needs_person":
                self.bad.append(f"{said}: {end}")
        elif end != good or got not in (code, 157):
            self.bad.append(f"{said}: {end}, in peace {code}: {good}")
