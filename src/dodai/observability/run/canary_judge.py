"""The lines of a canary beside those of the rest, judged by the alert engine over one window."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import orjson

from dodai.core.dataclass import dataclass
from dodai.core.text import counted
from dodai.observability.alert import Alert, Reading, alerts_of, readings
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.rollup import Kind, Store, Tally

NAMES = frozenset({"http-error-surge", "rpc-error-surge", "http-latency", "rpc-latency"})
"""The alerts that a canary is judged by, with the thresholds of the manifest."""
KINDS: tuple[Kind, ...] = ("http", "rpc")
TIMES_THE_REST = {"error-ratio": 2.0, "p95-ms": 1.5}
"""A canary may be this much worse than the rest before its own threshold counts: nobody undoes it for what all have."""
LEAST_FAILED = 3
SLACK_S = 300.0
"""Clocks of machines may be off; every line that was added counts."""


@dataclass(frozen=True, slots=True)
class CanaryVerdict:
    """`requests` of the canary and of the `rest`; `worse` are sentences, with the ids of requests to look at."""

    requests: int
    rest: int
    worse: tuple[str, ...] = ()
    samples: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()


class CanaryTraffic:
    """What one release of `service` and all others of it answered since this was made. Close it."""

    def __init__(
        self, service: str, release: str, policy: ObservabilityPolicy, probes: frozenset[str], least: int
    ) -> None:
        self.service, self.release, self.least = service, release, least
        self.alerts = tuple(one for one in alerts_of(policy) if one.name in NAMES)
        thresholds = tuple(one.threshold for one in self.alerts if one.measure == "p95-ms")
        self._canary, self._rest = (Store(None, cell_s=1) for _ in range(2))
        self._tallies = {store: Tally(1, probes, thresholds) for store in (self._canary, self._rest)}
        self._first_s = 0.0

    def close(self) -> None:
        self._canary.close()
        self._rest.close()

    def add(self, lines: Iterable[bytes], now_s: float) -> None:
        """Lines of the service as they were written; one that says no version belongs to nobody."""
        self._first_s = self._first_s or now_s
        for raw in lines:
            try:
                version = orjson.loads(raw).get("version")
            except (ValueError, AttributeError):
                continue
            if version:
                self._tallies[self._canary if version == self.release else self._rest].add(raw, now_s, live=False)
        for store, tally in self._tallies.items():
            if batch := tally.take():
                store.keep(batch, {}, now_s)

    def verdict(self, now_s: float) -> CanaryVerdict:
        """How the canary stands beside the rest now."""
        window_s = now_s - self._first_s + 2 * SLACK_S
        worse, samples, seen = list[str](), dict[str, None](), list[str]()
        for alert in self.alerts:
            canary, rest = self._beside(replace(alert, windows_s=(window_s,), min_count=self.least), now_s + SLACK_S)
            if canary is None:
                continue
            enough = rest is not None and rest.count >= self.least
            among = f"{alert.shown(rest.value)} of {rest.count}" if rest and enough else "too few to say"
            said = (
                f"{alert.measure} {alert.shown(canary.value)} of {counted(canary.count, 'request')}, the rest {among}"
            )
            seen.append(said)
            if canary.breached:
                worse.append(f"{said}: above {canary.alert.shown(canary.alert.threshold)}")
                samples |= dict.fromkeys(canary.samples)
        counts = (self._count(self._canary, now_s), self._count(self._rest, now_s))
        return CanaryVerdict(*counts, tuple(worse), tuple(samples), tuple(seen))

    def _beside(self, alert: Alert, now_s: float) -> tuple[Reading | None, Reading | None]:
        """The canary's reading, under the threshold that the rest leaves it, and the reading of the rest."""
        rest = self._reading(replace(alert, min_bad=0), self._rest, now_s)
        floor = rest.value * TIMES_THE_REST[alert.measure] if rest else 0.0
        least_bad = LEAST_FAILED if alert.measure == "error-ratio" else 0
        own = replace(alert, threshold=max(alert.threshold, floor), min_bad=least_bad)
        return self._reading(own, self._canary, now_s), rest

    def _reading(self, alert: Alert, store: Store, now_s: float) -> Reading | None:
        return next((one for one in readings(alert, store, now_s) if one.service == self.service), None)

    def _count(self, store: Store, now_s: float) -> int:
        since_s, until_s = self._first_s - SLACK_S, now_s + SLACK_S
        found = (store.totals(kind, since_s, until_s, by_name=False, histograms=False) for kind in KINDS)
        return sum(total.count for totals in found for (service, _), total in totals.items() if service == self.service)
