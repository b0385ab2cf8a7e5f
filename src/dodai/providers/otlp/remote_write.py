"""Prometheus remote write 1.0: every sample of the exposition with its time, for engines that do not scrape.

https://prometheus.io/docs/specs/prw/remote_write_spec/. It is here because its messages are protobuf too.
"""

from __future__ import annotations

from dodai.observability.openmetrics import samples
from dodai.providers.otlp.protobuf import data, double, messages, number, text, varint

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
