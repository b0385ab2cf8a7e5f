"""An hour of the quiz as its operators live it: deploys, rollbacks, rotations, migrations and faults under visitors.

.venv/bin/python benchmarks/quiz_soak.py       # an hour, ten cycles: `make soak`
.venv/bin/python benchmarks/quiz_soak.py 6     # six minutes, one cycle

Everything is done by commands, against an environment with a Host of its own; `dodai watch` judges the alerts.
"""

# The repository has to be on the path before its tests can be imported.
# ruff: noqa: E402
from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import psycopg
from results import record, spread
from tests.quiz.copies import copy_quiz
from tests.support.command import commit, dodai, git, start_dodai
from tests.support.wait import until

from dodai.core.errors import DodaiError
from dodai.observability.rollup import Store
from dodai.operations.journey import walk
from dodai.operations.policy import Journey
from dodai.operations.ports import Fault, Host
from dodai.providers.local.browser import HttpBrowser
from dodai.providers.postgres.stage_database import PostgresStageDatabase
from dodai.rehearsal.load import Person, people, repeatable
from dodai.rehearsal.machine import Slowdown
from dodai.rehearsal.outage import RECOVERY_S, stretched
from dodai.wiring import environments
from dodai.wiring.find_project import find_project

ENV = "staging"
MINUTES = 60.0
CYCLE_MINUTES = 6.0
SLOTS = 5
VISITORS, PAUSE_S = 4, 1.0
SAMPLE_S = 15.0
MOST_GROWTH = 0.05
ALERT_AFTER_S = 30.0
"""How long after the window of a fault the condition of an alert may begin that is about it: the longest of the short
windows that alerts look at is half a minute."""
BACK_WITHIN_S = 60.0
WANTED = {"releases": 2, "rotations": 1, "migrations": 1, "faults": 2}
"""In each cycle; ten cycles are twenty deploys or rollbacks, ten rotations, ten migrations, twenty faults."""
SECRETS = (
    *("DODAI_EDGE_KEY", "DODAI_DATABASE_LOGIN", "SESSION_SECRET", "DODAI_IDENTITY_KEYS", "DODAI_EDGE_KEY"),
    *("DODAI_CSRF_KEYS", "DODAI_DATABASE_LOGIN", "REVIEW_WEBHOOK_SECRET", "DODAI_EDGE_KEY", "DODAI_DATABASE_LOGIN"),
)
"""A secret whose old value people may use for days is rotated once; that of the edge is finished a minute later."""
FINISHED = "DODAI_EDGE_KEY"
SHAPES = (
    ("-- +goose Up", "ALTER TABLE answers ADD COLUMN {name} int", "ALTER TABLE answers DROP COLUMN {name}"),
    (
        "-- +goose NO TRANSACTION\n-- +goose Up",
        "CREATE INDEX CONCURRENTLY IF NOT EXISTS {name} ON answers (id)",
        "DROP INDEX CONCURRENTLY IF EXISTS {name}",
    ),
    (
        "-- +goose Up",
        "ALTER TABLE questions ADD COLUMN {name} text NOT NULL DEFAULT ''",
        "ALTER TABLE questions DROP COLUMN {name}",
    ),
)


@dataclass(slots=True)
class Did:
    """Something an operator did, or that happened: seconds count from the beginning of the soak."""

    what: str
    kind: str
    began_s: float
    ended_s: float = 0.0
    ok: bool = False
    said: str = ""


@dataclass(slots=True)
class Window:
    """A fault from its beginning until people were served again, and no sooner than dodai promises that they are.

    `back_s`: how long after the fault a journey was whole.
    """

    fault: str
    began_s: float
    ended_s: float
    back_s: float = 0.0
    failed: int = 0


@dataclass(slots=True)
class Missed:
    """A request that was not answered as the manifest says."""

    began_s: float
    ended_s: float
    said: str


