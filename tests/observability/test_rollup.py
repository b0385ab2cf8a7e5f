"""Lines into rollups: each one counted once, whatever happens to files, processes and clocks."""

from __future__ import annotations

import random
import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.observability.traffic import T0, beat, request

from dodai.core.errors import DodaiError
from dodai.observability.buckets import bounds_us, merged, packed, quantile_ms, unpacked
from dodai.observability.line_format import dump
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.rollup import Store, Tally
from dodai.observability.run import Watched, Watcher, locked, overview
from dodai.observability.segment import SegmentWriter


def watcher(state: Path, now: float = 0.0) -> Watcher:
    there = Watched("quiz", "test", state, ObservabilityPolicy(), frozenset({"/readyz"}))
    return Watcher(there, {}, clock=(lambda: now) if now else time.time)


def counted(found: Watcher) -> tuple[int, int]:
    """(requests, failed ones) of the last hour."""
    now = found.clock()
    totals = found.store.totals("http", now - 3600, now + 60, by_name=False).values()
    return sum(one.count for one in totals), sum(one.errors for one in totals)


def write(writer: SegmentWriter, count: int, **fields: Any) -> None:
    now = time.time()
    for number in range(count):
        assert writer.write(dump(request(now + number / 1000, **fields)))


def test_every_line_is_counted_once_over_rotation_and_a_restart(tmp_path: Path):
    """The file is renamed, another one begins, the watcher is killed between two reads."""
    writer = SegmentWriter(tmp_path / "lines", "web", "i1")
    first = watcher(tmp_path)
    write(writer, 100)
    assert first.read() == 100
    write(writer, 50, outcome="server_error")
    writer.rotate()
    write(writer, 25)
    assert first.read() == 75
    assert first.read() == 0
    write(writer, 10)
    again = watcher(tmp_path)
    assert again.read() == 10
    assert counted(again) == (185, 50)
    writer.close()


def test_what_was_read_and_not_stored_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Killed in the transaction: neither the counts nor the place are kept."""
    write(SegmentWriter(tmp_path / "lines", "web", "i1"), 40)
    first = watcher(tmp_path)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(first.store, "_set", killed)
    with pytest.raises(KeyboardInterrupt):
        first.read()
    assert counted(watcher(tmp_path)) == (0, 0)
    again = watcher(tmp_path)
    again.read()
    assert counted(again) == (40, 0)


def test_line_without_its_newline_waits_and_rubbish_is_counted(tmp_path: Path):
    """A torn line, one without what it must have, one that is no object; the good one behind them counts."""
    folder = tmp_path / "lines"
    folder.mkdir()
    file, good = folder / "go.jsonl", dump(request(time.time()))
    file.write_bytes(b'{"ts":1,\n[]\n{"ts":"x"}\n\xff\n' + good + good[:-1])
    found = watcher(tmp_path)
    found.read()
    assert counted(found) == (1, 0)
    assert found.store.facts()["torn"] == 4
    with file.open("ab") as more:
        more.write(b"\n")
    found.read()
    assert counted(found) == (2, 0)


def test_file_that_takes_the_place_of_another_is_read_from_its_beginning(tmp_path: Path):
    """Truncated and written anew, as some rotations do it."""
    folder = tmp_path / "lines"
    folder.mkdir()
    file = folder / "web.jsonl"
    file.write_bytes(b"".join(dump(request(time.time() + n)) for n in range(5)))
    found = watcher(tmp_path)
    found.read()
    file.write_bytes(b"".join(dump(request(time.time() + n, route="/other")) for n in range(3)))
    found.read()
    assert counted(found)[0] == 8


def test_clock_that_is_wrong_is_counted_as_skewed_and_its_errors_still_count():
    """A tier an hour ahead or behind: its errors happen now. A line of the last minutes that comes late has its time."""
    tally = Tally(10)
    for at in (T0 + 3600, T0 - 3600):
        tally.add(dump(request(at, outcome="server_error")), T0, live=True)
    tally.add(dump(request(T0 - 60)), T0, live=True)
    tally.add(dump(request(T0 - 3000)), T0, live=False)
    batch = tally.take()
    assert (batch.skewed, batch.late, batch.lines) == (2, 1, 4)
    now = int(T0) // 10 * 10
    assert sum(cell.errors for key, cell in batch.cells.items() if key[0] == now) == 2
    assert {key[0] for key in batch.cells} == {now, int(T0 - 60) // 10 * 10, int(T0 - 3000) // 10 * 10}


def test_a_hundred_thousand_routes_are_a_thousand_series(tmp_path: Path):
    """What is over the limit is counted together and said."""
    tally = Tally(10, max_series=1000)
    before, _, behind = dump(request(T0, route="/ROUTE")).partition(b"ROUTE")
    for number in range(100_000):
        tally.add(b"%b%d%b" % (before, number, behind), T0, live=True)
    batch = tally.take()
    assert len(batch.cells) == 1001
    assert sum(cell.count for cell in batch.cells.values()) == 100_000
    assert batch.overflowed == 99_000
    del tmp_path


def test_probes_and_our_own_paths_are_no_traffic():
    """A release that starts answers 503 to its probe, and nobody is harmed."""
    tally = Tally(10, frozenset({"/readyz"}))
    health = {**request(T0), "type": "rpc", "rpc": "grpc.health.v1.Health/Check"}
    for line in (request(T0, route="/readyz"), request(T0, route="/-/dodai/csrf"), health, request(T0)):
        tally.add(dump(line), T0, live=True)
    assert [key[3] for key in tally.take().cells] == ["GET /"]


def test_a_health_check_whose_calls_fail_counts_them_and_is_nobodys_example(tmp_path: Path):
    """An alert's example is a request of people, also where a health check failed after it; that alone gives none."""
    asked = {**request(T0), "type": "rpc", "rpc": "quiz.Quiz/Page", "requestId": "of-people"}
    checked = {**asked, "rpc": "grpc.health.v1.Health/Check", "requestId": "of-a-check"}
    probed = request(T0, route="/readyz", requestId="of-a-check")
    for lines, wanted, failed in (([asked, checked, probed], ("of-people",), 3), ([checked, probed], (), 2)):
        tally, store = Tally(10, frozenset({"/readyz"})), Store(tmp_path / f"{failed}.sqlite")
        for line in lines:
            tally.add(dump({**line, "service": "backend", "calls": "database 1 1 2.0"}), T0, live=True)
        store.keep(tally.take(), {}, T0)
        assert store.samples("dependency", "backend", "database", T0 - 60, T0 + 10, failed=True) == wanted
        calls = store.totals("dependency", T0 - 60, T0 + 10, by_name=True)
        assert calls["backend", "database"].errors == failed


