"""What the page and the terminal show of an environment at one moment, read from its rollups."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import field, fields
from typing import Any, Literal

from dodai.core.dataclass import dataclass
from dodai.core.text import Text
from dodai.engine.moment import utc
from dodai.observability.alert import Alert, Firing, History
from dodai.observability.buckets import bounds_us, merged, quantile_ms, unpacked_sum
from dodai.observability.rollup import Kind, Store, Totals
from dodai.observability.rollup.clock_step import EVENT as CLOCK_SET
from dodai.observability.run.watcher import Watched

LampState = Literal["up", "failing", "down", "unknown"]
POINTS = 30
_LISTED = 200
_PARAMETER = re.compile(r"\{[^}]*\}|<[^>]*>|:[^/]+|\$[^/]+")
_TOLD_S = 3600.0
"""For how long it is shown that the clock was set."""
STALE_TICKS = 6
"""After how many evaluations that did not happen what is shown is called old."""


@dataclass(frozen=True, slots=True)
class Row:
    """One journey, route or RPC over the window. Rates from 0 to 1; `p95_ms` None without a histogram.

    `counts` and `error_counts` are `POINTS` equal parts of the window, the oldest first.
    """

    service: str
    name: str
    count: int
    errors: int
    p95_ms: float | None
    samples: tuple[str, ...]
    counts: tuple[int, ...]
    error_counts: tuple[int, ...]
    p95s_ms: tuple[float | None, ...]

    @property
    def error_rate(self) -> float:
        return self.errors / self.count if self.count else 0.0


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
    watched: Watched, store: Store, now_s: float, *, window_s: float = 900.0, problems: tuple[Text, ...] = ()
) -> Overview:
    """Everything at `now_s`, over the last `window_s`."""
    facts, history = store.facts(), History(store)
    thresholds = tuple(alert.threshold for alert in watched.alerts if alert.measure == "p95-ms")
    judged_s = facts.get("judged_s", 0.0)
    stale = now_s - judged_s > STALE_TICKS * watched.tick_s
    until_s = judged_s if stale and judged_s else now_s
    read = _Reader(store, until_s, window_s, bounds_us(thresholds))
    visited = read.courses("http")
    routes, rpcs = read.rows(visited), read.rows(read.courses("rpc"))
    open_ = history.open()
    return Overview(
        at_s=now_s,
        until_s=until_s,
        window_s=window_s,
        read_s=facts.get("read_s", 0.0),
        judged_s=judged_s,
        stale=stale,
        journeys=read.journeys(watched, visited),
        routes=routes[:_LISTED],
        rpcs=rpcs[:_LISTED],
        tasks=read.rows(read.courses("task"))[:_LISTED],
        dependencies=_lamps(store, until_s, watched),
        releases=_releases(store, until_s - window_s),
        firing=tuple(one for one in open_ if one.fired_s),
        pending=tuple(one for one in open_ if not one.fired_s),
        recent=tuple(history.recent(now_s - 86400.0)[:50]),
        silenced=tuple(f"{one.kind} {one.name}: {one.reason} ({one.actor})" for one in history.silences(now_s)),
        problems=_problems(store, watched, problems, now_s),
        counted={name: int(facts.get(name, 0)) for name in ("lines", "torn", "late", "skewed", "overflowed")},
        left_out=max(0, len(routes) - _LISTED) + max(0, len(rpcs) - _LISTED),
    )


@dataclass(slots=True)
class _Curve:
    """One series over the window, in `POINTS` equal parts. `failed` and `slow` are request ids, the oldest first;
    `packed` are the histograms of the cells of a part, one behind the other.
    """

    counts: list[int] = field(default_factory=lambda: [0] * POINTS)
    errors: list[int] = field(default_factory=lambda: [0] * POINTS)
    packed: list[bytes] = field(default_factory=lambda: [b""] * POINTS)
    failed: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)

    def row(self, service: str, name: str, bounds: tuple[int, ...]) -> Row:
        """What people are shown of it; ids of failed requests, where there are any, the newest first."""
        samples = tuple(dict.fromkeys(reversed(self.failed or self.slow)))[:5]
        parts = [unpacked_sum(packed) if packed else {} for packed in self.packed]
        whole = quantile_ms(merged(parts), 0.95, bounds)
        points = tuple(quantile_ms(part, 0.95, bounds) if part else None for part in parts)
        sums = (sum(self.counts), sum(self.errors))
        return Row(service, name, *sums, whole, samples, tuple(self.counts), tuple(self.errors), points)


def _summed(courses: Iterable[_Curve]) -> _Curve:
    total = _Curve()
    for one in courses:
        for point in range(POINTS):
            total.counts[point] += one.counts[point]
            total.errors[point] += one.errors[point]
            total.packed[point] += one.packed[point]
        total.failed += one.failed
        total.slow += one.slow
    return total


@dataclass(slots=True)
class _Reader:
    store: Store
    now_s: float
    window_s: float
    bounds: tuple[int, ...]

    def courses(self, kind: Kind) -> dict[tuple[str, str], _Curve]:
        width = self.store.cell_s
        step = max(width, int(self.window_s / POINTS // width * width))
        end = int(self.now_s // width * width + width)
        start = end - step * POINTS
        found: dict[tuple[str, str], _Curve] = {}
        rows = self.store.points(kind, start, step, POINTS)
        for point, service, name, count, errors, histogram, bad, slow in rows:
            course = found.get((service, name))
            if course is None:
                course = found[service, name] = _Curve()
            course.counts[point] += count
            course.errors[point] += errors
            course.packed[point] += histogram
            if bad:
                course.failed.append(bad)
            if slow:
                course.slow.append(slow)
        return found

    def rows(self, courses: Mapping[tuple[str, str], _Curve]) -> tuple[Row, ...]:
        """Every series of a kind: what fails most comes first, then what is asked for most."""
        rows = [course.row(*series, self.bounds) for series, course in courses.items()]
        return tuple(sorted(rows, key=lambda row: (-row.errors, -row.count, row.service, row.name)))

    def journeys(self, watched: Watched, courses: Mapping[tuple[str, str], _Curve]) -> tuple[Row, ...]:
        """A journey is the sum of the routes of its steps, as the public service saw them."""
        own = {name: course for (service, name), course in courses.items() if service == watched.public}
        rows = []
        for title, wanted in journey_shapes(watched).items():
            steps = (course for name, course in own.items() if shape(name) in wanted)
            rows.append(_summed(steps).row("", title, self.bounds))
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
