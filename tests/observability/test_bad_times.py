"""What a watch lives through: a clock that is set, a disk that is full, workers that come and go, endless paths."""

from __future__ import annotations

import asyncio
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.observability.receiver import Receiver
from tests.observability.traffic import T0, Simulation, beat, both, request, steady

from dodai.observability.alert import Alert, Change, Firing
from dodai.observability.line_format import dump
from dodai.observability.policy import NotifierSection, ObservabilityPolicy
from dodai.observability.rollup import Store
from dodai.observability.run import Watched, Watcher, overview
from dodai.observability.run.metrics import exposition
from dodai.providers.notify import channel

HOUR = 3600.0


def failing(at: float) -> dict[str, Any]:
    return request(at, outcome="server_error")


# --- a clock that is set ---


@pytest.mark.parametrize("by_s", [HOUR, 70.0, -70.0, -HOUR])
def test_clock_that_is_set_fires_nothing_and_hides_nothing(by_s: float, tmp_path: Path):
    """Neither silence nor missing traffic; what fails afterwards is told as soon as ever, and is over in time."""
    world = Simulation(tmp_path)
    healthy = both(steady(2.0, request), steady(0.2, beat))
    world.live(1800.0, healthy, 30.0)
    world.now += by_s
    world.live(120.0, healthy)
    assert world.fired == []
    began = world.now
    world.live(60.0, both(steady(2.0, failing), steady(0.2, beat)))
    surge = next(at for name, _, at in world.fired if name == "http-error-surge")
    assert surge - began < 30
    world.live(400.0, healthy)
    assert {name for name, _, _ in world.resolved} >= {"http-error-surge"}
    said = overview(world.watched, world.watcher.store, world.now).problems
    assert any(f"the clock of this machine was set by {by_s:+.0f} s" in one.en for one in said)


def test_outage_of_before_a_clock_was_set_back_does_not_come_again_and_ends(tmp_path: Path):
    """An hour after it the cells of the future would have been those of the present."""
    world = Simulation(tmp_path)
    world.live(600.0, steady(2.0, request), 30.0)
    world.live(60.0, steady(2.0, failing))
    world.now -= HOUR
    world.live(600.0, steady(2.0, request), 30.0)
    assert {one.name for one in world.watcher.history.open()} <= {"slo-fast-burn", "slo-slow-burn", "sustained-errors"}
    before = list(world.fired)
    world.live(2 * HOUR, steady(1.0, request), 60.0)
    assert world.fired == before


def test_clock_that_was_set_back_while_nobody_watched_is_noticed(tmp_path: Path):
    """By the time of the last reading, which lies ahead."""
    first = Simulation(tmp_path)
    first.live(600.0, steady(2.0, failing), 30.0)
    again = Simulation(tmp_path, now=first.now - HOUR)
    again.live(900.0, steady(2.0, request), 30.0)
    assert not [one for one in again.watcher.history.open() if one.name == "http-error-surge"]


# --- heartbeats ---


@pytest.mark.parametrize("heartbeat_s", [5.0, 60.0])
@pytest.mark.parametrize("fast", [False, True])
def test_idle_process_is_not_silent_before_two_heartbeats_are_missing(fast: bool, heartbeat_s: float, tmp_path: Path):
    """Whatever the profile and the manifest say; then it is."""
    world = Simulation(tmp_path, ObservabilityPolicy(heartbeat_s=heartbeat_s), fast=fast)
    three = [steady(1 / heartbeat_s, lambda at, n=n: beat(at, instance=f"web-{n}")) for n in range(4)]
    world.live(20 * heartbeat_s, both(*three), heartbeat_s / 10)
    assert world.fired == []
    world.live(8 * heartbeat_s, both(*three[1:]), heartbeat_s / 10)
    assert world.names == {"process-silent"}


def test_hung_loop_is_told_once_and_not_again_with_each_heartbeat(tmp_path: Path):
    """In the fast profile its window was shorter than the pause between two heartbeats."""
    world = Simulation(tmp_path, fast=True)
    world.live(30.0, steady(0.2, beat))
    world.live(60.0, steady(0.2, lambda at: beat(at, loopLagMs=6000.0)))
    assert [name for name, _, _ in world.fired] == ["process-hung"]


# --- a full disk ---


