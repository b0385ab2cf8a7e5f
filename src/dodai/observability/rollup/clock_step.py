"""A clock that was set: what was counted before moves along, so that a window spans the step and no process seems
silent for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from dodai.core.dataclass import dataclass
from dodai.observability.rollup.store import MINUTE_S, Store

STEP_S = 5.0
"""A wall clock that gains or loses more at once, beside the steady one, was set and does not merely drift."""
EVENT = "clock_set"
MOVES = "moves"
"""The fact that says how often cells were moved."""
_MOVED_S = 7 * 3600.0
"""Longer than any window of an alert: older cells stay where they are."""
_MOVES = (
    "UPDATE instance SET first_s = first_s + :by, last_s = last_s + :by, heard_s = heard_s + :by",
    "UPDATE event SET at = at + :by",
    "UPDATE alert SET since_s = since_s + :by, breached_s = breached_s + :by",
    "UPDATE alert SET fired_s = fired_s + :by WHERE fired_s > 0",
    "UPDATE alert SET resolved_s = resolved_s + :by WHERE resolved_s > 0",
    "UPDATE fact SET value = value + :by WHERE name = 'whole_s' AND value > 0",
    "UPDATE notifier SET since_s = since_s + :by",
    "UPDATE notifier SET tried_s = tried_s + :by WHERE tried_s > 0",
    "INSERT INTO fact VALUES ('moves', 1) ON CONFLICT (name) DO UPDATE SET value = value + 1",
)


@dataclass(slots=True)
class StepDetector:
    """Compares the wall clock with the steady one. What is not running notices no step but one back."""

    clock: Callable[[], float]
    steady: Callable[[], float]
    last_s: float
    _offset_s: float = math.nan

    def step_s(self) -> float:
        """By how much the wall clock was set since the last time; 0 when it was not."""
        now_s = self.clock()
        offset_s = now_s - self.steady()
        begun = math.isnan(self._offset_s)
        step_s = min(0.0, now_s - self.last_s) if begun else offset_s - self._offset_s
        if begun or abs(step_s) > STEP_S:
            self._offset_s = offset_s
        return step_s if abs(step_s) > STEP_S else 0.0


def move(store: Store, by_s: float, now_s: float) -> None:
    """Everything of before, `by_s` later (earlier below 0), as if the clock had always shown what it shows now.

    Cells move by whole widths. What they reach that is older than every window is lost from the charts, never from the
    counters. The step itself is kept as an event.
    """
    since_s = now_s - by_s - _MOVED_S
    with store.transaction() as database:
        for width in {store.cell_s, MINUTE_S}:
            moved = (round(by_s / width) * width, width, since_s)
            database.execute("UPDATE cell SET width = -width, at = at + ? WHERE width = ? AND at > ?", moved)
        database.execute("UPDATE OR REPLACE cell SET width = -width WHERE width < 0")
        for statement in _MOVES:
            database.execute(statement, {"by": by_s})
        database.execute("INSERT INTO event VALUES (?, 'watch', ?, ?)", (now_s, EVENT, f"{by_s:+.0f}"))
