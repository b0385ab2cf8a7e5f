"""The production plan of a small project on Fly, Neon and Cloudflare, killed anywhere and resumed.

The account is one process of stand-ins that lives through all of it, as a real one does: nothing is reset between two
kills, so that whatever a killed command leaves behind is met by the next one. Machines are light ones, their leases last
a second; everything else is what `dodai deploy production` acts through.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.fly_world import served
from tests.support.quick_vendor import quick

from dodai.core.errors import DodaiError
from dodai.engine.execute import execute, resume
from dodai.engine.journal import SqliteJournal
from dodai.engine.lease import FileLease
from dodai.engine.outcome import Outcome
from dodai.operations.environment import Environment
from dodai.operations.run.build import publish
from dodai.operations.run.plans import build, request_for
from dodai.operations.secret import KEY_RINGS, new_value
from dodai.providers.cloudflare import zone_edge
from dodai.providers.cloudflare.cloudflare_api import cloudflare
from dodai.providers.fly import fleet, fly_compute
from dodai.providers.fly.machines_api import fly
from dodai.providers.neon.neon_api import neon
from dodai.providers.postgres.connection import connect
from dodai.standins.cloudflare_standin import CloudflareStandIn
from dodai.standins.fly import FlyStandIn, MachineImage, RegistryStandIn
from dodai.standins.neon_standin import NeonStandIn
from dodai.vendor_api import Api
from dodai.wiring import environments, fly_provider, neon_provider
from dodai.wiring.find_project import find_project

ENV, ALL, LEASE_S, REGIONS = "production", frozenset({"*"}), 1.0, ("nrt", "ams")
APPS = {"web": "killed-web", "backend": "killed-backend"}
MANIFEST = """[project]
name = "killed"
[env.production]
compute = "fly"
database = "neon"
edge = "cloudflare"
public_origins = ["https://quiz.example.com"]
[env.production.fly]
apps = {{ web = "killed-web", backend = "killed-backend" }}
[env.production.neon]
project = "quiet-river-123456"
role = "quiz_owner"
database = "quiz"
[env.production.cloudflare]
zone = "{zone}"
origin = "killed-web.fly.dev"
[database]
used_by = ["backend"]
[migrations]
folder = "db/migrations"
[edge]
static = ["/{edge}/*"]
[service.backend]
command = ["backend"]
drain = "1s"
health = {{ consecutive = 1, timeout = "15s" }}
[service.web]
command = ["web"]
public = true
needs = ["backend"]
drain = "1s"
health = {{ consecutive = 1, timeout = "15s" }}
# {number}
"""


# --- where a command may be killed ---


@dataclass
class Points:
    """The process dies at point number `at`; `names` are those it passed."""

    at: int = -1
    names: list[str] = field(default_factory=list)
    guard: threading.Lock = field(default_factory=threading.Lock)

    def reach(self, name: str) -> None:
        with self.guard:
            if len(self.names) == self.at:
                os.kill(os.getpid(), signal.SIGKILL)
            self.names.append(name)


TELLING_AFTER = frozenset({"begin", "applying", "undoing", "closed", "halted"})
"""Behind these something happens; what stands behind any other record is the point before the next one."""


@contextmanager
def instrumented(points: Points) -> Iterator[None]:
    """Points around every record, the lock, and every request that changes something at a vendor."""
    begin, append, acquire, attempt = SqliteJournal.begin, SqliteJournal.append, FileLease.acquire, Api.attempt

    async def pointed_begin(self: Any, *args: Any, **options: Any) -> None:
        points.reach("before begin")
        await begin(self, *args, **options)
        points.reach("after begin")

    async def pointed_append(self: Any, plan_id: str, kind: Any, **options: Any) -> Any:
        points.reach(f"before {kind}")
        event = await append(self, plan_id, kind, **options)
        if kind in TELLING_AFTER:
            points.reach(f"after {kind}")
        return event

    async def pointed_acquire(self: Any, floor: int = 0) -> int:
        token = await acquire(self, floor)
        points.reach("after acquire")
        return token

    def pointed_attempt(self: Api, method: str, url: str, **options: Any) -> Any:
        if method in ("GET", "HEAD") or (method, url.rpartition("/")[2]) == ("DELETE", "lease"):
            return attempt(self, method, url, **options)
        what = f"{self.vendor.name} {method} {url.rpartition('/')[2]}"
        if not url.endswith(("/lease", "/cordon", "/uncordon", "/stop", "/metadata")):
            points.reach(f"before {what}")  # those are asked for right behind the lease
        answer = attempt(self, method, url, **options)
        points.reach(f"after {what}")
        return answer

    SqliteJournal.begin, SqliteJournal.append = pointed_begin, pointed_append
    FileLease.acquire, Api.attempt = pointed_acquire, pointed_attempt
    try:
        yield
    finally:
        SqliteJournal.begin, SqliteJournal.append = begin, append
        FileLease.acquire, Api.attempt = acquire, attempt


@contextmanager
def without_waits() -> Iterator[None]:
    """For the block, here and in children, vendors have no rates, and what is polled is polled often."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fly_provider, "fly", lambda: quick(fly()))
        patch.setattr(neon_provider, "neon", lambda: quick(neon()))
        patch.setattr(zone_edge, "cloudflare", lambda: quick(cloudflare()))
        patch.setattr(ssl.SSLContext, "load_verify_locations", lambda *_, **__: None)  # nothing is asked by https
        patch.setattr(fly_compute, "POLL_S", 0.05)
        patch.setattr(fleet, "LEASE_RETRY_S", 0.1)
        yield


