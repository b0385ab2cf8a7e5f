"""Rollups: counts and latencies of every series, read from lines as they are written, kept in SQLite."""

from __future__ import annotations

from dodai.observability.rollup.cell import Batch, Cell, InstanceCell, Kind, Tally
from dodai.observability.rollup.store import Store, Totals
from dodai.observability.rollup.tail import Tail, TailPosition

__all__ = ["Batch", "Cell", "InstanceCell", "Kind", "Store", "Tail", "TailPosition", "Tally", "Totals"]
