"""The store of rollups: one SQLite file, written by one `watch`, read by any number of pages and commands.

Each batch goes in with the places it was read up to, in one transaction: a line is counted once, whatever is killed.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator, Mapping
from dataclasses import field
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.text import Text
from dodai.engine.state_folder import make_folder
from dodai.observability.buckets import PAIR, merged, packed, unpacked
from dodai.observability.rollup.cell import Batch, Cell, InstanceCell, Key, Kind, whole
from dodai.observability.rollup.tail import TailPosition

MINUTE_S = 60
EVER = 0
"""The width of the cell that is never removed: the sum since the beginning, which counters are made of."""
KEEP_FINE_S = 2 * 86400.0
KEEP_MINUTES_S = 30 * 86400.0
_FINE_WINDOW_S = 1800.0
"""Longer windows are read by the minute."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS cell (
  width INTEGER, at INTEGER, kind TEXT, service TEXT, name TEXT, count INTEGER, errors INTEGER, refused INTEGER,
  sum_ms REAL, pool_ms REAL, histogram BLOB, bad TEXT, slow TEXT, slow_ms REAL,
  PRIMARY KEY (width, kind, at, service, name)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS instance (
  service TEXT, instance TEXT, version TEXT, first_s REAL, last_s REAL, heard_s REAL, beating INTEGER,
  in_flight INTEGER, loop_lag_ms REAL, dropped INTEGER, PRIMARY KEY (service, instance)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS event (at REAL, service TEXT, name TEXT, about TEXT);
CREATE INDEX IF NOT EXISTS event_at ON event (at);
CREATE TABLE IF NOT EXISTS place (inode INTEGER PRIMARY KEY, offset INTEGER, mark BLOB);
CREATE TABLE IF NOT EXISTS fact (name TEXT PRIMARY KEY, value REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alert (
  id INTEGER PRIMARY KEY, name TEXT, about TEXT, since_s REAL, fired_s REAL, resolved_s REAL, value REAL, bad INTEGER,
  count INTEGER, samples TEXT, breached_s REAL, outage INTEGER DEFAULT 0);
CREATE TABLE IF NOT EXISTS told (notifier TEXT, alert INTEGER, state TEXT, PRIMARY KEY (notifier, alert)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS notifier (name TEXT PRIMARY KEY, since_s REAL, problem TEXT, tried_s REAL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS silence (
  id INTEGER PRIMARY KEY, name TEXT, kind TEXT, reason TEXT, actor TEXT, from_s REAL, until_s REAL);
"""
_WINDOW = "FROM cell WHERE width = ? AND kind = ? AND at > ? AND at < ?"
_SUMMED = "sum(count), sum(errors), sum(refused), sum(sum_ms), sum(pool_ms)"
_SUMS = f"SELECT service, '', {_SUMMED} {_WINDOW} GROUP BY service"
_SUMS_BY_NAME = f"SELECT service, name, {_SUMMED} {_WINDOW} GROUP BY service, name"
_SINCE = "whole_s"
"""The fact that says since when there are cells of whole services; 0 when there always were."""
_HISTOGRAMS = f"SELECT service, name, histogram {_WINDOW}"
_STAMPS = (
    "SELECT at, count(*), sum(count), sum(sum_ms) FROM cell WHERE width = ? AND kind = ? AND at >= ? AND at < ?"
    " GROUP BY at ORDER BY at"
)
_CELLS = (
    "SELECT at, service, name, count, errors, histogram, bad, slow FROM cell"
    " WHERE width = ? AND kind = ? AND at >= ? AND at <= ? ORDER BY at, service, name"
)
_SAMPLED = f"{_WINDOW} AND service = ? AND (? = '' OR name = ?)"
_FAILED_SAMPLES = f"SELECT bad {_SAMPLED} AND bad != '' GROUP BY bad ORDER BY max(at) DESC LIMIT 5"
_SLOW_SAMPLES = f"SELECT slow {_SAMPLED} AND slow != '' GROUP BY slow ORDER BY max(slow_ms) DESC LIMIT 5"
_COUNTS = ("lines", "torn", "late", "skewed", "overflowed")


@dataclass(slots=True)
class Totals:
    """The sum of the cells of one series in a window."""

    count: int = 0
    errors: int = 0
    refused: int = 0
    sum_ms: float = 0.0
    pool_ms: float = 0.0
    histogram: dict[int, int] = field(default_factory=dict)


class Store:
    """The rollups of one environment. `problem` says why an unusable file was put aside; `disk` is the connection to
    the file while what is written goes to memory (`without_disk`).
    """

    def __init__(self, path: Path | None, *, cell_s: int = 10, writable: bool = True) -> None:
        self.path, self.cell_s = path, cell_s
        self.problem: Text | None = None
        self.disk: sqlite3.Connection | None = None
        if path is None:
            self.database = opened(":memory:", writable=True)
            return
        if writable:
            make_folder(path.parent)
        try:
            self.database = opened(str(path), writable=writable)
        except sqlite3.DatabaseError as error:
            if not writable or not _is_broken(error):
                raise
            aside = path.with_name(f"{path.name}.broken-{time.time_ns() // 1_000_000}")
            path.rename(aside)
            for tail in ("-wal", "-shm"):
                path.with_name(path.name + tail).unlink(missing_ok=True)
            self.problem = Text(
                f"the rollups could not be read ({error}) and were put aside as `{aside.name}`",
                f"集計ファイルを読み取れないため({error})、`{aside.name}` として退避しました",
            )
            self.database = opened(str(path), writable=True)

    def close(self) -> None:
        self.database.close()
        if self.disk is not None:
            self.disk.close()

    # --- writing ---

    def keep(self, batch: Batch, places: Mapping[int, TailPosition], now_s: float) -> None:
        """Store a batch, and how far it was read, as one."""
        with self.transaction() as database:
            for key, cell in batch.cells.items():
                for width in {self.cell_s, MINUTE_S, EVER}:
                    self._add(width, key, cell)
            for key, cell in batch.by_service().items():
                for width in {self.cell_s, MINUTE_S}:
                    self._add(width, key, cell)
            for (service, name), instance in batch.instances.items():
                self._hear(service, name, instance)
            database.executemany("INSERT INTO event VALUES (?, ?, ?, ?)", batch.events)
            database.execute("DELETE FROM place")
            rows = [(inode, place.offset, place.mark) for inode, place in places.items()]
            database.executemany("INSERT INTO place VALUES (?, ?, ?)", rows)
            for name in _COUNTS:
                self._count(name, getattr(batch, name))
            self._set("read_s", now_s)

    def prune(self, now_s: float) -> None:
        """Remove what is older than anybody asks for."""
        with self.transaction() as database:
            database.execute("DELETE FROM cell WHERE width > 0 AND width < 60 AND at < ?", (now_s - KEEP_FINE_S,))
            database.execute("DELETE FROM cell WHERE width > 0 AND at < ?", (now_s - KEEP_MINUTES_S,))
            database.execute("DELETE FROM event WHERE at < ?", (now_s - KEEP_MINUTES_S,))
            database.execute("DELETE FROM instance WHERE heard_s < ?", (now_s - 86400.0,))
            database.execute("DELETE FROM alert WHERE resolved_s < ?", (now_s - KEEP_MINUTES_S,))

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All that is written inside, or nothing."""
        self.database.execute("BEGIN IMMEDIATE")
        try:
            yield self.database
        except BaseException:
            self.database.execute("ROLLBACK")
            raise
        self.database.execute("COMMIT")

    def set_fact(self, name: str, value: float) -> None:
        """A number of its own, such as when the file was last evaluated."""
        with self.transaction():
            self._set(name, value)

    def _set(self, name: str, value: float) -> None:
        self.database.execute("INSERT OR REPLACE INTO fact VALUES (?, ?)", (name, value))

    def _count(self, name: str, more: int) -> None:
        self.database.execute(
            "INSERT INTO fact VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
            (name, more),
        )

    def _add(self, width: int, key: Key, cell: Cell) -> None:
        at, kind, service, name = key
        at = at // width * width if width else 0
        known = self.database.execute(
            "SELECT histogram FROM cell WHERE width = ? AND kind = ? AND at = ? AND service = ? AND name = ?",
            (width, kind, at, service, name),
        ).fetchone()
        histogram = merged((unpacked(known[0]), cell.histogram)) if known else cell.histogram
        self.database.execute(
            "INSERT INTO cell VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
            " count = count + excluded.count, errors = errors + excluded.errors, refused = refused + excluded.refused,"
            " sum_ms = sum_ms + excluded.sum_ms, pool_ms = pool_ms + excluded.pool_ms, histogram = excluded.histogram,"
            " bad = CASE WHEN excluded.bad = '' OR (errors > 0 AND excluded.errors = 0 AND bad != '') THEN bad"
            " ELSE excluded.bad END,"
            " slow = CASE WHEN excluded.slow_ms > slow_ms THEN excluded.slow ELSE slow END,"
            " slow_ms = max(slow_ms, excluded.slow_ms)",
            (width, at, kind, service, name, cell.count, cell.errors, cell.refused, cell.sum_ms, cell.pool_ms,
             packed(histogram), cell.bad, cell.slow, cell.slow_ms),
        )  # fmt: skip

    def _hear(self, service: str, name: str, one: InstanceCell) -> None:
        self.database.execute(
            "INSERT INTO instance VALUES (?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
            " last_s = max(last_s, excluded.last_s), heard_s = excluded.heard_s,"
            " in_flight = CASE WHEN excluded.beating THEN excluded.in_flight ELSE in_flight END,"
            " loop_lag_ms = CASE WHEN excluded.beating THEN excluded.loop_lag_ms ELSE loop_lag_ms END,"
            " dropped = max(dropped, excluded.dropped), beating = max(beating, excluded.beating)",
            (service, name, one.version, one.first_s, one.last_s, one.heard_s, one.beating, one.in_flight,
             one.loop_lag_ms, one.dropped),
        )  # fmt: skip

    # --- reading ---

    def totals(
        self, kind: Kind, since_s: float, until_s: float, *, by_name: bool, histograms: bool = True
    ) -> dict[tuple[str, str], Totals]:
        """The sums by (service, name) of the cells that end after `since_s` and begin before `until_s`.

        The name is empty when it is not asked for. Without `histograms` those are empty, which takes less time.
        """
        width = self._width(since_s, until_s)
        summed = not by_name and since_s - width >= self._whole_since()
        window = (width, whole(kind) if summed else kind, since_s - width, until_s)
        found: dict[tuple[str, str], Totals] = {}
        for service, name, *sums in self.database.execute(_SUMS_BY_NAME if by_name else _SUMS, window):
            found[service, name] = Totals(*sums)
        for service, name, histogram in self.database.execute(_HISTOGRAMS, window) if histograms else ():
            total = found[service, name if by_name else ""].histogram
            for bound, number in PAIR.iter_unpack(histogram):
                total[bound] = total.get(bound, 0) + number
        return found

    def stamps(self, kind: Kind, start_s: int, end_s: int) -> dict[int, tuple[Any, ...]]:
        """What every short cell of the kind sums up to, by its start, the oldest first: another sum, another cell."""
        found = self.database.execute(_STAMPS, (self.cell_s, kind, start_s, end_s))
        return {at: tuple(sums) for at, *sums in found}

    def cells(self, kind: Kind, first_s: int, last_s: int) -> sqlite3.Cursor:
        """(start, service, name, count, errors, histogram, failed or refused id, slowest id), the oldest first."""
        return self.database.execute(_CELLS, (self.cell_s, kind, first_s, last_s))

    def samples(
        self, kind: Kind, service: str, name: str, since_s: float, until_s: float, *, failed: bool
    ) -> tuple[str, ...]:
        """Up to five request ids of the window: the newest that failed or were refused, else the slowest.

        Without a name those of the service, or of its routes.
        """
        width = self._width(since_s, until_s)
        query = _FAILED_SAMPLES if failed else _SLOW_SAMPLES
        found = self.database.execute(query, (width, kind, since_s - width, until_s, service, name, name))
        return tuple(row[0] for row in found)

    def _width(self, since_s: float, until_s: float) -> int:
        return self.cell_s if until_s - since_s <= _FINE_WINDOW_S else MINUTE_S

    def counters(self) -> list[tuple[Kind, str, str, Totals]]:
        """(kind, service, name, sum since the beginning) of every series."""
        rows = self.database.execute(
            "SELECT kind, service, name, count, errors, refused, sum_ms, pool_ms, histogram FROM cell WHERE width = ?"
            " ORDER BY kind, service, name",
            (EVER,),
        )
        return [
            (kind, service, name, Totals(count, errors, refused, sum_ms, pool_ms, unpacked(data)))
            for kind, service, name, count, errors, refused, sum_ms, pool_ms, data in rows
        ]

    def series(self) -> set[tuple[str, str, str]]:
        """(kind, service, name) of every series there ever was."""
        return set(self.database.execute("SELECT kind, service, name FROM cell WHERE width = ?", (EVER,)))

    def oldest_s(self) -> float | None:
        """When the oldest cell of the short kind begins, by which alerts are evaluated; None without any."""
        query = "SELECT min(at) FROM cell WHERE width = ?"
        found = self.database.execute(query, (self.cell_s,)).fetchone()[0]
        return None if found is None else float(found)

    def examples(
        self, kind: Kind, service: str, name: str, since_s: float, until_s: float
    ) -> list[tuple[str, int, int]]:
        """(request id, requests, failed ones) of the cells in between that kept an id, failed ones first.

        Without a service or a name, those of all of them.
        """
        rows = self.database.execute(
            "SELECT CASE WHEN bad = '' THEN slow ELSE bad END, count, errors FROM cell WHERE width = ? AND kind = ?"
            " AND at >= ? AND at < ? AND (? = '' OR service = ?) AND (? = '' OR name = ?) AND (bad != '' OR slow != '')"
            " ORDER BY errors DESC, slow_ms DESC LIMIT 50",
            (self.cell_s, kind, since_s, until_s, service, service, name, name),
        )
        return list(rows)

    def instances(self) -> dict[tuple[str, str], InstanceCell]:
        """Every process that wrote a line in the last day."""
        rows = self.database.execute("SELECT * FROM instance ORDER BY service, instance")
        return {
            (row[0], row[1]): InstanceCell(row[2], row[3], row[4], row[5], bool(row[6]), row[7], row[8], row[9])
            for row in rows
        }

    def calls(self, since_s: float) -> frozenset[tuple[str, str]]:
        """(service, dependency) of every pair that was called since."""
        query = "SELECT DISTINCT service, name FROM cell WHERE width = ? AND kind = 'dependency' AND at >= ?"
        return frozenset(self.database.execute(query, (MINUTE_S, since_s)))

    def events(self, since_s: float) -> list[tuple[float, str, str, str]]:
        """(time, service, name, about), the oldest first."""
        return list(self.database.execute("SELECT * FROM event WHERE at >= ? ORDER BY at", (since_s,)))

    def places(self) -> dict[int, TailPosition]:
        rows = self.database.execute("SELECT inode, offset, mark FROM place")
        return {inode: TailPosition(offset, mark) for inode, offset, mark in rows}

    def _whole_since(self) -> float:
        found = self.database.execute("SELECT value FROM fact WHERE name = ?", (_SINCE,)).fetchone()
        return float(found[0]) if found else float("inf")

    def facts(self) -> dict[str, float]:
        """What is counted: `lines torn late skewed overflowed`, and when the store was last written (`read_s`)."""
        return dict(self.database.execute("SELECT name, value FROM fact"))


def _is_broken(error: sqlite3.DatabaseError) -> bool:
    """Whether the file itself is at fault, and not somebody who has it locked or a disk that is full."""
    return not isinstance(error, sqlite3.OperationalError)


def opened(path: str, *, writable: bool) -> sqlite3.Connection:
    """A connection to the file with every table; raises `sqlite3.DatabaseError` for a file that is none."""
    if not writable:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=2.0, isolation_level=None)
        database.execute("SELECT 1 FROM cell LIMIT 1")
        return database
    database = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA cache_size = -1024")  # each look reads all of its windows: a larger one only fills up
        database.executescript(_SCHEMA)
        # a file of before there were sums of services has them from its next whole minute on
        database.execute(
            "INSERT OR IGNORE INTO fact SELECT ?, CASE WHEN EXISTS (SELECT 1 FROM cell) THEN ? ELSE 0 END",
            (_SINCE, time.time() + 2 * MINUTE_S),
        )
        columns = {row[1] for row in database.execute("PRAGMA table_info(alert)")}
        if "outage" not in columns:  # a file of before outages were known
            database.execute("ALTER TABLE alert ADD COLUMN outage INTEGER DEFAULT 0")
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database