# --- the account ---


class ShortLeases(FlyStandIn):
    """Fly, where a lease that nobody gives back ends after `LEASE_S`."""

    def _lease(self, asked: Any) -> Any:
        reply = super()._lease(asked)
        machine = self._machine(asked)
        if reply.status == 201 and machine.lease:
            machine.lease["until"] = time.time() + LEASE_S
        return reply


class Writer(threading.Thread):
    """Somebody who stores a row every few milliseconds, all the while; `stored` are those that were acknowledged."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url, self.stored, self.ended = url, 0, threading.Event()

    def run(self) -> None:
        with connect(self.url, autocommit=True) as session:
            while not self.ended.wait(0.02):
                session.execute("INSERT INTO acknowledged (id) VALUES (%s)", (self.stored + 1,))
                self.stored += 1


class Account:
    """The stand-ins in a process of their own; `ask` is how the harness reaches them."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("fork")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_account, args=(there,), daemon=True)
        self._process.start()

    def ask(self, what: str, *args: Any) -> Any:
        self._here.send((what, args))
        answer = self._here.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            self.ask("close")
        self._process.join(20)
        if self._process.is_alive():
            self._process.kill()


def _account(pipe: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with ExitStack() as stack:
        vendors = _Vendors(stack)
        while True:
            try:
                what, args = pipe.recv()
            except EOFError:
                return
            try:
                pipe.send(None if what == "close" else getattr(vendors, what)(*args))
            except Exception as error:  # noqa: BLE001 - the harness raises it
                pipe.send(RuntimeError(f"{what}: {type(error).__name__}: {error}"))
            if what == "close":
                return


class _Vendors:
    def __init__(self, stack: ExitStack) -> None:
        self.registry = stack.enter_context(RegistryStandIn("t"))
        self.fly = stack.enter_context(ShortLeases(self.registry, {"t": ALL}, boot_s=0.0))
        self.neon = stack.enter_context(NeonStandIn({"t": ALL}, database="quiz", role="quiz_owner"))
        self.zone = stack.enter_context(CloudflareStandIn({"t": ALL}))
        self.zone.foreign_rule("http_request_firewall_custom", "theirs", 'ip.geoip.country eq "XX"')
        main = self.neon.named("main")
        assert main
        self.url = main.server.login("quiz_owner", "quiz", pooled=False)
        for name, app in APPS.items():
            check = {"type": "http", "path": "/readyz", "interval": "100ms"}
            config = served(443 if name == "web" else 80, check=check)
            config["env"]["DODAI_RELEASE"] = "by-hand"
            self.fly.launch(app, self.image("by-hand"), config, REGIONS)
            self.fly.apps[app].private = name != "web"
        self.writer = Writer(self.url)
        stack.callback(self.writer.ended.set)

    def write(self) -> None:
        """From now on somebody stores rows, in the table of the first migration."""
        self.writer.start()

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        with connect(self.url, autocommit=True) as session:
            cursor = session.execute(statement)
            return list(cursor.fetchall()) if cursor.description else []

    def image(self, text: str, *, dies: bool = False) -> str:
        command = (sys.executable, "-c", "raise SystemExit(3)") if dies else (text,)
        return self.registry.push("killed", MachineImage("/", command, light=not dies))

    def bad_image(self, text: str) -> str:
        return self.image(text, dies=True)

    def variables(self) -> dict[str, str]:
        return {
            "FLY_API_TOKEN": "t",
            "FLY_API_HOSTNAME": self.fly.url,
            "FLY_REGISTRY_HOST": self.registry.host,
            "FLY_PROXY_LAG_S": str(self.fly.noticed_s),
            "NEON_API_KEY": "t",
            "NEON_API_URL": self.neon.url,
            "CLOUDFLARE_API_TOKEN": "t",
            "CLOUDFLARE_API_URL": self.zone.url,
        }

    def zone_id(self) -> str:
        return self.zone.zone

    def forget(self) -> None:
        for standin in (self.registry, self.fly, self.neon, self.zone):
            standin.exchanges.clear()

    def twice(self) -> list[str]:
        """Machines and branches that were made twice under one name since `forget`."""
        made = [
            json.loads(one.content).get("name") or json.loads(one.content).get("branch", {}).get("name")
            for one in (*self.fly.exchanges, *self.neon.exchanges)
            if one.method == "POST" and one.path.endswith(("/machines", "/branches")) and one.status in (200, 201)
        ]
        return sorted({name for name in made if made.count(name) > 1})

    def state(self) -> dict[str, Any]:
        """What counts in the end: machines, the zone, branches, the schema; and rows that are gone."""
        stored = self.writer.stored
        ((there,),) = self.sql(f"SELECT count(*) FROM acknowledged WHERE id <= {stored}") if stored else ((0,),)
        ledger = self.sql("SELECT to_regclass('goose_db_version') IS NOT NULL")
        applied = (
            self.sql("SELECT version_id FROM goose_db_version WHERE is_applied ORDER BY id") if ledger[0][0] else []
        )
        return {
            "machines": {app: sorted(map(_shown, self.fly.machines(app))) for app in APPS.values()},
            "zone": {
                "settings": dict(self.zone.settings),
                "records": [(one["type"], one["content"], one["proxied"]) for one in self.zone.records],
                "rules": {
                    phase: [(rule["ref"], rule["expression"]) for rule in ruleset["rules"]]
                    for phase, ruleset in sorted(self.zone.rulesets.items())
                },
            },
            "branches": sorted(branch.name for branch in self.neon.branches.values()),
            "applied": [int(version) for (version,) in applied],
            "lost": stored - int(there),
            "stored": stored,
        }


def _shown(machine: Any) -> tuple[str, str, str, bool]:
    release = str((machine.config.get("metadata") or {}).get("dodai_release", "by hand"))
    return machine.region, release, machine.state, machine.cordoned


# --- the operator ---


@dataclass(frozen=True)
class ProductionStory:
    """A command on the production plan; `undo`: a crash of it is taken back instead of finished."""

    name: str
    kind: str = "deploy"
    bad: bool = False
    migrates: bool = False
    undo: bool = False


STORIES = (
    ProductionStory("deploy", migrates=True),
    ProductionStory("bad release", bad=True),
    ProductionStory("rollback", kind="rollback"),
    ProductionStory("deploy, taken back", undo=True),
)


@dataclass
class Operator:
    """Gives commands in the project at `folder`, each in a process that may be killed."""

    folder: Path
    account: Account
    points: Path = field(init=False)
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), init=False)
    migrations: Iterator[int] = field(default_factory=lambda: itertools.count(1), init=False)
    variables: dict[str, str] = field(init=False)
    zone: str = field(init=False)
    passed: list[str] = field(default_factory=list, init=False)
    said: str = field(default="", init=False)
    _names: list[str] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        self.variables, self.zone = self.account.ask("variables"), self.account.ask("zone_id")
        self.points = self.folder.with_name(f"{self.folder.name}.points")
        (self.folder / "db" / "migrations").mkdir(parents=True)

    def environment(self) -> Environment:
        project = find_project(self.folder / "dodai.toml")
        return environments.assemble(project.environment(ENV), self.folder / ".dodai", project, self.variables)

    def release(self, *, bad: bool = False, migrates: bool = False) -> str:
        """The id of a new release: its files, one image for each service, and a migration when it has one."""
        number = next(self.numbers)
        if migrates:
            name = next(self.migrations)
            table = "acknowledged" if name == 1 else f"t{name}"
            text = f"-- +goose Up\nCREATE TABLE {table} (id bigint);\n-- +goose Down\nDROP TABLE {table};\n"
            (self.folder / "db" / "migrations" / f"{name:05}_{table}.sql").write_text(text)
        edge = f"r{number}" if migrates else "same"
        (self.folder / "dodai.toml").write_text(MANIFEST.format(zone=self.zone, edge=edge, number=number))
        good = self.account.ask("image", f"r{number}")
        images = {"backend": good, "web": self.account.ask("bad_image", f"r{number}") if bad else good}

        def work() -> str:
            here = self.environment()
            known = here.secrets.get()
            here.secrets.put({**known, **{each: new_value(each) for each in KEY_RINGS if each not in known}})
            return publish(here, lambda _: None, lambda _: images)

        return self._in_child(work, -1)[1]

    async def _run(self, kind: str, release: str) -> Outcome:
        here = self.environment()
        request = await request_for(here, kind, release, {"command": f"dodai {kind} {ENV}"})
        with here.journal() as journal:
            return await execute(build(here, request), journal, here.lease(request))

    async def _resume(self, *, undo: bool) -> Outcome:
        here = self.environment()
        with here.journal() as journal:
            entry = await journal.unfinished(ENV)
            lease = here.lease(entry.request if entry else await request_for(here, "resume", ""))
            return await resume(journal, lease, ENV, partial(build, here), undo=undo)

    def operate(self, kind: str, release: str, kills: tuple[int, ...] = (), *, undo: bool = False) -> int:
        """What a person does: give the command, and after each crash resume, until something ends in peace."""
        points = iter((*kills, *(-1,) * 20))
        code, self.said = self._in_child(lambda: self._told(self._run(kind, release)), next(points))
        while code == -signal.SIGKILL:
            code, self.said = self._in_child(lambda: self._told(self._resume(undo=undo)), next(points))
            if code == 1 and "DOD357" in self.said and self.last()[:2] != [kind, release]:
                if undo:
                    return 0  # it died before anything was written: nothing is to be taken back
                code, self.said = self._in_child(lambda: self._told(self._run(kind, release)), next(points))
        self.passed = self._names
        return code

    def load(self) -> None:
        """Import here what a command imports, so that the next ones have it already."""

        def loaded() -> list[str]:
            asyncio.run(self.environment().compute.status())
            for name in ("dodai.operations.run.plans", "dodai.providers.postgres.control.inspect"):
                importlib.import_module(name)
            return [name for name in sys.modules if not name.startswith("_") and "__main__" not in name]

        for name in self._in_child(loaded, -1)[1]:
            with contextlib.suppress(ImportError):
                importlib.import_module(name)

    def _told(self, work: Any) -> tuple[int, str]:
        try:
            outcome: Outcome = asyncio.run(work)
        except DodaiError as error:
            return error.exit_code, f"{error.code.id} {error.message}"
        error_of = outcome.error()
        return outcome.exit_code, f"{outcome.state} {error_of.message if error_of else ''}"

    def last(self) -> list[Any]:
        """Kind, release, state of the newest plan, whether it is closed, and how often its release was recorded."""

        async def look() -> list[Any]:
            with self.environment().journal() as journal:
                await journal.verify_chain()
                entries = await journal.history(ENV)
                if not entries:
                    return ["", "", "", True, 0]
                newest = entries[0]
                records = [one for one in await journal.of_kind("released") if one.plan_id == newest.plan_id]
                return [newest.request.kind, newest.request.release, newest.state, newest.closed, len(records)]

        return self._in_child(lambda: asyncio.run(look()), -1)[1]

    def _in_child(self, work: Callable[[], Any], at: int) -> tuple[int, Any]:
        """The exit code of `work` in a process that is killed at point `at`, and what it returned."""
        self.points.unlink(missing_ok=True)
        pid = os.fork()
        if pid == 0:
            code, found, points = 99, "", Points(at)
            try:
                with instrumented(points):
                    found = work()
                code = found[0] if isinstance(found, tuple) else 0
            except BaseException as error:  # noqa: BLE001 - told to the parent
                found = f"{type(error).__name__}: {error}"
            finally:
                self.points.write_text(json.dumps([found, points.names]))
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if code < 0:
            return code, ""
        found, self._names = json.loads(self.points.read_text())
        return code, found[1] if isinstance(found, list) and len(found) == 2 else found


