"""Prometheus of the stand-in: counters scraped from machines by their `[metrics]`, and the one query asked of them."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.observability.openmetrics import samples
from dodai.standins.fly.machine_process import FlyMachine

Labels = tuple[tuple[str, str], ...]
_QUERY = re.compile(r"^sum by \(([\w, ]+)\) \(increase\((\w+)\{(.*)\}\[(\d+)s\]\)\)$")
_MATCHER = re.compile(r'(\w+)(=~|=)"((?:[^"\\]|\\.)*)"')
SCRAPE_S = 2.0


@dataclass(slots=True)
class AppMetrics:
    """Every sample since the beginning: (time, value) of each series of each machine."""

    every_s: float = SCRAPE_S
    samples: dict[tuple[str, Labels], list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))
    _due: float = 0.0
    _alone: threading.Lock = field(default_factory=threading.Lock)

    def scrape(self, machines: Iterable[FlyMachine]) -> None:
        """Ask each machine that runs and has `[metrics]`, when it is time."""
        if time.monotonic() < self._due:
            return
        self._due = time.monotonic() + self.every_s
        for machine in machines:
            if machine.state == "started" and (path := (machine.config.get("metrics") or {}).get("path")):
                self._scrape(machine, path)

    def _scrape(self, machine: FlyMachine, path: str) -> None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{machine.port}{path}", timeout=1) as answer:
                text = answer.read().decode("utf-8", "replace")
        except OSError:
            return
        now = time.time()
        theirs = {"app": machine.app, "instance": machine.id, "region": machine.region}
        with self._alone:
            for name, labels, value in samples(text):
                self.samples[name, tuple(sorted({**labels, **theirs}.items()))].append((now, value))

    def query_range(self, query: Mapping[str, str]) -> list[dict[str, Any]] | None:
        """The matrix of `sum by (…) (increase(NAME{…}[Ns]))`; None for anything else."""
        asked = _QUERY.match(query.get("query", ""))
        times = [query.get(name, "") for name in ("start", "end", "step")]
        if not asked or not all(map(str.isdigit, times)) or int(times[2]) < 1:
            return None
        start_s, end_s, step_s = map(float, times)
        by, name, matchers, span_s = asked[1].split(", "), asked[2], _MATCHER.findall(asked[3]), float(asked[4])
        sums: dict[Labels, dict[float, float]] = defaultdict(lambda: defaultdict(float))
        with self._alone:
            for (metric, labels), points in self.samples.items():
                told = dict(labels)
                if metric != name or not all(_matches(told, *each) for each in matchers):
                    continue
                group = tuple((label, told[label]) for label in by if label in told)
                at = start_s
                while at <= end_s:
                    if (more := _increase(points, at - span_s, at)) is not None:
                        sums[group][at] += more
                    at += step_s
        return [
            {"metric": dict(group), "values": [[at, f"{value:g}"] for at, value in sorted(found.items())]}
            for group, found in sums.items()
        ]


def _matches(labels: Mapping[str, str], name: str, operator: str, value: str) -> bool:
    there = labels.get(name, "")
    return there == value if operator == "=" else re.fullmatch(value, there) is not None


def _increase(points: list[tuple[float, float]], since: float, until: float) -> float | None:
    """As VictoriaMetrics counts it: from the last sample before the range on; a smaller value began again."""
    inside = [value for at, value in points if since < at <= until]
    if not inside:
        return None
    before = [value for at, value in points if at <= since]
    total, last = 0.0, before[-1] if before else 0.0
    for value in inside:
        total += value - last if value >= last else value
        last = value
    return total
