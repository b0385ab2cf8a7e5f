"""What one statement does to the tables that were there before it, measured inside its own transaction.

Measured on PostgreSQL 17: locks stay in `pg_locks` until the transaction ends, a rewrite gives the table a new file,
and the scan counter rises also for an empty table; so no rows are needed to see what a big table would suffer.
"""

# Only constants of ours are put into these statements.
# ruff: noqa: S608
from __future__ import annotations

import json
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.migrations.migration import Statement
from dodai.migrations.policy import IS_OURS, SIDE_SCHEMA
from dodai.migrations.ports import SqlConnection, send
from dodai.migrations.snapshot import own_rows

IN_TRANSACTION = 2
WRITE_BLOCKING = ("ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock")
"""Lock modes that conflict with INSERT, UPDATE and DELETE (PostgreSQL manual, table 13.2)."""
STRONGEST = (*WRITE_BLOCKING[::-1], "ShareUpdateExclusiveLock", "RowExclusiveLock", "RowShareLock", "AccessShareLock")

_TABLES = f"""
WITH held AS MATERIALIZED (
  SELECT relation, array_agg(DISTINCT mode) AS modes FROM pg_locks
  WHERE pid = pg_backend_pid() AND granted AND locktype = 'relation' GROUP BY relation)
SELECT c.oid, n.nspname || '.' || c.relname, pg_relation_filenode(c.oid), pg_stat_get_xact_numscans(c.oid),
       coalesce(held.modes, '{{}}'), i.indexes, a.columns, a.must_fill, c.relkind::pg_catalog.text, c.relrowsecurity
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace LEFT JOIN held ON held.relation = c.oid
LEFT JOIN LATERAL (SELECT array_agg(indexrelid::pg_catalog.int8) AS indexes FROM pg_index
                   WHERE indrelid = c.oid {{only}}) AS i ON true
LEFT JOIN LATERAL (SELECT jsonb_object_agg(attnum, attname) AS columns, array_agg(attname::pg_catalog.text)
                     FILTER (WHERE attnotnull AND NOT atthasdef AND attidentity = '') AS must_fill FROM pg_attribute
                   WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped {{only}}) AS a ON true
WHERE c.relkind IN ('r', 'p', 'm', 'v')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', '{SIDE_SCHEMA}')
  AND n.nspname !~ '^pg_(temp|toast)' AND NOT {IS_OURS}
"""
_ALL = _TABLES.replace("{only}", "")
_TOUCHED = _TABLES.replace("{only}", "AND held.relation IS NOT NULL")


AS_JSON = (
    "SELECT coalesce(json_agg(json_build_array(r.a::pg_catalog.int8, r.b, r.c::pg_catalog.int8, r.d, r.e, r.f, r.g,"
    " r.h, r.i, r.j)), '[]')::pg_catalog.text"
    f" FROM ({_ALL}) AS r(a, b, c, d, e, f, g, h, i, j)"
)
"""The same as one text, for the session of another tool, whatever its driver makes of arrays."""


@dataclass(frozen=True, slots=True)
class ProbedTable:
    """One table or view as the transaction sees it; `columns` are names by number, `kind` is `pg_class.relkind`.

    `must_fill` are columns that are NOT NULL and have nothing to fill them.
    """

    name: str
    filenode: int | None
    scans: int
    modes: frozenset[str]
    indexes: frozenset[int]
    columns: Mapping[str, str]
    must_fill: frozenset[str]
    kind: str = "r"
    guards_rows: bool = False


Tables = Mapping[int, ProbedTable]


@dataclass(frozen=True, slots=True)
class Effect:
    """What a statement did to one table that was there before. `lock` is the strongest lock held on it afterwards.

    `written` says that this statement was the first of its transaction to write rows, `hides_rows` that row security
    was switched on, `unindexed` that an index is gone.
    """

    table: str
    lock: str
    rewritten: bool = False
    scanned: bool = False
    indexed: bool = False
    dropped: bool = False
    dropped_columns: tuple[str, ...] = ()
    renamed: tuple[str, ...] = ()
    must_fill: tuple[str, ...] = ()
    unindexed: bool = False
    hides_rows: bool = False
    written: bool = False

    @property
    def blocks_writes(self) -> bool:
        return self.lock in WRITE_BLOCKING


@dataclass(frozen=True, slots=True)
class StatementProbe:
    """One statement with its effects; `ms` is what it took on the shadow, which says little about production."""

    statement: Statement
    ms: float
    effects: tuple[Effect, ...] = ()