@contextmanager
def full_disk(file: Path) -> Iterator[None]:
    """No file of this process can grow beyond what `file` has: to SQLite the same as a disk without room."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (max(4096, file.stat().st_size // 2), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def counted(store: Store) -> int:
    return sum(total.count for *_, total in store.counters())


def test_alerts_are_judged_and_told_while_the_disk_is_full_and_nothing_is_lost_after_it(tmp_path: Path):
    """A real SQLite file that cannot be written, a real receiver; afterwards the counters are exact."""
    receiver = Receiver()
    section = NotifierSection("webhook", "team", url=receiver.url)
    policy = ObservabilityPolicy(notifiers={"team": section})
    watcher = Watcher(Watched("quiz", "test", tmp_path, policy, fast=True), {"team": channel(section, {})})
    folder = tmp_path / "lines"
    folder.mkdir()
    file, stop, heard = folder / "web.jsonl", asyncio.Event(), list[tuple[str, str]]()
    wrote = [0]

    def write(outcome: str, count: int = 20) -> None:
        now = time.time()
        with file.open("ab") as lines:
            lines.writelines(dump(request(now + number / 1000, outcome=outcome)) for number in range(count))
            lines.write(dump({**beat(now), "name": "breaker_open"}))
        wrote[0] += count

    def hear(one: Firing, alert: Alert, change: Change) -> None:
        heard.append((alert.name, change))

    async def run() -> None:
        watching = asyncio.create_task(watcher.run(stop, hear))
        write("ok")
        await _until(lambda: counted(watcher.store) == wrote[0])
        write("server_error", 100)  # before the disk is full, so that the test itself has to write nothing
        with full_disk(file):
            await _until(lambda: receiver.bodies and watcher.store.disk is not None)
            (told,) = watcher.troubles
            assert "cannot be written" in told.en
            assert "書き込めません" in told.ja
            assert ("http-error-surge", "firing") in heard
            assert counted(watcher.store) == wrote[0]
        await _until(lambda: watcher.store.disk is None)
        assert watcher.troubles == ()
        stop.set()
        await watching

    asyncio.run(run())
    receiver.server.shutdown()
    receiver.server.server_close()
    watcher.store.close()
    kept = Store(watcher.watched.path, cell_s=1, writable=False)
    assert counted(kept) == wrote[0]
    rows = kept.database.execute("SELECT state FROM told").fetchall()
    assert rows, "who was told is forgotten"
    assert [name for _, _, name, _ in kept.events(0.0)] == ["breaker_open", "breaker_open"]
    kept.close()
    assert [body["status"] for body in receiver.bodies] == ["firing"]


async def _until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


# --- workers and paths ---


def test_counters_are_exact_over_a_hundred_workers_that_are_killed(tmp_path: Path):
    """Real processes, each killed by SIGKILL right after its last line, while somebody reads."""
    watcher, each = Watcher(Watched("quiz", "test", tmp_path, ObservabilityPolicy()), {}), 50
    argv = [sys.executable, "-m", "tests.observability.forked_workers", str(tmp_path / "lines"), "100", str(each)]
    server = subprocess.Popen(argv, cwd=Path(__file__).parents[2])
    while server.poll() is None:
        watcher.read()
    assert server.returncode == 0
    watcher.read()
    text = exposition(watcher.store)
    labels = '{kind="http",service="web",name="GET /"}'
    assert f"dodai_requests_total{labels} {100 * each}\n" in text
    assert f"dodai_request_errors_total{labels} {100 * each // 10}\n" in text
    assert watcher.store.facts()["torn"] == 0
    assert len(watcher.store.instances()) == 100


def test_series_are_bounded_over_restarts_of_the_watch(tmp_path: Path):
    """Those that the store has count for the limit: a new watch does not begin with none."""
    for restart in range(3):
        world = Simulation(tmp_path, now=T0 + restart * 60)
        for number in range(1500):
            line = dump(request(world.now, route=f"/{restart}/{number}"))
            world.watcher.tally.add(line, world.now, live=True)
        world.watcher.store.keep(world.watcher.tally.take(), {}, world.now)
        assert len(world.watcher.store.series()) == 1001
        assert counted(world.watcher.store) == 1500 * (restart + 1)
        world.watcher.store.close()