@dataclass(slots=True)
class Soak:
    """One run, and everything that is reported of it."""

    place: Path
    minutes: float
    began: float = field(default_factory=time.time)
    did: list[Did] = field(default_factory=list)
    windows: list[Window] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)
    answered: int = 0
    memory_mib: list[tuple[float, str, float]] = field(default_factory=list)
    loads: list[float] = field(default_factory=list)
    watch_ended: str = ""
    """How, and its last words, where it did not watch to the end: what it would have told nobody knows."""

    @property
    def now_s(self) -> float:
        return time.time() - self.began

    @property
    def cycles(self) -> int:
        return max(1, round(self.minutes / CYCLE_MINUTES))

    async def command(self, what: str, kind: str, *words: str) -> None:
        """A command as an operator types it."""
        one = Did(what, kind, self.now_s)
        try:
            said = await asyncio.to_thread(dodai, *words, "--yes", cwd=self.place)
            one.ok = said.returncode == 0
            one.said = "" if one.ok else f"exit {said.returncode}: {said.stderr[-600:]}"
        except (OSError, subprocess.SubprocessError) as error:  # it hung: the hour goes on, and is red
            one.said = f"{type(error).__name__}: {error}"
        one.ended_s = self.now_s
        self.did.append(one)
        print(f"{one.began_s:6.0f} s  {what}: {one.ended_s - one.began_s:.1f} s {one.said or 'ok'}", flush=True)

    def done(self, kind: str) -> int:
        return sum(one.ok for one in self.did if one.kind == kind)

    @property
    def outside(self) -> list[Missed]:
        """What failed although no fault stood or had just ended; the others are counted with their window."""
        left = []
        for one in self.missed:
            met = [w for w in self.windows if one.ended_s >= w.began_s and one.began_s <= w.ended_s]
            for window in met[:1]:
                window.failed += 1
            left += [] if met else [one]
        return left


# --- visitors ---


@contextlib.asynccontextmanager
async def visitors(soak: Soak, url: str, persons: tuple[Person, ...]) -> AsyncIterator[None]:
    """People who walk their journeys until the block ends; those of users have signed in before it begins."""
    over = asyncio.Event()
    who = [(persons[n % len(persons)], HttpBrowser(url)) for n in range(VISITORS)]
    try:
        for person, browser in who:
            await person.enter(browser)
        async with asyncio.TaskGroup() as group:
            for person, browser in who:
                group.create_task(visit(soak, person, browser, over))
            try:
                yield
            finally:
                over.set()
    finally:
        for _, browser in who:
            await browser.close()


async def visit(soak: Soak, person: Person, browser: HttpBrowser, over: asyncio.Event) -> None:
    for journey in cycle(person.journeys):
        if over.is_set():
            return
        began = soak.now_s
        try:
            walked = await walk(journey, browser)
        except Exception as error:  # noqa: BLE001 - whatever it was, somebody was not served
            soak.missed.append(Missed(began, soak.now_s, f"{journey.name}: {type(error).__name__}: {error}"))
        else:
            soak.answered += sum(not step.problem for step in walked.steps)
            if not walked.ok:
                at = began + sum(step.seconds for step in walked.steps[:-1])
                soak.missed.append(Missed(at, soak.now_s, walked.problem))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), PAUSE_S)


# --- faults ---


@dataclass(frozen=True, slots=True)
class Place:
    """What faults act on."""

    host: Host
    database: PostgresStageDatabase
    url: str
    looks_at: Journey

    async def serves(self) -> bool:
        """Whether somebody who comes now is served, by every tier."""
        async with HttpBrowser(self.url) as browser:
            return (await walk(self.looks_at, browser)).ok

    async def stands(self, name: str, mode: Any, seconds: float, latency_s: float = 0.0) -> None:
        await self.host.fault(name, Fault(mode=mode, latency_s=latency_s))
        try:
            await asyncio.sleep(seconds)
        finally:
            await self.host.fault(name, Fault())

    async def killed(self, service: str) -> None:
        await self.host.signal(service, "KILL")

    async def frozen(self, service: str, seconds: float) -> None:
        await self.host.signal(service, "STOP")
        try:
            await asyncio.sleep(seconds)
        finally:
            await self.host.signal(service, "CONT")

    async def restarted(self) -> None:
        await self.host.signal("database", "INT")
        await asyncio.sleep(0.2)
        await until_true(self.database.answers)

    async def locked(self, seconds: float) -> None:
        async with self.database.locked():
            await asyncio.sleep(seconds)