def test_calls_pools_streams_and_heartbeats_are_read(tmp_path: Path):
    """Dependencies of the totals, what a stream's user waited for, how a process is."""
    tally, store = Tally(10), Store(tmp_path / "r.sqlite")
    line = request(T0, calls="backend 3 1 12.5;data base 2 0 8.0", poolWaitMs=40.0, ttfbMs=30.0, latencyMs=60_000.0)
    tally.add(dump(line), T0, live=True)
    tally.add(dump(beat(T0, inFlight=4, loopLagMs=12.0)), T0, live=True)
    store.keep(tally.take(), {}, T0)
    calls = store.totals("dependency", T0 - 60, T0 + 10, by_name=True)
    assert {name: (one.count, one.errors) for (_, name), one in calls.items()} == {
        "backend": (3, 1),
        "data base": (2, 0),
    }
    web = store.totals("http", T0 - 60, T0 + 10, by_name=False)["web", ""]
    assert web.pool_ms == 40.0
    assert quantile_ms(web.histogram, 0.95, bounds_us()) < 40
    one = store.instances()["web", "web-1"]
    assert (one.in_flight, one.loop_lag_ms, one.beating) == (4, 12.0, True)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32), st.floats(2.0, 7.0), st.floats(0.2, 1.2))
def test_p95_of_the_buckets_is_within_seven_percent(seed: int, mu: float, sigma: float):
    """Of the exact one, over log-normal traffic from milliseconds to seconds."""
    rng, bounds = random.Random(seed), bounds_us((1000.0,))
    sample = sorted(rng.lognormvariate(mu, sigma) for _ in range(2000))
    exact = sample[int(0.95 * len(sample))]
    if not 2.0 < exact < 60_000:
        return
    tally = Tally(10, thresholds_ms=(1000.0,))
    for value in sample:
        tally.add(dump(request(T0, latencyMs=value)), T0, live=False)
    (cell,) = tally.batch.cells.values()
    assert quantile_ms(cell.histogram, 0.95, bounds) == pytest.approx(exact, rel=0.07)


@given(st.lists(st.dictionaries(st.integers(0, 2**32 - 1), st.integers(1, 10**6), max_size=8), max_size=5))
def test_histograms_of_any_layout_merge_and_survive_the_store(parts: list[dict[int, int]]):
    """A threshold that changed leaves cells of another layout behind."""
    total = merged(parts)
    assert sum(total.values()) == sum(sum(part.values()) for part in parts)
    assert unpacked(packed(total)) == total


