"""Counting and judging while the disk refuses writes: in memory, from what the store says, and back when it can be.

A full disk is when people most need their alerts, and nothing of what is told meanwhile may be forgotten after it.
"""

from __future__ import annotations

import sqlite3

from dodai.observability.rollup.store import Store, opened

_FINE_S = 3600.0
_MINUTES_S = 7 * 3600.0
"""Longer than the longest window of an alert that is read by the minute."""
_EVENTS_S = 2 * 3600.0
_LEAVE = (
    "INSERT INTO cell SELECT * FROM disk.cell WHERE width = 0",
    "INSERT INTO cell SELECT * FROM disk.cell WHERE width = :fine AND at > :fine_s",
    "INSERT OR IGNORE INTO cell SELECT * FROM disk.cell WHERE width = 60 AND at > :minutes_s",
    "INSERT INTO instance SELECT * FROM disk.instance",
    "INSERT INTO place SELECT * FROM disk.place",
    "INSERT OR REPLACE INTO fact SELECT * FROM disk.fact",
    "INSERT INTO alert SELECT * FROM disk.alert",
    "INSERT INTO told SELECT * FROM disk.told",
    "INSERT INTO notifier SELECT * FROM disk.notifier",
    "INSERT INTO silence SELECT * FROM disk.silence",
    "INSERT INTO event (rowid, at, service, name, about) SELECT rowid, * FROM disk.event WHERE at > :events_s",
    "CREATE TEMP TABLE last AS SELECT rowid, * FROM disk.event ORDER BY rowid DESC LIMIT 1",
    # the newest event, however old, has the number after which those of meanwhile are counted
    "INSERT OR IGNORE INTO event (rowid, at, service, name, about) SELECT * FROM last",
    "DROP TABLE last",
)
_RETURN = (
    "INSERT OR REPLACE INTO disk.cell SELECT * FROM cell",
    "INSERT OR REPLACE INTO disk.instance SELECT * FROM instance",
    "INSERT OR REPLACE INTO disk.fact SELECT * FROM fact",
    "INSERT OR REPLACE INTO disk.alert SELECT * FROM alert",
    "INSERT OR REPLACE INTO disk.told SELECT * FROM told",
    "INSERT OR REPLACE INTO disk.notifier SELECT * FROM notifier",
    "DELETE FROM disk.place",
    "INSERT INTO disk.place SELECT * FROM place",
    "CREATE TEMP TABLE known AS SELECT coalesce(max(rowid), 0) AS newest FROM disk.event",
    "INSERT INTO disk.event SELECT event.* FROM main.event, known WHERE event.rowid > newest ORDER BY event.rowid",
    "DROP TABLE known",
)
_TRIM = (
    "DELETE FROM cell WHERE width != 0"
    " AND NOT (width = :fine AND at > :fine_s) AND NOT (width = 60 AND at > :minutes_s)"
)


def leave_disk(store: Store, now_s: float) -> None:
    """From here on `store` is in memory, with what windows and notifiers ask for; raises `sqlite3.Error` where the
    disk cannot even be read.
    """
    memory = opened(":memory:", writable=True)
    memory.execute("ATTACH DATABASE ? AS disk", (str(store.path),))
    for statement in _LEAVE:
        memory.execute(statement, _since(store, now_s))
    memory.execute("DETACH DATABASE disk")
    store.disk, store.database = store.database, memory


def trim(store: Store, now_s: float) -> None:
    """Keep what is in memory bounded, however long the disk is full; counters stay exact."""
    store.database.execute(_TRIM, _since(store, now_s))


def back_on_disk(store: Store) -> bool:
    """Whether what is in memory could be written, and `store` is on its disk again."""
    if store.disk is None:
        return True
    memory = store.database
    try:
        memory.execute("ATTACH DATABASE ? AS disk", (str(store.path),))
        try:
            with store.transaction():
                for statement in _RETURN:
                    memory.execute(statement)
        finally:
            memory.execute("DETACH DATABASE disk")
    except sqlite3.OperationalError:
        return False
    store.database, store.disk = store.disk, None
    memory.close()
    return True


def _since(store: Store, now_s: float) -> dict[str, float]:
    moments = {"fine_s": now_s - _FINE_S, "minutes_s": now_s - _MINUTES_S, "events_s": now_s - _EVENTS_S}
    return {"fine": store.cell_s, **moments}
