"""Cells: what the lines of a few seconds say of one series, and of the processes that wrote them."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal

import orjson

from dodai.core.dataclass import dataclass
from dodai.observability.buckets import bounds_us
from dodai.observability.policy import STOPPING

Kind = Literal["http", "rpc", "ws", "task", "dependency"]
Key = tuple[int, str, str, str]
"""(start of the cell in seconds, kind, service, name)."""

FAILED = frozenset({"server_error", "timeout", "aborted"})
_SERIES = frozenset({"http", "rpc", "ws", "task"})
OTHER = "_OTHER"
SKEW_S = 120.0
"""A live line whose clock is further off than this is counted now, and as skewed: its errors still count."""
_NEVER_TRAFFIC = ("/-/dodai/", "grpc.health.")


@dataclass(slots=True)
class Cell:
    """Counts of one series. `refused` were refused by the CSRF layer.

    `bad` and `slow` are request ids to look at: of one that failed, else of one that was refused, and of the slowest.
    """

    count: int = 0
    errors: int = 0
    refused: int = 0
    sum_ms: float = 0.0
    pool_ms: float = 0.0
    histogram: dict[int, int] = field(default_factory=dict)
    bad: str = ""
    slow: str = ""
    slow_ms: float = 0.0

    def add(self, other: Cell) -> None:
        """Sum up `other`; ids stay with the cells that they are of."""
        self.count += other.count
        self.errors += other.errors
        self.refused += other.refused
        self.sum_ms += other.sum_ms
        self.pool_ms += other.pool_ms
        for bound, number in other.histogram.items():
            self.histogram[bound] = self.histogram.get(bound, 0) + number


def whole(kind: str) -> str:
    """The kind of the cells that hold the sums of services: one row where there are as many as routes."""
    return f"{kind} whole"


@dataclass(slots=True)
class InstanceCell:
    """What a process last said of itself. Times are those of its lines, `heard_s` the clock of who read them."""

    version: str
    first_s: float
    last_s: float
    heard_s: float
    beating: bool = False
    in_flight: int = 0
    loop_lag_ms: float = 0.0
    dropped: int = 0


@dataclass(slots=True)
class Batch:
    """Everything that was read since the last time it was stored."""

    cells: dict[Key, Cell] = field(default_factory=dict)
    instances: dict[tuple[str, str], InstanceCell] = field(default_factory=dict)
    events: list[tuple[float, str, str, str]] = field(default_factory=list)
    lines: int = 0
    torn: int = 0
    late: int = 0
    skewed: int = 0
    overflowed: int = 0

    def __bool__(self) -> bool:
        return bool(self.lines or self.torn)

    def by_service(self) -> dict[Key, Cell]:
        """The sums of the cells of each service, under the kind of `whole` and without a name."""
        found: dict[Key, Cell] = {}
        for (at, kind, service, _), cell in self.cells.items():
            found.setdefault((at, whole(kind), service, ""), Cell()).add(cell)
        return found


@dataclass(slots=True)
class Tally:
    """Lines into a `Batch`. `probes` are paths that nobody's users ask for, such as `/readyz`; `known` are series that
    count for `max_series`, those of the store among them.
    """

    cell_s: int
    probes: frozenset[str] = frozenset()
    thresholds_ms: tuple[float, ...] = ()
    max_series: int = 1000
    batch: Batch = field(default_factory=Batch)
    known: set[tuple[str, str, str]] = field(default_factory=set)
    _bounds: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self._bounds = bounds_us(self.thresholds_ms)

    def take(self) -> Batch:
        """What was added since the last time."""
        taken, self.batch = self.batch, Batch()
        return taken

    def add(self, raw: bytes, now_s: float, *, live: bool) -> None:
        """Count one line. `live`: it was written just now, so that its own clock can be judged."""
        try:
            line = orjson.loads(raw)
            at = line["ts"]
            self._add(line, float(at), now_s, live=live)
        except (ValueError, KeyError, TypeError, OverflowError):
            self.batch.torn += 1

    def _add(self, line: Mapping[str, Any], at: float, now_s: float, *, live: bool) -> None:
        kind, service, batch = line["type"], line["service"], self.batch
        if service.__class__ is not str:  # of a writer that is not ours
            service = str(service)
        batch.lines += 1
        if at > now_s + SKEW_S or (live and at < now_s - SKEW_S):
            batch.skewed += 1
            at = now_s
        elif live and at < now_s - 2 * self.cell_s:
            batch.late += 1
        self._hear(line, kind, service, at, now_s)
        start = int(at) // self.cell_s * self.cell_s
        if kind in _SERIES:
            name = self._name(line, kind)
            if name:
                self._count(line, (start, kind, service, name))
            if calls := line.get("calls"):
                self._calls(calls, start, service, str(line.get("requestId", "")) if name else "")
        elif kind == "event" and line["name"] != "heartbeat":
            name = str(line["name"])
            about = line.get("instance", "") if name == STOPPING else line.get("dependency", "")
            self.batch.events.append((at, service, name, str(about)))

    def _name(self, line: Mapping[str, Any], kind: str) -> str:
        if kind == "rpc":
            name = str(line["rpc"])
            return "" if name.startswith(_NEVER_TRAFFIC[1]) else name
        if kind == "task":
            return str(line["name"])
        route = str(line["route"])
        if route in self.probes or route.startswith(_NEVER_TRAFFIC[0]):
            return ""
        return f"{line['method']} {route}" if kind == "http" else route

    def _cell(self, key: Key) -> Cell:
        cell = self.batch.cells.get(key)
        if cell is not None:
            return cell
        series = key[1:]
        if series not in self.known:
            if len(self.known) >= self.max_series:
                self.batch.overflowed += 1
                key = (*key[:3], OTHER)
            else:
                self.known.add(series)
        return self.batch.cells.setdefault(key, Cell())

    def _count(self, line: Mapping[str, Any], key: Key) -> None:
        cell = self.batch.cells.get(key) or self._cell(key)
        # a stream lasts as long as somebody listens: what its user waited for is the first byte
        first_byte = line.get("ttfbMs")
        waited = float(line.get("latencyMs", 0.0) if first_byte is None else first_byte)
        cell.count += 1
        cell.sum_ms += waited
        bounds, histogram = self._bounds, cell.histogram
        bound = bounds[bisect_left(bounds, waited * 1000, hi=len(bounds) - 1)]
        histogram[bound] = histogram.get(bound, 0) + 1
        request_id = str(line.get("requestId", ""))
        code = line.get("code")
        if code is not None and str(code).startswith("DOD1"):
            cell.refused += 1
            cell.bad = cell.bad if cell.errors else request_id
        if line["outcome"] in FAILED:
            cell.errors += 1
            cell.bad = request_id
        if pool_ms := line.get("poolWaitMs"):
            cell.pool_ms += float(pool_ms)
        if waited > cell.slow_ms:
            cell.slow, cell.slow_ms = request_id, waited

    def _calls(self, text: str, start: int, service: str, request_id: str) -> None:
        """Those of a probe count and are nobody's example: its trace has no edge, and blames who was asked."""
        for part in text.split(";"):
            name, count, failed, milliseconds = part.rsplit(" ", 3)
            cell = self._cell((start, "dependency", service, name))
            cell.count += int(count)
            cell.errors += int(failed)
            cell.sum_ms += float(milliseconds)
            if int(failed) and request_id:
                cell.bad = request_id

    def _hear(self, line: Mapping[str, Any], kind: str, service: str, at: float, now_s: float) -> None:
        name = line.get("instance")
        if name is None:
            return
        if name.__class__ is not str:
            name = str(name)
        key = (service, name)
        known = self.batch.instances.get(key)
        if known is None:
            known = self.batch.instances[key] = InstanceCell(str(line.get("version", "")), at, at, now_s)
        known.heard_s = now_s
        if at > known.last_s:  # noqa: PLR1730 - a call for every line
            known.last_s = at
        if kind == "event" and line["name"] == "heartbeat":
            known.beating = True
            known.in_flight = int(line.get("inFlight", 0))
            known.loop_lag_ms = float(line.get("loopLagMs", 0.0))
            known.dropped = int(line.get("dropped", 0))
