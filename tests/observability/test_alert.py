"""The detection matrix on a simulated clock: which alert fires for which fault, when, and which ones stay quiet."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.observability.traffic import Lines, Simulation, beat, both, failing, request, rpc, steady

from dodai.observability.alert import chosen, defaults, unknown_names
from dodai.observability.policy import AlertSection, ObservabilityPolicy
from dodai.observability.run.replay import replay

RNG = random.Random(7)
MINUTE, HOUR = 60.0, 3600.0
Traffic = Callable[[float, float], Lines]


def surge(share: float, rate: float = 2.0, **fields: Any) -> Traffic:
    return steady(rate, lambda at: failing(request(at, **fields), share, RNG))


def calls(failed: int) -> Traffic:
    return steady(1.0, lambda at: request(at, calls=f"database 2 {failed} 8.0;backend 1 0 3.0"))


def one_of_forty(at: float) -> dict[str, Any]:
    number = round(at * 8)
    route = f"/r{number % 40}"
    return failing(request(at, route=route), float(route == "/r3" and number // 40 % 10 == 0), RNG)


def one_in_25(at: float) -> dict[str, Any]:
    return failing(request(at), float(round(at * 8) % 25 == 0), RNG)


def one_in_three(at: float) -> dict[str, Any]:
    """Three requests in five minutes, the third of them fails."""
    return request(at, outcome="server_error" if round(at / 100) % 3 == 0 else "ok")


def lives(at: float) -> dict[str, Any]:
    """A process that answers a probe, ends, and is started again."""
    return request(at, instance=f"web-{int(at / 25)}", route="/readyz")


def slow(at: float) -> dict[str, Any]:
    return request(at, latencyMs=1500.0)


FAULTS: dict[str, tuple[Traffic, float, set[str]]] = {
    "all requests fail": (surge(1.0), 10 * MINUTE, {"http-error-surge", "slo-fast-burn", "slo-slow-burn", "sustained-errors", "route-errors"}),
    "4 % of requests fail": (steady(8.0, one_in_25), 10 * MINUTE, {"http-error-surge", "slo-slow-burn"}),
    "all RPCs fail": (steady(1.0, lambda at: rpc(at, outcome="server_error", status="INTERNAL")), 10 * MINUTE, {"rpc-error-surge"}),
    "a dependency is down": (calls(2), 5 * MINUTE, {"dependency-down"}),
    "every page is slow": (steady(1.0, slow), 10 * MINUTE, {"http-latency"}),
    "every RPC is slow": (steady(1.0, lambda at: rpc(at, latencyMs=800.0)), 10 * MINUTE, {"rpc-latency"}),
    "one of 40 routes fails 10 %": (steady(8.0, one_of_forty), 12 * MINUTE, {"route-errors"}),
    "1 request in 3 fails at 3 in 5 minutes": (steady(0.01, one_in_three), 2 * HOUR, {"sustained-errors"}),
    "forms are refused": (steady(1.0, lambda at: request(at, code="DOD150", status=403, outcome="client_error")), 6 * MINUTE, {"csrf-refusals"}),
    "the pool is empty": (steady(1.0, lambda at: rpc(at, poolWaitMs=400.0)), 6 * MINUTE, {"pool-wait"}),
    "the loop hangs": (steady(0.2, lambda at: beat(at, loopLagMs=5000.0)), 2 * MINUTE, {"process-hung"}),
    "a release crashes again and again": (steady(0.2, lives), 10 * MINUTE, {"crash-loop"}),
    "lines are lost": (steady(0.1, lambda at: {**beat(at), "name": "lines_dropped", "count": 3}), MINUTE, {"lines-lost"}),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_fault_fires_its_alerts_and_no_others(name: str, tmp_path: Path):
    """With example requests, and resolved once it is over."""
    traffic, lasts_s, expected = FAULTS[name]
    world = Simulation(tmp_path)
    every = 60.0 if lasts_s > HOUR else 10.0
    world.live(lasts_s, traffic, every)
    assert world.names == expected
    firing = world.watcher.history.open()
    if "error" in "".join(expected):
        assert all(one.samples for one in firing if one.fired_s and "error" in one.name)
    longest = max(max(alert.windows_s) for alert in defaults() if alert.name in expected)
    world.live(longest + 2 * MINUTE, both(steady(0.5, request), steady(0.1, beat)), longest / 30)
    assert {name for name, _, _ in world.resolved} == expected


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


def test_healthy_load_with_deploys_fires_nothing(tmp_path: Path):
    """An hour with a few refusals, missing pages, probes that fail while a release starts, and three deploys."""
    world = Simulation(tmp_path)

    def release(at: float) -> int:
        return int(at / 1200)

    def page(at: float) -> dict[str, Any]:
        fields = {
            "version": f"r{release(at)}",
            "instance": f"web-{release(at)}",
            "latencyMs": RNG.lognormvariate(3, 0.8),
        }
        if RNG.random() < 0.05:
            return request(at, route="<unmatched>", status=404, outcome="client_error", **fields)
        return failing(request(at, **fields), 0.0005, RNG)

    def starting(at: float) -> dict[str, Any]:
        return request(at, route="/readyz", status=503, outcome="server_error", instance=f"web-{release(at)}")

    def alive(at: float) -> dict[str, Any]:
        return beat(at, version=f"r{release(at)}", instance=f"web-{release(at)}")

    world.live(HOUR, both(steady(2.0, page), steady(0.1, starting), steady(0.2, alive)), 20.0)
    assert world.fired == []


def test_one_user_hammering_fires_nothing(tmp_path: Path):
    """Fifty requests a second that succeed are no fault of ours."""
    world = Simulation(tmp_path)
    world.live(4 * MINUTE, steady(50.0, lambda at: request(at, route="/me", userId="u1")), 10.0)
    assert world.fired == []


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


def test_traffic_that_stops_is_told_and_a_quiet_site_is_not(tmp_path: Path):
    """Absence means something only where there was enough before."""
    busy, quiet = Simulation(tmp_path / "busy"), Simulation(tmp_path / "quiet")
    for world, rate in ((busy, 0.5), (quiet, 0.01)):
        world.live(HOUR / 2, steady(rate, request), 30.0)
        world.live(10 * MINUTE, steady(0.2, beat), 30.0)
    assert busy.names == {"no-traffic"}
    assert quiet.names == set()


def test_slow_leak_of_latency_is_told(tmp_path: Path):
    """From 20 ms to 3 s over 10 minutes."""
    world = Simulation(tmp_path)
    start = world.now
    world.live(15 * MINUTE, steady(2.0, lambda at: request(at, latencyMs=20.0 + 5.0 * (at - start))), 5.0)
    assert world.names == {"http-latency"}
    assert world.fired[0][2] - start < 10 * MINUTE


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