async def until_true(ask: Callable[[], Awaitable[bool]]) -> None:
    end = time.monotonic() + BACK_WITHIN_S
    while not await ask():
        if time.monotonic() > end:
            raise TimeoutError(f"not back within {BACK_WITHIN_S:g} s")
        await asyncio.sleep(0.1)


FAULTS: tuple[tuple[str, Callable[[Place], Awaitable[None]]], ...] = (
    ("the backend refuses connections for 3 s", lambda at: at.stands("backend", "refuse", 3.0)),
    ("the web process is killed", lambda at: at.killed("web")),
    ("the database refuses connections for 3 s", lambda at: at.stands("database", "refuse", 3.0)),
    ("the backend process is killed", lambda at: at.killed("backend")),
    ("the database is restarted", lambda at: at.restarted()),
    ("every answer of the backend comes 6 s late, for 8 s", lambda at: at.stands("backend", "latency", 8.0, 6.0)),
    ("every table is locked for 4 s", lambda at: at.locked(4.0)),
    ("the web process is frozen for 3 s", lambda at: at.frozen("web", 3.0)),
    ("the database accepts and never answers for 4 s", lambda at: at.stands("database", "half_open", 4.0)),
    ("packets to the backend are lost for 4 s", lambda at: at.stands("backend", "blackhole", 4.0)),
)


async def fail(soak: Soak, at: Place, name: str, fault: Callable[[Place], Awaitable[None]]) -> None:
    """The fault, and the window in which people may notice it."""
    one, slowdown = Did(name, "faults", soak.now_s), Slowdown()
    window = Window(name, soak.now_s, float("inf"))
    soak.windows.append(window)
    try:
        await fault(at)
        one.ended_s = soak.now_s
        await until_true(at.serves)
        one.ok = True
    except (OSError, DodaiError, psycopg.Error) as error:
        one.ended_s, one.said = soak.now_s, f"{type(error).__name__}: {error}"
    window.back_s = soak.now_s - one.ended_s
    window.ended_s = max(soak.now_s, one.ended_s + stretched(RECOVERY_S, slowdown.factor()))
    soak.did.append(one)
    took = f"{one.ended_s - one.began_s:.1f} s, back after {window.back_s:.1f} s"
    print(f"{one.began_s:6.0f} s  {name}: {took} {one.said or 'ok'}", flush=True)


# --- the operator ---


async def operate(soak: Soak, at: Place) -> None:
    """The cycles: a release with a migration, a fault, a rotation, a release or a rollback, a fault."""
    slot_s = soak.minutes * 60 / soak.cycles / SLOTS
    faults, secrets, rotated_at = cycle(FAULTS), cycle(SECRETS), -1.0
    for number in range(soak.cycles):
        for slot in range(SLOTS):
            await asyncio.sleep(max(0.0, (number * SLOTS + slot) * slot_s - soak.now_s))
            if slot == 0:
                migration(soak.place, number)
                await soak.command(f"deploy with migration {number + 1}", "releases", "deploy", ENV)
            elif slot in (1, 4):
                await fail(soak, at, *next(faults))
            elif slot == 2:
                if rotated_at >= 0 and soak.now_s > rotated_at + 70:
                    await soak.command(f"finish {FINISHED}", "finished", "secrets", "rotate", ENV, FINISHED, "--finish")
                    rotated_at = -1.0
                name = next(secrets)
                rotated_at = soak.now_s + 30 if name == FINISHED else rotated_at
                await soak.command(f"rotate {name}", "rotations", "secrets", "rotate", ENV, name)
            elif number % 2:
                await soak.command("rollback", "releases", "rollback", ENV)
            else:
                (soak.place / "web" / "note.txt").write_text(f"{number}\n")
                await soak.command("deploy of a change", "releases", "deploy", ENV)
    await asyncio.sleep(max(0.0, soak.minutes * 60 - soak.now_s))


