"""The curves of the page: counts, failures and p95 of each series over a window, from the cells of the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.observability.buckets import merged, quantile_ms, unpacked_sum
from dodai.observability.rollup import Kind, Store

POINTS = 30
_NO_REQUESTS: tuple[dict[int, int], float | None] = ({}, None)


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


@dataclass(slots=True)
class SeenCells:
    """What was read and worked out for the look before, so that a page that renews itself pays for what changed.

    `cells` and `stamps` are by kind and start of the cell; `parts` are histograms and their p95 by their packed form.
    """

    cells: dict[str, dict[int, list[tuple[Any, ...]]]] = field(default_factory=dict)
    stamps: dict[str, dict[int, tuple[Any, ...]]] = field(default_factory=dict)
    parts: dict[bytes, tuple[dict[int, int], float | None]] = field(default_factory=dict)
    moves: float = 0.0

    def since(self, moves: float) -> None:
        """Forget the cells when some were moved since: another one may stand in the place of one of the same sums."""
        if moves != self.moves:
            self.moves, self.cells, self.stamps = moves, {}, {}


@dataclass(slots=True)
class Curve:
    """One series over the window, in `POINTS` equal parts. `failed` and `slow` are request ids, the oldest first;
    `packed` are the histograms of the cells of a part, one behind the other.
    """

    counts: list[int] = field(default_factory=lambda: [0] * POINTS)
    errors: list[int] = field(default_factory=lambda: [0] * POINTS)
    packed: list[bytes] = field(default_factory=lambda: [b""] * POINTS)
    failed: list[str] = field(default_factory=list)
    slow: list[str] = field(default_factory=list)


def summed(curves: Iterable[Curve]) -> Curve:
    """Several series as one."""
    total = Curve()
    for one in curves:
        for point in range(POINTS):
            total.counts[point] += one.counts[point]
            total.errors[point] += one.errors[point]
            total.packed[point] += one.packed[point]
        total.failed += one.failed
        total.slow += one.slow
    return total


class Curves:
    """The curves of a window that ends at `now_s`. `seen` is changed: it is what the next look may go by."""

    def __init__(self, store: Store, now_s: float, window_s: float, bounds: tuple[int, ...], seen: SeenCells) -> None:
        width = store.cell_s
        self.store, self.bounds, self.seen = store, bounds, seen
        self.step_s = max(width, int(window_s / POINTS // width * width))
        self.end_s = int(now_s // width * width + width)
        self.start_s = self.end_s - self.step_s * POINTS
        self._known, seen.parts = seen.parts, {}

    def read(self, kind: Kind) -> dict[tuple[str, str], Curve]:
        """The curve of every series of a kind."""
        found: dict[tuple[str, str], Curve] = {}
        for at, cells in self._cells(kind).items():
            point = (at - self.start_s) // self.step_s
            for _, service, name, count, errors, histogram, bad, slow in cells:
                curve = found.get((service, name))
                if curve is None:
                    curve = found[service, name] = Curve()
                curve.counts[point] += count
                curve.packed[point] += histogram
                if errors:
                    curve.errors[point] += errors
                if bad:
                    curve.failed.append(bad)
                if slow:
                    curve.slow.append(slow)
        return found

    def rows(self, curves: Mapping[tuple[str, str], Curve], most: int) -> tuple[Row, ...]:
        """The first `most`: what fails most comes first, then what is asked for most."""
        order = sorted((-sum(curve.errors), -sum(curve.counts), series) for series, curve in curves.items())
        return tuple(self.row(*series, curves[series]) for _, _, series in order[:most])

    def row(self, service: str, name: str, curve: Curve) -> Row:
        """What people are shown of it; ids of failed requests, where there are any, the newest first."""
        samples = tuple(dict.fromkeys(reversed(curve.failed or curve.slow)))[:5]
        parts = [self._part(packed) if packed else _NO_REQUESTS for packed in curve.packed]
        whole = quantile_ms(merged(part for part, _ in parts), 0.95, self.bounds)
        sums = (sum(curve.counts), sum(curve.errors))
        points = tuple(p95_ms for _, p95_ms in parts)
        return Row(service, name, *sums, whole, samples, tuple(curve.counts), tuple(curve.errors), points)

    def _part(self, packed: bytes) -> tuple[dict[int, int], float | None]:
        part = self._known.get(packed)
        if part is None:
            histogram = unpacked_sum(packed)
            part = self._known[packed] = (histogram, quantile_ms(histogram, 0.95, self.bounds))
        self.seen.parts[packed] = part
        return part

    def _cells(self, kind: Kind) -> dict[int, list[tuple[Any, ...]]]:
        """The rows of every cell by its start, the oldest first.

        A count only grows: until a clock is set, equal sums are equal cells.
        """
        stamps = self.store.stamps(kind, self.start_s, self.end_s)
        before, known = self.seen.stamps.get(kind, {}), self.seen.cells.get(kind, {})
        changed = [at for at, stamp in stamps.items() if before.get(at) != stamp]
        first, last = (changed[0], changed[-1]) if changed else (self.end_s, self.end_s)
        cells = {at: [] if first <= at <= last else known[at] for at in stamps}
        for row in self.store.cells(kind, first, last) if changed else ():
            if row[0] in cells:  # else it was written since
                cells[row[0]].append(row)
        self.seen.stamps[kind], self.seen.cells[kind] = stamps, cells
        return cells
