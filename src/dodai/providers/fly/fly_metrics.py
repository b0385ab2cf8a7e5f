"""Counters that Fly scrapes from machines by `[metrics]` of fly.toml, read back from its Prometheus.

https://fly.io/docs/monitoring/metrics: VictoriaMetrics behind `/prometheus/ORG`; its `increase` is exact over restarts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.observability.buckets import INFINITE_US
from dodai.observability.openmetrics import COUNTERS
from dodai.observability.ports import Added, Counter
from dodai.providers.fly.machines_api import SHOW_APP
from dodai.vendor_api import Api, OffContractError, Operation, one

DEADLINE_S = 30.0


@dataclass(frozen=True, slots=True)
class FlySeries:
    """One series: its labels, and (time, value) at each step."""

    metric: Mapping[str, str] = field(default_factory=dict)
    values: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class FlySeriesFound:
    """The result of a range query."""

    result: tuple[FlySeries, ...] = ()


@dataclass(frozen=True, slots=True)
class FlyQueryAnswer:
    """What Prometheus answers."""

    status: str
    data: FlySeriesFound = field(default_factory=FlySeriesFound)


QUERY_RANGE = Operation(
    name="Prometheus_query_range",
    method="GET",
    path="/prometheus/{organisation}/api/v1/query_range",
    reply=one(FlyQueryAnswer),
    source="transcribed",
)


@dataclass(frozen=True, slots=True)
class FlyCounters:
    """`dodai.observability.ports.KeptCounters` of the services in `apps`, all machines of each together.

    `machines` is the Machines API, which knows the organisation, `platform` the one behind which Prometheus is.
    """

    machines: Callable[[], Api] = field(repr=False)
    platform: Callable[[], Api] = field(repr=False)
    apps: Mapping[str, str]

    def added(self, counter: Counter, kind: str, start_s: int, step_s: int, count: int) -> Sequence[Added]:
        apps = "|".join(sorted(set(self.apps.values())))
        chosen = f'{COUNTERS[counter]}{{kind="{kind}",app=~"{apps}"}}'
        query = f"sum by (service, name, le) (increase({chosen}[{step_s}s]))"
        try:
            return list(self._added(query, start_s, step_s, count))
        except (DodaiError, OffContractError) as error:
            raise OSError(error.message if isinstance(error, DodaiError) else str(error)) from error

    def judged_s(self, now_s: float) -> float | None:
        """Machines judge nothing: alerts are evaluated by a `watch`, which nobody at Fly knows."""
        del now_s
        return None

    def firing(self, now_s: float) -> Sequence[tuple[str, str]]:
        """None that is known there."""
        del now_s
        return ()

    def _added(self, query: str, start_s: int, step_s: int, count: int) -> Iterator[Added]:
        app = {"app": next(iter(self.apps.values()))}
        organisation = self.machines().call_now(SHOW_APP, path=app, deadline_s=DEADLINE_S).value.organization.slug
        asked: dict[str, str | int] = {"query": query, "start": start_s + step_s, "step": step_s}
        asked["end"] = start_s + step_s * count
        path = {"organisation": organisation}
        found = self.platform().call_now(QUERY_RANGE, path=path, query=asked, deadline_s=DEADLINE_S).value
        if found.status != "success":
            raise OSError("the answer is not one of Prometheus' API")
        for series in found.data.result:
            labels, bound = series.metric, series.metric.get("le", "")
            bound_us = 0 if not bound else INFINITE_US if bound == "+Inf" else round(float(bound) * 1_000_000)
            for at, value in series.values:
                yield Added(round(float(at)), labels.get("service", ""), labels.get("name", ""), float(value), bound_us)