def migration(place: Path, number: int) -> None:
    name = f"soak_{number:02}"
    head, up, down = (part.format(name=name) for part in SHAPES[number % len(SHAPES)])
    text = f"{head}\n{up};\n\n-- +goose Down\n{down};\n"
    (place / "db" / "migrations" / f"202612010900{number:02}_{name}.sql").write_text(text)


# --- what is measured beside it ---


def rss_mib(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


async def sample(soak: Soak, host: Host, watch_pid: int) -> None:
    while True:
        status = await host.status()
        pids = {"host": status.pid, "watch": watch_pid}
        pids |= {service.name: one.pid for service in status.services for one in service.instances if one.live}
        for name, pid in pids.items():
            with contextlib.suppress(OSError, ValueError):
                soak.memory_mib.append((soak.now_s, name, rss_mib(pid)))
        soak.loads.append(os.getloadavg()[0])
        await asyncio.sleep(SAMPLE_S)


def growth(soak: Soak, name: str) -> tuple[float, float, float]:
    """(MiB at first, MiB in the end, share that came): medians of the second cycle, the first of a short soak, and of
    the last one.
    """
    length = soak.minutes * 60 / soak.cycles
    first = min(1, soak.cycles - 1)
    early = [mib for at, who, mib in soak.memory_mib if who == name and first <= at / length < first + 1]
    late = [mib for at, who, mib in soak.memory_mib if who == name and at / length >= soak.cycles - 1]
    if soak.cycles == 1:  # its two halves
        early, late = early[: len(early) // 2], late[len(late) // 2 :]
    if not early or not late:
        return 0.0, 0.0, float("inf")  # nobody knows: red
    before, after = statistics.median(early), statistics.median(late)
    return before, after, after / before - 1


def alerts(soak: Soak) -> list[dict[str, Any]]:
    """What fired; `false` where no fault stood when its condition began to hold, nor shortly before."""
    store = Store(soak.place / ".dodai" / "env" / ENV / "watch" / "rollups.sqlite", writable=False)
    try:
        rows = store.database.execute("SELECT name, about, since_s, fired_s FROM alert WHERE fired_s > 0").fetchall()
    finally:
        store.close()
    found = []
    for name, about, since_s, fired_s in rows:
        at = since_s - soak.began
        causes = [w for w in soak.windows if w.began_s <= at <= w.ended_s + ALERT_AFTER_S]
        fault = causes[-1].fault if causes else ""
        moments = {"sinceSeconds": round(at, 1), "firedSeconds": round(fired_s - soak.began, 1)}
        found.append({"alert": name, "about": about, **moments, "fault": fault, "false": not causes})
    return found


@contextlib.contextmanager
def watching(place: Path) -> Any:
    log = place / "watch.log"
    with log.open("wb") as output:
        process = start_dodai("watch", ENV, "--listen", "127.0.0.1:0", cwd=place, output=output)
    try:
        until(lambda: b"shows" in log.read_bytes(), process=process)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


async def run(place: Path, minutes: float) -> Soak:
    project = find_project(place / "dodai.toml")
    here = environments.open(project, ENV)
    assert here.host is not None
    migrations = project.migrations
    ledgers = (migrations.ledger_parts[1],) if migrations else ()
    url = (await here.edge.observe()).url
    persons, _ = await repeatable(url, HttpBrowser, people(project.policy.journeys))
    at = Place(here.host, PostgresStageDatabase(here.database.url, ledgers), url, persons[0].journeys[0])
    with watching(place) as watch:
        soak = Soak(place, minutes)
        async with visitors(soak, url, persons):
            sampling = asyncio.create_task(sample(soak, here.host, watch.pid))
            try:
                await operate(soak, at)
            finally:
                sampling.cancel()
        await asyncio.sleep(2)  # the watch reads the last lines
        if watch.poll() is not None:
            soak.watch_ended = f"exit {watch.returncode}: {(place / 'watch.log').read_text()[-3000:]}"
    return soak


# --- the report ---

HEAD = (
    *("Minutes", "Deploys, rollbacks", "Rotations", "Migrations", "Faults", "Requests", "Failed in fault windows"),
    *("Failed outside", "Back after a fault", "Alerts of faults", "False alerts", "Host", "Watch", "Load average"),
)
NOTES = (
    "The quiz under four people who walk its journeys, half of them signed in before it began; each cycle of six"
    " minutes is a deploy with a migration, a fault, a rotation, a deploy or a rollback, a fault, all by commands. A"
    " fault window ends when a journey is whole again, at the earliest five seconds after its fault; how long that took"
    " is told beside it. An alert is false when its condition"
    " began outside of a fault window and the half minute after it. Memory: median of the second cycle → of the last."
    " What happened when is in quiz_soak.json."
)


def report(soak: Soak, source: str) -> bool:
    """Whether everything was as it should; the figures are written down either way."""
    outside, fired = soak.outside, alerts(soak)
    false = [one for one in fired if one["false"]]
    grown = {name: growth(soak, name) for name in ("host", "watch", "web", "backend")}
    migrations = sum(one.ok for one in soak.did if "migration" in one.what)
    counts = {kind: soak.done(kind) for kind in ("releases", "rotations", "faults")} | {"migrations": migrations}
    reached = all(count >= WANTED[kind] * soak.cycles for kind, count in counts.items())
    small = all(grown[name][2] <= MOST_GROWTH for name in ("host", "watch"))
    watched = not soak.watch_ended
    good = reached and small and watched and not outside and not false and all(one.ok for one in soak.did)
    inside = sum(window.failed for window in soak.windows)
    row = (
        f"{soak.minutes:g}", str(soak.done("releases")), str(soak.done("rotations")), str(migrations),
        str(soak.done("faults")), f"{soak.answered:,}", str(inside), str(len(outside)),
        spread([window.back_s for window in soak.windows], "s"), str(len(fired) - len(false)),
        str(len(false)), *(f"{grown[n][0]:.1f} → {grown[n][1]:.1f} MiB" for n in ("host", "watch")),
        f"{statistics.median(soak.loads):.1f} ({min(soak.loads):.1f} to {max(soak.loads):.1f})",
    )  # fmt: skip
    data = {
        "outcome": "ok" if good else "failed", "commit": source, "minutes": soak.minutes, "cycles": soak.cycles,
        "watchEnded": soak.watch_ended,
        "requests": soak.answered, "failedOutsideOfFaults": [asdict(one) for one in outside], "alerts": fired,
        "memoryMiB": {name: [round(n, 3) for n in values] for name, values in grown.items()},
        "windows": [asdict(one) for one in soak.windows], "did": [asdict(one) for one in soak.did],
    }  # fmt: skip
    beside = Path(__file__).with_suffix(".json") if soak.minutes >= MINUTES else soak.place.parent / "quiz_soak.json"
    beside.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")
    if soak.minutes >= MINUTES:
        record("quiz-soak", "Soak of the quiz", HEAD, [row], f"{NOTES} Commit {source[:12]}.")
    else:
        print(json.dumps({**data, "did": [], "windows": []}, indent=1))
        print(*(f"{title}: {value}" for title, value in zip(HEAD, row, strict=True)), sep="\n")
    return good


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else MINUTES
    source = git(Path(__file__).parents[1], "rev-parse", "HEAD")
    with tempfile.TemporaryDirectory(prefix="dodai-soak-") as folder:
        place = copy_quiz(Path(folder) / "quiz")
        commit(place)
        said = dodai("deploy", ENV, "--yes", cwd=place)
        assert said.returncode == 0, said.stderr
        try:
            good = report(asyncio.run(run(place, minutes)), source)
        finally:
            dodai("down", ENV, "--yes", cwd=place)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
