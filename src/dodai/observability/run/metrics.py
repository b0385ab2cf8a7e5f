"""The rollups as OpenMetrics text, for Prometheus and whatever scrapes like it: one page for tiers in any language."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from dodai.observability.alert import History
from dodai.observability.buckets import bounds_us
from dodai.observability.openmetrics import END, head, histogram, sample
from dodai.observability.rollup import InstanceCell, Store


def exposition(store: Store, thresholds_ms: Iterable[float] = ()) -> str:
    """Every counter since the rollups began, and what processes and alerts are now; ends with `# EOF`."""
    lines = [*_counters(store), *_histograms(store, bounds_us(thresholds_ms)), *_processes(store)]
    lines += [*_releases(store), *_events(store)]
    return "\n".join([*lines, *_watch(store), *_alerts(store), END]) + "\n"


_COUNTERS = (
    ("dodai_requests", "count", "Requests, calls and tasks that ended"),
    ("dodai_request_errors", "errors", "Those that failed by our own fault"),
    ("dodai_requests_refused", "refused", "Those that the CSRF layer refused"),
    ("dodai_pool_wait_seconds", "pool_ms", "Time spent waiting for a connection of a pool"),
)


def _counters(store: Store) -> Iterator[str]:
    rows = store.counters()
    for name, column, words in _COUNTERS:
        yield from head(name, "counter", words)
        for kind, service, series, total in rows:
            value = getattr(total, column)
            shown = value / 1000 if column == "pool_ms" else value
            yield sample(f"{name}_total", {"kind": kind, "service": service, "name": series}, shown)


def _histograms(store: Store, bounds: tuple[int, ...]) -> Iterator[str]:
    """Dependencies have totals only."""
    name = "dodai_request_duration_seconds"
    yield from head(name, "histogram", "What users waited for, the first byte of a stream")
    for kind, service, series, total in store.counters():
        if kind == "dependency":
            continue
        labels = {"kind": kind, "service": service, "name": series}
        buckets = [(bound, total.histogram.get(bound, 0)) for bound in sorted({*bounds, *total.histogram})]
        yield from histogram(name, labels, buckets, total.sum_ms / 1000)


_PROCESSES: tuple[tuple[str, str, Callable[[InstanceCell], float]], ...] = (
    ("dodai_loop_lag_seconds", "How late the event loop of a process answers", lambda one: one.loop_lag_ms / 1000),
    ("dodai_in_flight", "Requests being served", lambda one: one.in_flight),
    ("dodai_heard_timestamp_seconds", "When a process was last heard", lambda one: one.heard_s),
)


def _processes(store: Store) -> Iterator[str]:
    beating = [(key, one) for key, one in store.instances().items() if one.beating]
    for name, words, value in _PROCESSES:
        yield from head(name, "gauge", words)
        for (service, instance), one in beating:
            yield sample(name, {"service": service, "instance": instance}, value(one))


def _releases(store: Store) -> Iterator[str]:
    name, first = "dodai_release_heard_timestamp_seconds", dict[tuple[str, str], float]()
    yield from head(name, "gauge", "When a release was heard for the first time, of those of the last day")
    for (service, _), one in store.instances().items():
        if one.version:
            first[service, one.version] = min(one.first_s, first.get((service, one.version), one.first_s))
    for (service, version), at_s in sorted(first.items()):
        yield sample(name, {"service": service, "version": version}, at_s)


def _events(store: Store) -> Iterator[str]:
    yield from head("dodai_events", "counter", "Events of processes, such as lines_dropped and breaker_open")
    rows = store.database.execute("SELECT service, name, count(*) FROM event GROUP BY service, name")
    for service, event, count in rows:
        yield sample("dodai_events_total", {"service": service, "event": event}, count)


def _watch(store: Store) -> Iterator[str]:
    facts = store.facts()
    yield from head("dodai_judged_timestamp_seconds", "gauge", "When alerts were evaluated last")
    yield sample("dodai_judged_timestamp_seconds", {}, facts.get("judged_s", 0.0))


def _alerts(store: Store) -> Iterator[str]:
    yield from head("dodai_alert_firing", "gauge", "Alerts that the embedded evaluator says fire")
    for one in History(store).open():
        if one.fired_s:
            yield sample("dodai_alert_firing", {"alert": one.name, "about": one.about}, 1)
