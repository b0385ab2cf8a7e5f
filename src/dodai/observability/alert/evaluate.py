"""The embedded evaluator: alerts against the rollups at one moment. It knows the one form and no query language.

`tests/observability/test_prometheus.py` holds it to what the real Prometheus fires on the same traffic.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import field
from typing import Protocol

from dodai.core.dataclass import dataclass
from dodai.observability.alert.form import QUIET, STATED, Alert
from dodai.observability.buckets import bounds_us, quantile_ms
from dodai.observability.policy import STOPPING
from dodai.observability.rollup import InstanceCell, Kind, Totals

Series = tuple[str, str]
"""(service, name); the name is empty for an alert that stands for a service."""


REPLAYABLE = frozenset({"error-ratio", "refusal-ratio", "p95-ms", "pool-wait-ms", "requests", "dropped"})
"""The measures that rollups keep. How single processes and the disk were is not kept, so of the past those alerts
are not judged."""


_OVERLAP_S = 60.0
"""For how long a process may go on beside its successor: the one starts and is asked while the other finishes."""


class View(Protocol):
    """What an alert may look at."""

    def totals(
        self, kind: Kind, since_s: float, until_s: float, *, by_name: bool, histograms: bool
    ) -> Mapping[Series, Totals]: ...

    def samples(
        self, kind: Kind, service: str, name: str, since_s: float, until_s: float, *, failed: bool
    ) -> tuple[str, ...]: ...

    def instances(self) -> Mapping[tuple[str, str], InstanceCell]: ...

    def events(self, since_s: float) -> list[tuple[float, str, str, str]]: ...


@dataclass(slots=True)
class OneLook:
    """A view at one moment: several alerts have the same window, which is summed up once."""

    store: View
    _sums: dict[tuple[object, ...], Mapping[Series, Totals]] = field(default_factory=dict)
    _instances: Mapping[tuple[str, str], InstanceCell] | None = None

    def totals(
        self, kind: Kind, since_s: float, until_s: float, *, by_name: bool, histograms: bool
    ) -> Mapping[Series, Totals]:
        key = (kind, since_s, until_s, by_name, histograms)
        if key not in self._sums:
            self._sums[key] = self.store.totals(kind, since_s, until_s, by_name=by_name, histograms=histograms)
        return self._sums[key]

    def samples(
        self, kind: Kind, service: str, name: str, since_s: float, until_s: float, *, failed: bool
    ) -> tuple[str, ...]:
        return self.store.samples(kind, service, name, since_s, until_s, failed=failed)

    def instances(self) -> Mapping[tuple[str, str], InstanceCell]:
        if self._instances is None:
            self._instances = self.store.instances()
        return self._instances

    def events(self, since_s: float) -> list[tuple[float, str, str, str]]:
        return self.store.events(since_s)


@dataclass(frozen=True, slots=True)
class Reading:
    """What an alert measured of one series; `breached` is its condition now, before `for_s`."""

    alert: Alert
    service: str
    name: str
    value: float
    breached: bool
    bad: int = 0
    count: int = 0
    samples: tuple[str, ...] = ()

    @property
    def about(self) -> str:
        return f"{self.service} {self.name}".strip()


Stated = Mapping[str, Sequence[tuple[str, float]]]
"""(what it is about, value) by measure, of what lines cannot tell."""


def readings(alert: Alert, view: View, now_s: float, stated: Stated | None = None) -> list[Reading]:
    """What `alert` measures of every series it can be about. What nobody stated is not judged."""
    if alert.measure in STATED:
        return [_of_statement(alert, about, value) for about, value in (stated or {}).get(alert.measure, ())]
    match alert.measure:
        case "loop-lag-ms" | "silent-s" | "short-lives":
            return list(_of_instances(alert, view, now_s))
        case "dropped":
            return list(_of_lost_lines(alert, view, now_s))
        case "requests":
            return list(_of_absence(alert, view, now_s))
    return list(_of_windows(alert, view, now_s))


def _of_statement(alert: Alert, about: str, value: float) -> Reading:
    service, _, name = about.partition(" ")
    breached = value < alert.threshold if alert.fires_below else value > alert.threshold
    return Reading(alert, service, name, value, breached)


def _of_windows(alert: Alert, view: View, now_s: float) -> Iterator[Reading]:
    by_name, slow = alert.by == "name", alert.measure in ("p95-ms", "pool-wait-ms")
    quantile = alert.measure == "p95-ms"
    windows = [view.totals(alert.kind, now_s - w, now_s, by_name=by_name, histograms=quantile) for w in alert.windows_s]
    for series in sorted(set().union(*windows)):
        measured = [_measured(alert, window.get(series, Totals())) for window in windows]
        first = windows[0].get(series, Totals())
        breached = all(value is not None and value > alert.threshold for value in measured)
        value = min((value for value in measured if value is not None), default=0.0)
        bad = first.refused if alert.measure == "refusal-ratio" else first.errors
        since_s = now_s - alert.windows_s[0]
        samples = view.samples(alert.kind, *series, since_s, now_s, failed=not slow) if breached else ()
        yield Reading(alert, *series, value, breached, bad, first.count, samples)


def _measured(alert: Alert, total: Totals) -> float | None:
    """The measure of one window; None when there is too little to say."""
    bad = total.refused if alert.measure == "refusal-ratio" else total.errors
    if total.count < max(1, alert.min_count) or bad < alert.min_bad:
        return None
    if alert.measure == "p95-ms":
        return quantile_ms(total.histogram, 0.95, bounds_us((alert.threshold,)))
    return (total.pool_ms if alert.measure == "pool-wait-ms" else bad) / total.count


def _of_instances(alert: Alert, view: View, now_s: float) -> Iterator[Reading]:
    instances, window = view.instances(), max(alert.windows_s)
    stopped = {(service, name) for _, service, event, name in view.events(now_s - window) if event == STOPPING}
    by_service: dict[str, list[InstanceCell]] = {}
    for (service, _), instance in instances.items():
        by_service.setdefault(service, []).append(instance)
    for service, there in sorted(by_service.items()):
        if alert.measure == "short-lives":
            if not any(one.beating for one in there):
                continue  # of a service without heartbeats nobody knows whether a quiet process ended
            crashed = [one for (of, name), one in instances.items() if of == service and (of, name) not in stopped]
            value = _short_lives(crashed, now_s, window)
        elif alert.measure == "silent-s":
            value = _silence(there, now_s, window, alert.threshold)
        else:
            lags = [one.loop_lag_ms for one in there if one.beating and now_s - one.heard_s <= window]
            value = max(lags, default=0.0)
        yield Reading(alert, service, "", value, value > alert.threshold, count=len(there))


def _short_lives(there: list[InstanceCell], now_s: float, window_s: float) -> float:
    """How many of these, of one release, began in the window and have ended again: the most of any release."""
    quiet_s = window_s * QUIET
    ended: dict[str, int] = {}
    for one in there:
        if one.first_s > now_s - window_s and now_s - one.heard_s > quiet_s:
            ended[one.version] = ended.get(one.version, 0) + 1
    return float(max(ended.values(), default=0))


def _silence(there: list[InstanceCell], now_s: float, window_s: float, threshold_s: float) -> float:
    """How long a beating process has been silent that nothing replaced.

    One that was deployed away has a successor of another release that was heard later than it; one that was restarted
    a successor that was first heard at about the time it fell silent. After the window it is forgotten. Beside others
    that go on, a silent one counts as much: it may hold connections.
    """
    beating = [one for one in there if one.beating and now_s - one.heard_s <= window_s]
    silent = [one for one in beating if now_s - one.heard_s > threshold_s]
    alive = [one for one in there if now_s - one.heard_s <= threshold_s]
    unreplaced = (one for one in silent if not any(_replaces(other, one) for other in alive))
    return max((now_s - one.heard_s for one in unreplaced), default=0.0)


def _replaces(new: InstanceCell, old: InstanceCell) -> bool:
    if new.version != old.version:
        return new.first_s > old.first_s
    return new.first_s > old.last_s - _OVERLAP_S


def _of_lost_lines(alert: Alert, view: View, now_s: float) -> Iterator[Reading]:
    lost: dict[str, int] = {}
    for _, service, name, _ in view.events(now_s - alert.windows_s[0]):
        lost[service] = lost.get(service, 0) + (name == "lines_dropped")
    for service, count in sorted(lost.items()):
        yield Reading(alert, service, "", float(count), count > alert.threshold, bad=count)


def _of_absence(alert: Alert, view: View, now_s: float) -> Iterator[Reading]:
    """Below the threshold in the first window, although there was enough in the second one."""
    short, long = alert.windows_s
    now = view.totals(alert.kind, now_s - short, now_s, by_name=False, histograms=False)
    before = view.totals(alert.kind, now_s - long, now_s, by_name=False, histograms=False)
    for series, total in sorted(before.items()):
        count = now.get(series, Totals()).count
        breached = total.count >= alert.min_count and count < alert.threshold
        yield Reading(alert, *series, float(count), breached, count=count)
