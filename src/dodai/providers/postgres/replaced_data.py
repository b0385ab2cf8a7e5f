"""The data that a restore replaced, beside the restore point that took its place: which rows only one of them has.

Both are opened as throw-away servers on copies, so neither is changed, and the environment may serve meanwhile.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from psycopg import sql
from psycopg.types.json import set_json_loads

from dodai.core.dataclass import dataclass
from dodai.migrations.policy import IS_OURS, SIDE_SCHEMA
from dodai.operations.ports import ReplacedData, ReplacedRow, ReplacedTable
from dodai.providers.postgres.backup import opened_restore_point, restore_point
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.durable import home_directory
from dodai.providers.postgres.restore_data import REPLACED
from dodai.providers.postgres.server_user import server_identity

_TABLES = f"""
SELECT c.oid, n.nspname, c.relname, c.relkind = 'p' AS partitioned,
  (SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_attribute a
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') AS columns,
  (SELECT array_agg(a.attname ORDER BY a.attnum) FROM pg_index i JOIN pg_attribute a
    ON a.attrelid = c.oid AND a.attnum = ANY(i.indkey) WHERE i.indrelid = c.oid AND i.indisprimary) AS key,
  (SELECT array_agg(DISTINCT confrelid) FROM pg_constraint WHERE conrelid = c.oid AND contype = 'f') AS refers
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
  AND n.nspname NOT IN ('pg_catalog', 'information_schema', '{SIDE_SCHEMA}') AND n.nspname !~ '^pg_'
  AND NOT {IS_OURS} ORDER BY 2, 3
"""  # noqa: S608 - constants


LARGE_OBJECTS = ("pg_catalog", "pg_largeobject")
_ROW = sql.Identifier("dodai: the row")
"""What a query calls a row: a column of that name would be taken in its place."""


@dataclass(frozen=True, slots=True)
class _Table:
    """A table as one of the two servers has it; without a primary key the whole row is the key."""

    name: tuple[str, str]
    columns: tuple[str, ...]
    key: tuple[str, ...]
    partitioned: bool


def replaced_data(cluster: Path) -> tuple[ReplacedData, ...]:
    """What restores of the cluster in that folder have set aside, the newest first."""
    found = []
    for path in home_directory(cluster, server_identity()).glob("data.before-*"):
        with contextlib.suppress(OSError, ValueError, KeyError):
            note = json.loads((path / REPLACED).read_text("utf-8"))
            found.append(ReplacedData(str(path), str(note["point"]), str(note["plan"]), str(note["at"])))
    return tuple(sorted(found, key=lambda one: one.at, reverse=True))


def compare(
    replaced: Path, point: Path, database: str, ledgers: tuple[str, ...], tell: Callable[[ReplacedRow], None]
) -> tuple[ReplacedTable, ...]:
    """Each table of which the two have other rows; `tell` hears of every row, tables that others refer to first.

    Tables of the name of a ledger are left out. Raises DOD783 and DOD780 as the servers do.
    """
    with _opened(point, database) as old, _opened(replaced, database) as new:
        before, found = _tables(old, ledgers), _large_objects(old, new, tell)
        for table in _tables(new, ledgers).values():
            counts = Counter[str]()
            for row in _differences(old, new, before.get(table.name), table):
                counts[row.change] += 1
                tell(row)
            if counts:
                found.append(ReplacedTable(*table.name, counts["added"], counts["changed"], counts["removed"]))
        return tuple(found)


def _large_objects(old: Any, new: Any, tell: Callable[[ReplacedRow], None]) -> list[ReplacedTable]:
    """Those that only one of the two has, by their ids: they stand in no table, and no SQL of ours brings them back."""
    had, has = (
        {oid for (oid,) in one.execute("SELECT oid FROM pg_largeobject_metadata").fetchall()} for one in (old, new)
    )
    for oid in sorted(has - had):
        tell(ReplacedRow(*LARGE_OBJECTS, "added", {"oid": oid}, ()))
    for oid in sorted(had - has):
        tell(ReplacedRow(*LARGE_OBJECTS, "removed", {"oid": oid}, ()))
    return [ReplacedTable(*LARGE_OBJECTS, len(has - had), 0, len(had - has))] if has != had else []


@contextlib.contextmanager
def _opened(path: Path, database: str) -> Iterator[Any]:
    with opened_restore_point(restore_point(path)) as cluster, connect(cluster.dsn(database)) as conn:
        conn.execute("SET TimeZone = 'UTC'")
        set_json_loads(partial(json.loads, parse_float=Decimal), conn)  # a float would round what people own
        yield conn


def _tables(conn: Any, ledgers: tuple[str, ...]) -> dict[tuple[str, str], _Table]:
    """In an order in which their rows can be inserted, as far as there is one."""
    rows = [row for row in conn.execute(_TABLES).fetchall() if row[2] not in ledgers]
    by_oid = {
        oid: _Table((schema, name), tuple(columns or ()), tuple(key or ()), partitioned)
        for oid, schema, name, partitioned, columns, key, _ in rows
    }
    graph = {oid: [other for other in refers or () if other != oid and other in by_oid] for oid, *_, refers in rows}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError:
        order = list(by_oid)
    return {by_oid[oid].name: by_oid[oid] for oid in order}


def _differences(old: Any, new: Any, before: _Table | None, table: _Table) -> Iterator[ReplacedRow]:
    """Rows are compared in the columns that both have."""
    shared = tuple(one for one in table.columns if before and one in before.columns)
    key = table.key if before and table.key and table.key == before.key else shared
    known = dict(_hashes(old, table, key, shared)) if before else {}
    seen = set[str]()
    for identity, digest, row in _rows(new, table, key, shared):
        seen.add(identity)
        if identity not in known:
            yield ReplacedRow(*table.name, "added", row, shared)
        elif known[identity] != digest:
            yield ReplacedRow(*table.name, "changed", row, shared)
    gone = known.keys() - seen
    for identity, _, row in _rows(old, table, key, shared) if gone else ():
        if identity in gone:
            yield ReplacedRow(*table.name, "removed", row, shared)


def _hashes(conn: Any, table: _Table, key: tuple[str, ...], shared: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    return ((identity, digest) for identity, digest, _ in _rows(conn, table, key, shared, with_row=False))


def _rows(
    conn: Any, table: _Table, key: tuple[str, ...], shared: tuple[str, ...], *, with_row: bool = True
) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(key, hash over the shared columns, row); of rows that are wholly alike each is another one."""

    def packed(columns: tuple[str, ...]) -> sql.Composable:
        return sql.SQL("jsonb_build_array({})::text").format(sql.SQL(", ").join(map(sql.Identifier, columns)))

    numbered = sql.SQL("count(*) OVER (PARTITION BY {} ROWS UNBOUNDED PRECEDING)").format(packed(key))
    query = sql.SQL("SELECT {} || '#' || {}, md5({}), {} FROM {}{} {}").format(
        packed(key),
        numbered if key != table.key else sql.SQL("''"),
        packed(shared),
        sql.SQL("to_jsonb({})").format(_ROW) if with_row else sql.SQL("NULL"),
        sql.SQL("" if table.partitioned else "ONLY "),
        sql.Identifier(*table.name),
        _ROW,
    )
    with conn.transaction(), conn.cursor(name="rows") as cursor:
        cursor.itersize = 1000
        for identity, digest, row in cursor.execute(query):
            yield identity, digest, {name: row[name] for name in table.columns if name in row} if row else {}
