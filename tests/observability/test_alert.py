"""Alerts on a simulated clock: how they begin and end, what the manifest changes, what the past would have fired."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.observability.traffic import Lines, Simulation, beat, both, failing, request, steady

from dodai.observability.alert import chosen, defaults, unknown_names
from dodai.observability.alert.history import replay
from dodai.observability.policy import AlertSection, ObservabilityPolicy

RNG = random.Random(7)
MINUTE, HOUR = 60.0, 3600.0
Traffic = Callable[[float, float], Lines]


def surge(share: float, rate: float = 2.0, **fields: Any) -> Traffic:
    return steady(rate, lambda at: failing(request(at, **fields), share, RNG))


def one_in_25(at: float) -> dict[str, Any]:
    return failing(request(at), float(round(at * 8) % 25 == 0), RNG)


def test_computed_detection_time_holds_for_a_total_outage(tmp_path: Path):
    """What `dodai alerts list` promises beside healthy traffic before the fault."""
    world = Simulation(tmp_path)
    world.live(10 * MINUTE, surge(0.0))
    began = world.now
    world.live(5 * MINUTE, surge(1.0))
    at = {name: when - began for name, _, when in reversed(world.fired)}
    for alert in defaults():
        if alert.name in ("http-error-surge", "sustained-errors", "route-errors"):
            assert at[alert.name] <= (alert.detection_s(tick_s=world.watched.tick_s) or 0.0), alert.name
    assert at["http-error-surge"] < 30


def test_frozen_process_beside_one_that_works_is_told(tmp_path: Path):
    """SIGSTOP: no line, no heartbeat, no successor."""
    world = Simulation(tmp_path)
    pair = both(steady(0.2, beat), steady(0.2, lambda at: beat(at, instance="web-2")))
    world.live(2 * MINUTE, pair)
    world.live(2 * MINUTE, steady(0.2, beat))
    assert [(name, about) for name, about, _ in world.fired] == [("process-silent", "web")]


def test_process_that_a_successor_replaced_is_not_silent(tmp_path: Path):
    """A restart and a deploy look alike: another one begins as it ends."""
    world = Simulation(tmp_path)
    world.live(2 * MINUTE, steady(0.2, beat))
    world.live(5 * MINUTE, steady(0.2, lambda at: beat(at, instance="web-2")))
    assert world.fired == []


@pytest.mark.parametrize("fast", [False, True])
def test_deploy_whose_old_process_goes_on_for_a_while_is_not_silent(fast: bool, tmp_path: Path):
    """The new one is started, asked and walked through before the old one is let go."""
    world = Simulation(tmp_path, fast=fast)
    old = steady(0.2, beat)
    new = steady(0.2, lambda at: beat(at, instance="web-2", version="r2"))
    again = steady(0.2, lambda at: beat(at, instance="web-3", version="r2"))
    for beating in (old, both(old, new), new, both(new, again), again):
        world.live(45.0, beating)
    assert world.fired == []


def test_traffic_that_stops_is_told_and_a_quiet_site_is_not(tmp_path: Path):
    """Absence means something only where there was enough before."""
    busy, quiet = Simulation(tmp_path / "busy"), Simulation(tmp_path / "quiet")
    for world, rate in ((busy, 0.5), (quiet, 0.01)):
        world.live(HOUR / 2, steady(rate, request), 30.0)
        world.live(10 * MINUTE, steady(0.2, beat), 30.0)
    assert busy.names == {"no-traffic"}
    assert quiet.names == set()


def test_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The share that is free is read from the disk that holds the lines."""
    world = Simulation(tmp_path)
    world.live(MINUTE, steady(1.0, request))
    assert world.fired == []
    monkeypatch.setattr("dodai.observability.run.watcher._disk_free", lambda _: 0.02)
    world.live(MINUTE, steady(1.0, request))
    assert world.names == {"disk-filling"}


def test_flapping_condition_is_one_alert(tmp_path: Path):
    """It is over only when it stays away."""
    world = Simulation(tmp_path, fast=True)
    world.live(30.0, surge(1.0, 20.0))
    before = len(world.fired)
    for _ in range(5):
        world.live(0.5, surge(0.0, 0.1))
        world.live(0.5, surge(1.0, 20.0))
    assert len(world.fired) == before
    assert world.resolved == []


def test_restart_neither_forgets_nor_repeats_what_fires(tmp_path: Path):
    """The history is in the store."""
    world = Simulation(tmp_path)
    world.live(5 * MINUTE, surge(1.0))
    again = Simulation(tmp_path, now=world.now)
    assert {one.name for one in again.watcher.history.open() if one.fired_s} == world.names
    again.live(MINUTE, surge(1.0))
    assert again.fired == []


def test_manifest_changes_and_switches_off_alerts(tmp_path: Path):
    """By name; what is zero or empty keeps its default."""
    sections = {
        "http-error-surge": AlertSection("http-error-surge", threshold=0.5, for_s=60.0, severity="ticket"),
        "http-latency": AlertSection("http-latency", enabled=False),
    }
    by_name = {alert.name: alert for alert in chosen(sections)}
    changed, default = by_name["http-error-surge"], defaults()[0]
    assert (changed.threshold, changed.for_s, changed.severity) == (0.5, 60.0, "ticket")
    assert (changed.windows_s, changed.min_count) == (default.windows_s, default.min_count)
    assert "http-latency" not in by_name
    world = Simulation(tmp_path, ObservabilityPolicy(alerts=sections))
    world.live(10 * MINUTE, surge(0.3))
    assert "http-error-surge" not in world.names
    assert unknown_names(["http-errors", "http-latency"]) == ("http-errors",)


def test_replay_says_what_another_threshold_would_have_fired_on_past_traffic(tmp_path: Path):
    """The same as fired then, with the thresholds of then; what rollups do not keep is not judged."""
    world = Simulation(tmp_path)
    world.live(10 * MINUTE, surge(0.0))
    world.live(3 * MINUTE, steady(8.0, one_in_25))
    seen = replay(world.watched.alerts, world.watcher.store, world.now - HOUR, world.now)
    assert seen is not None
    assert {one.name for one in seen.fired} == world.names == {"http-error-surge"}
    assert "process-silent" in seen.not_judged
    higher = chosen({"http-error-surge": AlertSection("http-error-surge", threshold=0.9)})
    again = replay(higher, world.watcher.store, world.now - HOUR, world.now)
    assert again is not None
    assert again.fired == ()
    assert replay(higher, world.watcher.store, 0.0, 3600.0) is None
