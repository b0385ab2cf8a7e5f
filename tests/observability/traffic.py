"""Traffic as lines, and a watcher whose clock a test moves: hours of it in a second."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dodai.core.request import format_request_id
from dodai.observability.alert import Alert, Firing
from dodai.observability.line_format import dump
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.ports import Standing
from dodai.observability.run import Watched, Watcher

T0 = 1_795_000_000.0
Lines = Iterator[dict[str, Any]]


def request(at: float, service: str = "web", **fields: Any) -> dict[str, Any]:
    """One HTTP line that ended at `at`; an `outcome` that failed gets status 500."""
    status = 500 if fields.get("outcome") == "server_error" else 200
    request_id = format_request_id(int(at * 1000), random.Random(at).getrandbits(74))
    base = {"ts": at, "v": 1, "type": "http", "service": service, "instance": f"{service}-1", "version": "r1"}
    return {
        **base, "method": "GET", "route": "/", "status": status, "outcome": "ok", "latencyMs": 20.0,
        "requestId": request_id, **fields,
    }  # fmt: skip


def rpc(at: float, **fields: Any) -> dict[str, Any]:
    line = request(at, **{"service": "backend", "type": "rpc", "rpc": "quiz.Quiz/Get", **fields})
    return {key: value for key, value in line.items() if key not in ("method", "route")}


def beat(at: float, service: str = "web", instance: str = "", **fields: Any) -> dict[str, Any]:
    base = {"ts": at, "v": 1, "type": "event", "name": "heartbeat", "service": service, "version": "r1"}
    return {**base, "instance": instance or f"{service}-1", "inFlight": 0, "dropped": 0, "loopLagMs": 1.0, **fields}


def failing(fields: dict[str, Any], share: float, rng: random.Random) -> dict[str, Any]:
    return {**fields, "outcome": "server_error", "status": 500} if rng.random() < share else fields


@dataclass
class Simulation:
    """`step` lives through the next seconds: `lines(from, to)` are written, then the watcher ticks."""

    folder: Path
    policy: ObservabilityPolicy = field(default_factory=ObservabilityPolicy)
    fast: bool = False
    now: float = T0
    steady: float = 0.0
    public: str = ""
    states: Standing = field(default_factory=lambda: Standing({}))
    fired: list[tuple[str, str, float]] = field(default_factory=list)
    resolved: list[tuple[str, str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watched = Watched(
            "quiz", "test", self.folder, self.policy, frozenset({"/readyz"}), public=self.public, fast=self.fast
        )
        self.watcher = Watcher(self.watched, {}, standings=self, clock=lambda: self.now, steady=lambda: self.steady)

    def live(self, seconds: float, lines: Callable[[float, float], Lines], every: float = 0.0) -> None:
        """`seconds` of traffic, evaluated every `every` seconds (by default as often as `watch` does)."""
        end = self.now + seconds
        while self.now < end:
            since, self.now = self.now, min(end, self.now + (every or self.watched.tick_s))
            self.steady += self.now - since
            self.watcher.heed_clock()
            self.watcher.look()
            for line in lines(since, self.now):
                self.watcher.tally.add(dump(line), self.now, live=True)
            self.watcher.store.keep(self.watcher.tally.take(), {}, self.now)
            for one, _, change in self.watcher.judge():
                self.note(one, _, change)

    def look(self) -> Standing:
        """How the environment says that it stands."""
        return self.states

    def note(self, one: Firing, alert: Alert, change: str) -> None:
        rows = self.fired if change == "firing" else self.resolved
        rows.append((alert.name, one.about, self.now))

    @property
    def names(self) -> set[str]:
        """The alerts that fired so far."""
        return {name for name, _, _ in self.fired}


def steady(rate: float, make: Callable[[float], dict[str, Any]]) -> Callable[[float, float], Lines]:
    """`rate` lines a second, evenly, whatever the steps are."""

    def lines(since: float, until: float) -> Lines:
        first = int((since - T0) * rate) + 1
        last = int((until - T0) * rate)
        yield from (make(T0 + number / rate) for number in range(first, last + 1))

    return lines


def both(*parts: Callable[[float, float], Lines]) -> Callable[[float, float], Lines]:
    def lines(since: float, until: float) -> Lines:
        for part in parts:
            yield from part(since, until)

    return lines
