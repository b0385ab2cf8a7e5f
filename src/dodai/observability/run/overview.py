"""What the page and the terminal show of an environment at one moment, read from its rollups."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import field, fields
from typing import Any, Literal

from dodai.core.dataclass import dataclass
from dodai.core.text import Text
from dodai.engine.moment import utc
from dodai.observability.alert import Alert, Firing, History
from dodai.observability.buckets import bounds_us
from dodai.observability.rollup import Store, Totals
from dodai.observability.rollup.clock_step import EVENT as CLOCK_SET
from dodai.observability.rollup.clock_step import MOVES
from dodai.observability.run.curves import Curve, Curves, Row, SeenCells, summed
from dodai.observability.run.watcher import Watched

LampState = Literal["up", "failing", "down", "unknown"]
_LISTED = 200
_PARAMETER = re.compile(r"\{[^}]*\}|<[^>]*>|:[^/]+|\$[^/]+")
_TOLD_S = 3600.0
"""For how long it is shown that the clock was set."""
STALE_TICKS = 6
"""After how many evaluations that did not happen what is shown is called old."""


@dataclass(frozen=True, slots=True)
class Lamp:
    """A dependency as its caller sees it over the last minute; `unknown` when nobody called it."""

    service: str
    name: str
    state: LampState
    count: int
    errors: int
    mean_ms: float | None


@dataclass(frozen=True, slots=True)
class Overview:
    """`read_s` and `judged_s` are 0 when that never happened; `problems` are sentences, `left_out` rows absent.

    What is shown ends at `until_s`: now, or where it is `stale`, when somebody last evaluated.
    """

    at_s: float
    until_s: float
    window_s: float
    read_s: float
    judged_s: float
    stale: bool
    journeys: tuple[Row, ...]
    routes: tuple[Row, ...]
    rpcs: tuple[Row, ...]
    tasks: tuple[Row, ...]
    dependencies: tuple[Lamp, ...]
    releases: tuple[tuple[float, str, str], ...]
    firing: tuple[Firing, ...]
    pending: tuple[Firing, ...]
    recent: tuple[Firing, ...]
    silenced: tuple[str, ...]
    problems: tuple[Text, ...]
    counted: Mapping[str, int] = field(default_factory=dict)
    left_out: int = 0

    @property
    def outages(self) -> tuple[tuple[Firing, ...], ...]:
        """What fires, those of one outage together: what people were told of it first."""
        found: dict[int, list[Firing]] = {}
        for one in self.firing:
            found.setdefault(one.outage or one.id, []).append(one)
        return tuple(tuple(sorted(rows, key=lambda one: not one.leads)) for rows in found.values())

    def as_json(self) -> dict[str, Any]:
        """The body of `dodai.watch/1`."""
        rows = {name: [_row(row) for row in getattr(self, name)] for name in ("journeys", "routes", "rpcs", "tasks")}
        alerts = {name: [_firing(one) for one in getattr(self, name)] for name in ("firing", "pending", "recent")}
        return {
            "at": self.at_s,
            "until": self.until_s,
            "windowSeconds": self.window_s,
            "readAt": self.read_s or None,
            "judgedAt": self.judged_s or None,
            "stale": self.stale,
            **rows,
            "dependencies": [_fields(lamp) for lamp in self.dependencies],
            "releases": [{"at": at, "service": service, "version": version} for at, service, version in self.releases],
            **alerts,
            "silenced": list(self.silenced),
            "problems": [problem.en for problem in self.problems],
            "counted": dict(self.counted),
            "leftOut": self.left_out,
        }


def overview(
    watched: Watched,
    store: Store,
    now_s: float,
    *,
    window_s: float = 900.0,
    problems: tuple[Text, ...] = (),
    seen: SeenCells | None = None,
) -> Overview:
    """Everything at `now_s`, over the last `window_s`. With what was `seen` before, only what changed is read."""
    facts, history = store.facts(), History(store)
    thresholds = tuple(alert.threshold for alert in watched.alerts if alert.measure == "p95-ms")
    judged_s = facts.get("judged_s", 0.0)
    stale = now_s - judged_s > STALE_TICKS * watched.tick_s
    until_s = judged_s if stale and judged_s else now_s
    seen = seen or SeenCells()
    seen.since(facts.get(MOVES, 0.0))
    curves = Curves(store, until_s, window_s, bounds_us(thresholds), seen)
    visited, called, worked = curves.read("http"), curves.read("rpc"), curves.read("task")
    open_ = history.open()
    return Overview(
        at_s=now_s,
        until_s=until_s,
        window_s=window_s,
        read_s=facts.get("read_s", 0.0),
        judged_s=judged_s,
        stale=stale,
        journeys=_journeys(curves, watched, visited),
        routes=curves.rows(visited, _LISTED),
        rpcs=curves.rows(called, _LISTED),
        tasks=curves.rows(worked, _LISTED),
        dependencies=_lamps(store, until_s, watched),
        releases=_releases(store, until_s - window_s),
        firing=tuple(one for one in open_ if one.fired_s),
        pending=tuple(one for one in open_ if not one.fired_s),
        recent=tuple(history.recent(now_s - 86400.0)[:50]),
        silenced=tuple(f"{one.kind} {one.name}: {one.reason} ({one.actor})" for one in history.silences(now_s)),
        problems=_problems(store, watched, problems, now_s),
        counted={name: int(facts.get(name, 0)) for name in ("lines", "torn", "late", "skewed", "overflowed")},
        left_out=sum(max(0, len(one) - _LISTED) for one in (visited, called, worked)),
    )


def _journeys(curves: Curves, watched: Watched, read: Mapping[tuple[str, str], Curve]) -> tuple[Row, ...]:
    """A journey is the sum of the routes of its steps, as the public service saw them."""
    own = {name: curve for (service, name), curve in read.items() if service == watched.public}
    rows = []
    for title, wanted in journey_shapes(watched).items():
        steps = (curve for name, curve in own.items() if shape(name) in wanted)
        rows.append(curves.row("", title, summed(steps)))
    return tuple(rows)


def journey_shapes(watched: Watched) -> dict[str, set[str]]:
    """The shapes of the routes that each journey is counted by.

    A route that several journeys have, such as the front page, says nothing about one of them and is left out, as long
    as there is another.
    """
    shapes = {title: {shape(step) for step in steps} for title, steps in watched.journeys.items()}
    shared = Counter(one for steps in shapes.values() for one in steps)
    return {title: {one for one in steps if shared[one] == 1} or steps for title, steps in shapes.items()}


def shape(route: str) -> str:
    """A route or a step of a journey with its parameters made equal: `GET /questions/*`."""
    return _PARAMETER.sub("*", route)


def _lamps(store: Store, now_s: float, watched: Watched) -> tuple[Lamp, ...]:
    """The last minute; what was called in the last hour but not now is `unknown`, not up."""
    minute = 60.0 if not watched.fast else 5.0
    now = store.totals("dependency", now_s - minute, now_s, by_name=True, histograms=False)
    known = store.totals("dependency", now_s - 3600.0, now_s, by_name=True, histograms=False)
    lamps = []
    for service, name in sorted(known):
        total = now.get((service, name), Totals())
        share = total.errors / total.count if total.count else 0.0
        state: LampState = "down" if share >= 0.5 else "failing" if share > 0.0 else "up"
        mean = total.sum_ms / total.count if total.count else None
        lamps.append(Lamp(service, name, state if total.count else "unknown", total.count, total.errors, mean))
    return tuple(lamps)


def _releases(store: Store, since_s: float) -> tuple[tuple[float, str, str], ...]:
    """When each release was first heard of, for the marks in the charts."""
    first: dict[tuple[str, str], float] = {}
    for (service, _), one in store.instances().items():
        if one.version:
            first[service, one.version] = min(one.first_s, first.get((service, one.version), one.first_s))
    return tuple(sorted((at, service, version) for (service, version), at in first.items() if at >= since_s))


def _problems(store: Store, watched: Watched, known: tuple[Text, ...], now_s: float) -> tuple[Text, ...]:
    said = list(known)
    said += [_clock_set(at, by) for at, _, name, by in store.events(now_s - _TOLD_S) if name == CLOCK_SET]
    failing = "SELECT name, problem, tried_s FROM notifier WHERE problem != '' ORDER BY name"
    for name, why, tried_s in store.database.execute(failing):
        section = watched.policy.notifiers.get(name)
        if section is None:
            continue  # it is not in the manifest any more
        at = utc(tried_s)
        en = "was not reached" if section.kind == "deadman" else "could not tell anybody"
        said.append(
            Text(f"notifier `{name}` {en}, last tried {at}: {why}", f"通知先 `{name}` に届きません({at} に試行): {why}")
        )
    if all(section.kind == "deadman" for section in watched.policy.notifiers.values()):
        missing = "`[observability.notifier.NAME]`"
        en = f"nobody is told of alerts: the manifest has no {missing}"
        said.append(Text(en, f"アラートは誰にも通知されません。マニフェストに {missing} がありません"))
    return tuple(said)


def _clock_set(at_s: float, by: str) -> Text:
    at = utc(at_s)
    return Text(
        f"the clock of this machine was set by {by} s at {at}: what was counted before moved along with it",
        f"このマシンの時計が {at} に {by} 秒変更されました。それ以前の集計も同じだけ移動しました",
    )


def _row(row: Row) -> dict[str, Any]:
    return {**_fields(row), "error_rate": row.error_rate}


def _firing(one: Firing) -> dict[str, Any]:
    return {**_fields(one), "state": one.state}


def _fields(value: Row | Lamp | Firing) -> dict[str, Any]:
    """Its fields by name; `asdict` would copy each number of each chart."""
    return {one.name: getattr(value, one.name) for one in fields(value)}


def alert_of(watched: Watched, name: str) -> Alert | None:
    """The alert of that name; None when it was switched off since."""
    return next((alert for alert in watched.alerts if alert.name == name), None)
