"""OpenMetrics text: how a family begins, a sample, a histogram. https://openmetrics.io, version 1.0.0."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from dodai.observability.buckets import INFINITE_US
from dodai.observability.ports import Counter

CONTENT_TYPE = "application/openmetrics-text; version=1.0.0"
END = "# EOF"
COUNTERS: Mapping[Counter, str] = {
    "requests": "dodai_requests_total",
    "errors": "dodai_request_errors_total",
    "refused": "dodai_requests_refused_total",
    "duration": "dodai_request_duration_seconds_bucket",
    "duration_sum": "dodai_request_duration_seconds_sum",
}
"""What each counter is called where it is scraped."""
Labels = Mapping[str, str]
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(r"\\(.)")


def head(name: str, kind: str, words: str) -> tuple[str, str]:
    """The two lines that a family begins with."""
    return f"# TYPE {name} {kind}", f"# HELP {name} {words}"


def sample(name: str, labels: Labels, value: float) -> str:
    """One line; label values are text of others and are escaped."""
    said = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
    return f"{name}{{{said}}} {value:.13g}" if said else f"{name} {value:.13g}"


def histogram(name: str, labels: Labels, buckets: Iterable[tuple[int, int]], sum_s: float) -> Iterator[str]:
    """`buckets` are (upper bound in microseconds, requests), ascending and with the infinite one."""
    seen = 0
    for bound, count in buckets:
        seen += count
        le = "+Inf" if bound == INFINITE_US else f"{bound / 1_000_000:.9g}"
        yield sample(f"{name}_bucket", {**labels, "le": le}, seen)
    yield sample(f"{name}_count", labels, seen)
    yield sample(f"{name}_sum", labels, sum_s)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def samples(exposition: str) -> Iterator[tuple[str, dict[str, str], float]]:
    """(name, labels, value) of every line that `sample` wrote."""
    for line in exposition.split("\n"):
        if line.startswith("#") or not line:
            continue
        named, _, value = line.rpartition(" ")
        name, _, said = named.partition("{")
        labels = {key: _ESCAPED.sub(_meant, text) for key, text in _LABEL.findall(said)}
        yield name, labels, float(value)


def _meant(escape: re.Match[str]) -> str:
    return "\n" if escape[1] == "n" else escape[1]