def tables(conn: SqlConnection) -> Tables:
    """Every table of the user as the current transaction sees it."""
    return _of(own_rows(conn, _ALL, keep=True))


def tables_since(conn: SqlConnection, before: Tables) -> Tables:
    """`tables` one statement later: looked at again are those that this transaction has a lock on, and all names.

    Whoever reads, writes or alters a table holds a lock on it to the end of the transaction; only a schema can be
    renamed beside it. A lock that is gone was rolled back: then all are looked at.
    """
    after: dict[int, ProbedTable] = {}
    rows = own_rows(conn, _TOUCHED, keep=True)
    touched = _of(row for row in rows if row[4])
    for oid, name, *_ in rows:
        seen = touched.get(oid) or before.get(oid)
        if seen is None or (seen.modes and oid not in touched):
            return tables(conn)
        after[oid] = seen if seen.name == name else replace(seen, name=name)
    return after


def from_json(text: str) -> Tables:
    """What `AS_JSON` answered."""
    return _of(json.loads(text))


def _of(rows: Iterable[Sequence[Any]]) -> Tables:
    return {
        row[0]: ProbedTable(
            row[1], row[2], row[3] or 0, frozenset(row[4]),
            frozenset(row[5] or ()), row[6] or {}, frozenset(row[7] or ()), row[8], row[9],
        )
        for row in rows
    }  # fmt: skip


def probe(
    conn: SqlConnection, statement: Statement, before: Tables, known: Collection[int]
) -> tuple[StatementProbe, Tables]:
    """Run `statement` in the open transaction; its effects on the tables in `known`, and the tables afterwards."""
    began = time.perf_counter()
    send(conn, statement)
    ms = (time.perf_counter() - began) * 1000
    after = tables_since(conn, before) if conn.info.transaction_status == IN_TRANSACTION else tables(conn)
    return StatementProbe(statement, ms, effects(before, after, known)), after


def effects(before: Tables, after: Tables, known: Collection[int]) -> tuple[Effect, ...]:
    """What became of the tables in `known`."""
    # What was not looked at again is the same object: nothing became of it.
    changed = (oid for oid in known if oid in before and before[oid] is not after.get(oid))
    found = (effect(before[oid], after.get(oid)) for oid in changed)
    return tuple(seen for seen in found if seen)


def effect(before: ProbedTable, after: ProbedTable | None) -> Effect | None:
    """The difference one statement made to a table; None when it made none that anybody would notice."""
    if after is None:
        return Effect(before.name, "AccessExclusiveLock", dropped=True)
    found = Effect(
        after.name,
        next((mode for mode in STRONGEST if mode in after.modes), ""),
        rewritten=after.filenode != before.filenode,
        scanned=after.scans > before.scans,
        indexed=bool(after.indexes - before.indexes),
        dropped_columns=tuple(sorted(name for number, name in before.columns.items() if number not in after.columns)),
        renamed=_renamed(before, after),
        must_fill=tuple(sorted(after.must_fill - set(before.columns.values()) - set(_renamed(after, before)))),
        unindexed=bool(before.indexes - after.indexes),
        hides_rows=after.guards_rows and not before.guards_rows,
        written="RowExclusiveLock" in after.modes - before.modes,
    )
    changed = (found.rewritten, found.scanned, found.indexed, found.dropped_columns, found.renamed, found.must_fill,
               found.unindexed, found.hides_rows)  # fmt: skip
    return found if any(changed) or after.modes != before.modes else None


def lasting(probes: Sequence[StatementProbe], before: Tables, after: Tables) -> tuple[StatementProbe, ...]:
    """`probes` of one transaction, where a view that was dropped and made again counts as what it is now.

    Nobody sees a view of the transaction's middle; that is also the only way to change the type of its columns.
    """
    views = {table.name: table for table in before.values() if table.kind == "v"}
    again = {table.name: set(table.columns.values()) for table in after.values() if table.name in views}

    def seen(effect: Effect) -> Effect:
        if not effect.dropped or effect.table not in again:
            return effect
        gone = set(views[effect.table].columns.values()) - again[effect.table]
        return replace(effect, dropped=False, dropped_columns=tuple(sorted(gone)))

    return tuple(replace(each, effects=tuple(seen(effect) for effect in each.effects)) for each in probes)


def _renamed(before: ProbedTable, after: ProbedTable) -> tuple[str, ...]:
    """The old names of columns, and of the table itself, that now have another one."""
    columns = (name for number, name in before.columns.items() if after.columns.get(number, name) != name)
    return (*((before.name,) if after.name != before.name else ()), *sorted(columns))