@dataclass
class ProductionMatrix:
    """Every kill point of a story, the account living on; `bad` says what was not as it should be."""

    operator: Operator
    kills: int = 0
    bad: list[str] = field(default_factory=list)
    serves: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Two releases of ours, so that there is one to go back to."""
        for _ in range(2):
            release = self.operator.release(migrates=True)
            code = self.operator.operate("deploy", release)
            assert code == 0, self.operator.said
            self.serves.append(release)
            self.operator.load()
        self.operator.account.ask("write")

    def _target(self, story: ProductionStory) -> str:
        if story.kind == "rollback":
            return self.serves[-2]
        return self.operator.release(bad=story.bad, migrates=story.migrates)

    def points(self, story: ProductionStory) -> list[str]:
        """The points of a run in peace, which has to end well itself."""
        for _ in range(2 if story.kind == "rollback" else 0):  # two of one schema
            release = self.operator.release()
            assert self.operator.operate("deploy", release) == 0, self.operator.said
            self.serves.append(release)
        self.judge(story, ())
        return list(self.operator.passed)

    def judge(self, story: ProductionStory, kills: tuple[int, ...]) -> None:
        """Kill the command, and its resumes, at these points; the end has to be that of a run in peace."""
        account, operator = self.operator.account, self.operator
        target, before = self._target(story), account.ask("state")
        account.ask("forget")
        code = operator.operate(story.kind, target, kills, undo=story.undo and bool(kills))
        self.kills += len(kills)
        after, last = account.ask("state"), operator.last()
        wrong = list(self._wrong(story, target, before, after, code, last, killed=bool(kills)))
        # A machine that ended at its start is removed and made anew by whoever resumes: of a bad release all of them do.
        if not story.bad and (twice := account.ask("twice")):
            wrong.append(f"made twice: {twice}")
        if wrong:
            self.bad.append(f"{story.name} killed at {kills}: exit {code}, {operator.said}: {'; '.join(wrong)}")
            print(self.bad[-1], flush=True)
            self._settle()

    def _wrong(
        self, story: ProductionStory, target: str, before: Any, after: Any, code: int, last: list[Any], *, killed: bool
    ) -> Iterator[str]:
        there = not story.bad and after["machines"] == _machines(target)
        if there:
            self.serves = [*self.serves, target]
        if after["lost"]:
            yield f"{after['lost']} rows of {after['stored']} are lost"
        if sorted(set(after["applied"])) != sorted(after["applied"]):
            yield f"applied twice: {after['applied']}"
        if story.bad:
            yield from _differs("as before", before, after, "machines", "zone", "applied", "branches")
            if code not in ((3, 1) if killed else (3,)) or last[1:4] != [target, "restored", True]:
                yield f"exit {code}, {last}"
        elif story.undo and killed and last[1:3] == [target, "needs_person"]:
            self._settle()  # past the point of no return nothing is taken back: a person deploys again
        elif story.undo and killed and not there:
            yield from _differs("as before", before, after, "machines", "zone", "applied")
        elif not there:
            yield f"machines {after['machines']}, not two of {target} in each app"
        else:
            if last[:4] != [story.kind, target, "ok", True] or last[4] != 1:
                yield f"recorded {last}"
            if story.migrates and len(after["applied"]) != len(before["applied"]) + 1:
                yield f"applied {after['applied']}"
            if code not in (0, 1):
                yield f"exit {code}"
        if len(after["branches"]) > 5:
            yield f"branches {after['branches']}"

    def _settle(self) -> None:
        """After something went wrong the next point begins with a release that serves."""
        operator = self.operator
        for _ in range(3):
            if operator._in_child(lambda: operator._told(operator._resume(undo=False)), -1)[0] in (0, 1):
                break
        release = operator.release()
        if operator.operate("deploy", release) == 0:
            self.serves.append(release)


def _machines(release: str) -> dict[str, list[tuple[str, str, str, bool]]]:
    return {app: sorted((region, release, "started", False) for region in REGIONS) for app in APPS.values()}


def _differs(meant: str, before: Any, after: Any, *names: str) -> Iterator[str]:
    for name in names:
        if before[name] != after[name]:
            yield f"{name} {after[name]}, {meant}: {before[name]}"


@contextmanager
def production(root: Path) -> Iterator[ProductionMatrix]:
    """An account, a project, and two releases that were deployed."""
    with without_waits():
        account = Account()
        try:
            folder = root / "killed"
            folder.mkdir()
            matrix = ProductionMatrix(Operator(folder, account))
            matrix.begin()
            yield matrix
        finally:
            account.close()
            shutil.rmtree(root / "killed", ignore_errors=True)
