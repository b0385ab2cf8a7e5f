"""Prometheus' query API, as Prometheus, VictoriaMetrics and vendors answer it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs, urlsplit

from dodai.core.dataclass import dataclass
from dodai.observability.buckets import INFINITE_US
from dodai.observability.openmetrics import COUNTERS
from dodai.observability.ports import Added, Counter
from dodai.providers.telemetry import answer

_OWN = ("kind", "service", "name", "le")


@dataclass(frozen=True, slots=True)
class Prometheus:
    """`dodai.observability.ports.KeptCounters` at `address`.

    The address may end in `?match=LABEL="VALUE"`, for an engine that several environments are kept in.
    """

    address: str

    def added(self, counter: Counter, kind: str, start_s: int, step_s: int, count: int) -> Sequence[Added]:
        name, found = COUNTERS[counter], []
        times = {"start": str(start_s), "end": str(start_s + step_s * count), "step": str(step_s)}
        rows = self._asked("/api/v1/query_range", {"query": f"{name}{self._selector(kind=kind)}", **times})
        for labels, values in _one_of_each(name, rows):
            service, series, bound = labels.get("service", ""), labels.get("name", ""), _bound_us(labels.get("le", ""))
            before: tuple[int, float] | None = None
            for at, text in values:
                now = (round(float(at)), float(text))
                if before is not None and now[0] - before[0] == step_s:
                    more = now[1] - before[1] if now[1] >= before[1] else now[1]  # it began again
                    found.append(Added(now[0], service, series, more, bound))
                before = now
        return found

    def judged_s(self, now_s: float) -> float | None:
        rows = self._asked(
            "/api/v1/query", {"query": f"dodai_judged_timestamp_seconds{self._selector()}", "time": f"{now_s:.3f}"}
        )
        return max((float(row["value"][1]) for row in rows), default=None)

    def firing(self, now_s: float) -> Sequence[tuple[str, str]]:
        asked = {"query": f"dodai_alert_firing{self._selector()} == 1", "time": f"{now_s:.3f}"}
        rows = self._asked("/api/v1/query", asked)
        return sorted({(row["metric"].get("alert", ""), row["metric"].get("about", "")) for row in rows})

    def _selector(self, **labels: str) -> str:
        mine = [f'{name}="{value}"' for name, value in labels.items()]
        chosen = parse_qs(urlsplit(self.address).query).get("match", [])
        return "{" + ",".join([*mine, *chosen]) + "}"

    def _asked(self, path: str, query: Mapping[str, str]) -> list[dict[str, Any]]:
        with answer(self.address.partition("?")[0], path, query) as body:
            said = json.load(body)
        if not isinstance(said, dict) or said.get("status") != "success":
            raise ValueError("the answer is not one of Prometheus' API")
        rows: list[dict[str, Any]] = said["data"]["result"]
        return rows


def _one_of_each(name: str, rows: Sequence[Mapping[str, Any]]) -> Iterator[tuple[Mapping[str, str], Any]]:
    """Labels and values of each series; raises `ValueError` where two are of one series, which nobody may add up."""
    seen: dict[tuple[str, ...], Mapping[str, str]] = {}
    for row in rows:
        labels = row["metric"]
        key = tuple(labels.get(own, "") for own in _OWN)
        if key in seen:
            others = [
                ",".join(f'{one}="{value}"' for one, value in sorted(each.items()) if one not in (*_OWN, "__name__"))
                for each in (seen[key], labels)
            ]
            raise ValueError(
                f"`{name}` of `{' '.join(key[1:3])}` is there twice, as `{others[0]}` and as `{others[1]}`:"
                ' say which one with `?match=LABEL="VALUE"`'
            )
        seen[key] = labels
        yield labels, row["values"]


def _bound_us(le: str) -> int:
    if not le:
        return 0
    return INFINITE_US if le == "+Inf" else round(float(le) * 1_000_000)
