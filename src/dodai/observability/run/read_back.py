"""Rollups that another machine counted, read back from the engine that its counters were sent to, into memory."""

from __future__ import annotations

from collections.abc import Mapping

from dodai.observability.ports import Added, KeptCounters
from dodai.observability.rollup import Batch, Cell, Kind, Store
from dodai.observability.run.curves import POINTS
from dodai.observability.run.watcher import Watched

KINDS: tuple[Kind, ...] = ("http", "rpc", "ws", "task", "dependency")


def read_back(kept: KeptCounters, watched: Watched, now_s: float, window_s: float = 900.0) -> Store:
    """A store of the last `window_s` in as many parts as a curve has; raises what `kept` raises.

    It has no request ids: those are in lines. What a series added before its second scrape is not known to anybody.
    """
    width = watched.cell_s
    step_s = max(width, int(window_s / POINTS // width * width))
    start_s = int(now_s // width * width + width) - step_s * POINTS
    batch = Batch()
    for kind in KINDS:
        _read(kept, kind, start_s, step_s, batch)
    store = Store(None, cell_s=width)
    store.keep(batch, {}, now_s)
    judged_s = kept.judged_s(now_s)
    if judged_s is not None:
        store.set_fact("judged_s", judged_s)
    return store


def _read(kept: KeptCounters, kind: Kind, start_s: int, step_s: int, batch: Batch) -> None:
    def cell(one: Added) -> Cell:
        return batch.cells.setdefault((one.at_s - step_s, kind, one.service, one.name), Cell())

    requests = kept.added("requests", kind, start_s, step_s, POINTS)
    if not requests:
        return
    for one in requests:
        cell(one).count += round(one.value)
    for one in kept.added("errors", kind, start_s, step_s, POINTS):
        cell(one).errors += round(one.value)
    for one in kept.added("refused", kind, start_s, step_s, POINTS):
        cell(one).refused += round(one.value)
    if kind == "dependency":  # it has totals only
        return
    for one in kept.added("duration_sum", kind, start_s, step_s, POINTS):
        cell(one).sum_ms += one.value * 1000
    below: dict[tuple[int, str, str], dict[int, int]] = {}
    for one in kept.added("duration", kind, start_s, step_s, POINTS):
        below.setdefault((one.at_s, one.service, one.name), {})[one.bound_us] = round(one.value)
    for (at_s, service, name), counts in below.items():
        cell(Added(at_s, service, name, 0.0)).histogram = _each(counts)


def _each(counts: Mapping[int, int]) -> dict[int, int]:
    """Requests of each bucket, from those at or below its bound."""
    found, seen = {}, 0
    for bound in sorted(counts):
        if counts[bound] > seen:
            found[bound] = counts[bound] - seen
            seen = counts[bound]
    return found
