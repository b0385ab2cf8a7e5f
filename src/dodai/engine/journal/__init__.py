"""The journal: values and the seam (`values`), and the one that is a file (`sqlite`)."""

from __future__ import annotations

from dodai.engine.journal.sqlite import SqliteJournal, put_aside
from dodai.engine.journal.values import (
    GENESIS,
    Event,
    Head,
    Journal,
    Kind,
    PlanEntry,
    PlanRow,
    next_event,
    refuse_unfinished,
    stale_token,
)

__all__ = [
    "GENESIS",
    "Event",
    "Head",
    "Journal",
    "Kind",
    "PlanEntry",
    "PlanRow",
    "SqliteJournal",
    "next_event",
    "put_aside",
    "refuse_unfinished",
    "stale_token",
]
