"""A statement in ranges of a key: what is sent for one range, where the next one ends, and when to wait before it.

The end of a range is looked up in the index of the key, so a range never holds more rows than it should however the key
is spread. What is written to the table meanwhile is the application's to fill: the new release writes both.
"""

# Names are those of the file, which is SQL anyway; values go through sql.literal.
# ruff: noqa: S608
from __future__ import annotations

import time
from collections.abc import Callable

from dodai.core.errors import DodaiError
from dodai.migrations import codes, sql
from dodai.migrations.migration import BatchDirective, Statement
from dodai.migrations.ports import SqlConnection


def ranged(statement: Statement, batch: BatchDirective, after: str | None, upto: str) -> str:
    """The statement for the rows whose key is above `after` (from the first with None) and at most `upto`."""
    text = sql.statements(statement.sql)[0].text.removesuffix(";")
    rows = f"{batch.key} <= {sql.literal(upto)}"
    if after is not None:
        rows = f"{batch.key} > {sql.literal(after)} AND {rows}"
    where = next((token for token in sql.outermost(text) if token.text.lower() == "where"), None)
    if where is None:
        return f"{text}\nWHERE {rows}"
    return f"{text[: where.end]} ({text[where.end :]}\n) AND {rows}"


def next_end(conn: SqlConnection, batch: BatchDirective, after: str | None) -> str | None:
    """The key that ends the next range; None behind the last row."""
    key = batch.key.rpartition(".")[2]
    behind = "" if after is None else f"WHERE {key} > {sql.literal(after)} "
    rows = f"SELECT {key} AS key FROM {batch.table} {behind}ORDER BY {key} LIMIT {batch.size}"
    found = conn.execute(f"SELECT key::pg_catalog.text FROM ({rows}) AS s ORDER BY s.key DESC LIMIT 1", prepare=False)
    row = found.fetchone()
    return str(row[0]) if row else None


def lag_s(conn: SqlConnection) -> float | None:
    """How far the slowest replica is behind; None where there is one and this role may not see how far."""
    row = conn.execute(
        "SELECT count(*), count(*) FILTER (WHERE state IS NOT NULL),"
        " coalesce(max(extract(epoch FROM replay_lag)), 0)::float8 FROM pg_catalog.pg_stat_replication",
        prepare=False,
    ).fetchone()
    return float(row[2]) if row[0] == row[1] else None


class Pace:
    """Waits before a range while a replica is more than `most_s` behind, and says from time to time how far it got."""

    def __init__(self, conn: SqlConnection, most_s: float, place: str, note: Callable[[str], None]) -> None:
        self.conn, self.most_s, self.place, self.note = conn, most_s, place, note
        self.ranges, self.said_at, self.blind = 0, time.monotonic(), False

    def wait(self) -> None:
        while (behind := lag_s(self.conn)) is not None and behind > self.most_s:
            self._say(f"a replica is {behind:.1f} s behind, waiting")
            time.sleep(LOOK_AGAIN_S)
        if behind is None and not self.blind:
            self.blind = True
            self.note(f"{self.place}: this role may not see how far a replica is behind, so nothing waits for it")
        self._say(f"{self.ranges} batches are done")
        self.ranges += 1

    def _say(self, what: str) -> None:
        if time.monotonic() - self.said_at >= SAY_EVERY_S:
            self.said_at = time.monotonic()
            self.note(f"{self.place}: {what}")


LOOK_AGAIN_S = 0.25
SAY_EVERY_S = 5.0


def refuse_unindexed(conn: SqlConnection, batch: BatchDirective, place: str) -> None:
    """DOD267 when rows may lack the key, or no index begins with it: some would be left out, or all read each time."""
    key = batch.key.rpartition(".")[2]
    row = conn.execute(
        "SELECT a.attnotnull, EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = a.attrelid AND i.indisvalid"
        " AND i.indpred IS NULL AND i.indkey[0] = a.attnum)"
        f" FROM pg_catalog.pg_attribute a WHERE a.attrelid = pg_catalog.to_regclass({sql.literal(batch.table)})"
        f" AND pg_catalog.quote_ident(a.attname) = pg_catalog.quote_ident({sql.literal(_bare(key))}) AND a.attnum > 0",
        prepare=False,
    ).fetchone()
    why = "is not there" if row is None else "may be NULL" if not row[0] else "" if row[1] else "has no index"
    if why:
        message = f"{place}: the key `{batch.key}` of `{batch.table}` {why}"
        raise DodaiError(codes.BATCH_KEY, message, codes.BATCH_KEY.fix.en, exit_code=1)


def _bare(name: str) -> str:
    return name[1:-1] if name.startswith('"') else name.lower()