def test_broken_store_is_put_aside_and_said(tmp_path: Path):
    """Counting goes on with a new file; the broken one is kept for whoever wants to look."""
    path = tmp_path / "watch" / "rollups.sqlite"
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 100)
    write(SegmentWriter(tmp_path / "lines", "web", "i1"), 3)
    found = watcher(tmp_path)
    found.read()
    assert counted(found) == (3, 0)
    assert "put aside" in overview(found.watched, found.store, time.time(), problems=found.troubles).problems[0].en
    assert len(list(path.parent.glob("*.broken-*"))) == 1


def test_store_that_cannot_be_written_is_a_problem_and_nothing_is_lost(tmp_path: Path):
    """The disk is full for a while: what was read is kept in memory, and stored when it can be."""
    write(SegmentWriter(tmp_path / "lines", "web", "i1"), 7)
    found = watcher(tmp_path)
    pages = found.store.database.execute("PRAGMA page_count").fetchone()[0]
    found.store.database.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(200):
        found.tally.add(dump(request(time.time(), route=f"/{number}")), time.time(), live=True)
    assert found.tick() == []
    assert "cannot be written" in found.problem.en
    found.store.database.execute("PRAGMA max_page_count = 1000000")
    found.tick()
    assert found.problem is None
    assert counted(found) == (207, 0)


def test_one_of_two_watchers_evaluates_and_the_lock_ends_with_its_holder(tmp_path: Path):
    """The second one is told who the first is."""
    there = watcher(tmp_path).watched
    with locked(there), pytest.raises(DodaiError, match="DOD484"), locked(there):
        pass
    with locked(there):
        pass


def test_old_rollups_are_removed_and_the_rest_stays(tmp_path: Path):
    """Ten-second cells for two days, minutes for thirty."""
    store, tally = Store(tmp_path / "r.sqlite"), Tally(10)
    for days in (40, 3, 0):
        tally.add(dump(request(T0 - days * 86400)), T0, live=False)
    store.keep(tally.take(), {}, T0)
    store.prune(T0)
    rows = store.database.execute("SELECT DISTINCT width, at FROM cell WHERE width > 0 ORDER BY at").fetchall()
    assert [(width, round((T0 - at) / 86400)) for width, at in sorted(rows)] == [(10, 0), (60, 3), (60, 0)]


def test_sum_of_a_service_is_that_of_its_routes_also_in_a_file_of_before(tmp_path: Path):
    """Alerts read one row for a service; a file that has none of those for its past is summed up by its routes."""
    path, tally = tmp_path / "r.sqlite", Tally(10)
    store = Store(path)
    for number in range(90):
        route, outcome = f"/r{number % 7}", "server_error" if number % 9 == 0 else "ok"
        tally.add(dump(request(T0 + number, route=route, outcome=outcome, latencyMs=number)), T0 + number, live=True)
    store.keep(tally.take(), {}, T0 + 90)
    asked = ("http", T0 - 60, T0 + 90)
    summed = store.totals(*asked, by_name=False)["web", ""]
    assert (summed.count, summed.errors, summed.sum_ms) == (90, 10, sum(range(90)))
    assert summed.histogram == merged(one.histogram for one in store.totals(*asked, by_name=True).values())
    with store.transaction() as database:  # as a file of before has it
        database.execute("DELETE FROM cell WHERE kind = 'http whole'")
        database.execute("DELETE FROM fact WHERE name = 'whole_s'")
    store.close()
    store = Store(path)
    assert store.totals(*asked, by_name=False) == {("web", ""): summed}


def test_page_reads_while_the_watcher_writes(tmp_path: Path):
    """A reader never blocks the writer, and cannot change anything."""
    found = watcher(tmp_path)
    write(SegmentWriter(tmp_path / "lines", "web", "i1"), 3)
    reader = Store(found.watched.path, writable=False)
    found.read()
    assert sum(one.count for one in reader.totals("http", 0, time.time() + 60, by_name=True).values()) == 3
    with pytest.raises(sqlite3.OperationalError, match="readonly"):
        reader.database.execute("DELETE FROM cell")


def test_pages_that_a_store_keeps_in_memory_have_a_bound(tmp_path: Path):
    """A `watch` runs for months; its file grows to what three days hold, and its memory does not follow it."""
    store = Store(tmp_path / "rollups.sqlite", cell_s=10)
    try:
        assert store.database.execute("PRAGMA cache_size").fetchone() == (-1024,)
    finally:
        store.close()
