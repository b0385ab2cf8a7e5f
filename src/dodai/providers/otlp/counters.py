"""The counters of the rollups as OTLP: cumulative sums and histograms since the rollups began."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence

from dodai.observability.buckets import INFINITE_US
from dodai.observability.openmetrics import samples
from dodai.observability.rollup import Totals
from dodai.providers.otlp.protobuf import data, double, fixed64, messages, number, text, varint

Series = tuple[str, str, str, Totals]
"""(kind, service, name, sum since the beginning), as `Store.counters` has it."""
_CUMULATIVE = 2
_SUMS: tuple[tuple[str, str, Callable[[Totals], float]], ...] = (
    ("dodai.requests", "Requests, calls and tasks that ended", lambda one: one.count),
    ("dodai.request.errors", "Those that failed by our own fault", lambda one: one.errors),
    ("dodai.requests.refused", "Those that the CSRF layer refused", lambda one: one.refused),
)


def metrics(found: Sequence[Series], since_s: float, now_s: float) -> bytes:
    """An `ExportMetricsServiceRequest`: one resource for each service."""
    times = fixed64(2, round(since_s * 1e9)) + fixed64(3, round(now_s * 1e9))
    resources = []
    for service in dict.fromkeys(one[1] for one in found):
        own = [one for one in found if one[1] == service]
        made = [_sum(name, words, value, own, times) for name, words, value in _SUMS]
        made.append(_histogram([one for one in own if one[0] != "dependency"], times))
        scope = data(1, text(1, "dodai")) + messages(2, made)
        resources.append(data(1, data(1, _attribute("service.name", service))) + data(2, scope))
    return messages(1, resources)


def _sum(name: str, words: str, value: Callable[[Totals], float], own: Iterable[Series], times: bytes) -> bytes:
    points = (times + double(4, value(total)) + _labels(kind, series) for kind, _, series, total in own)
    body = messages(1, points) + number(2, _CUMULATIVE) + number(3, 1)
    return text(1, name) + text(2, words) + text(3, "1") + data(7, body)


def _histogram(own: Iterable[Series], times: bytes) -> bytes:
    points = (_point(kind, series, total, times) for kind, _, series, total in own)
    body = messages(1, points) + number(2, _CUMULATIVE)
    words = "What users waited for, the first byte of a stream"
    return text(1, "dodai.request.duration") + text(2, words) + text(3, "s") + data(9, body)


def _point(kind: str, series: str, total: Totals, times: bytes) -> bytes:
    bounds = sorted(bound for bound in total.histogram if bound != INFINITE_US)
    counts = [total.histogram[bound] for bound in bounds] + [total.histogram.get(INFINITE_US, 0)]
    return b"".join(
        (
            times,
            fixed64(4, sum(counts)),
            double(5, total.sum_ms / 1000),
            data(6, struct.pack(f"<{len(counts)}Q", *counts)),
            data(7, struct.pack(f"<{len(bounds)}d", *(bound / 1e6 for bound in bounds))),
            messages(9, (_attribute("kind", kind), _attribute("name", series))),
        )
    )


def _labels(kind: str, series: str) -> bytes:
    return messages(7, (_attribute("kind", kind), _attribute("name", series)))


def _attribute(key: str, value: str) -> bytes:
    return text(1, key) + data(2, data(1, value.encode("utf-8", "replace")))


HEADERS = {
    "content-type": "application/x-protobuf",
    "content-encoding": "snappy",
    "x-prometheus-remote-write-version": "0.1.0",
}
_LITERAL_OF_4_BYTES = 63 << 2
"""The tag of a literal whose length, less one, is in the four bytes behind it."""


def write_request(exposition: str, now_s: float, instance: str) -> bytes:
    """A `WriteRequest`: one sample of each series at `now_s`, with the labels that a scrape would have added."""
    own = {"job": "dodai", "instance": instance}
    at = number(2, round(now_s * 1000))
    series = []
    for name, labels, value in samples(exposition):
        theirs = {f"exported_{key}" if key in own else key: said for key, said in labels.items()}  # as a scrape does
        named = sorted({**own, **theirs, "__name__": name}.items())
        series.append(messages(1, (text(1, key) + text(2, said) for key, said in named if said)))
        series[-1] += data(2, double(1, value) + at)
    return messages(1, series)


def snappy(body: bytes) -> bytes:
    """`body` as one literal of the block format, which is valid and not smaller; the standard library has no snappy."""
    if not body:
        return varint(0)
    return varint(len(body)) + bytes([_LITERAL_OF_4_BYTES]) + (len(body) - 1).to_bytes(4, "little") + body
