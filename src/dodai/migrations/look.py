"""The schema looked at again: read are the relations whose catalog rows changed since, and those that tell of them.

A row that was written since has the id of a transaction that had not ended then; one that was removed is missing in
the count of its relation. Where anything else changed (a schema, a function, a type, a role) all is read.
"""

# Only constants of ours are put into these statements.
# ruff: noqa: S608
from __future__ import annotations

from collections.abc import Iterable, Mapping

from dodai.core.dataclass import dataclass
from dodai.migrations.ports import SqlConnection
from dodai.migrations.snapshot import OURS, Snapshot, lines_query, own_rows

IDLE = 0
_ELSEWHERE = 0
"""The key of what belongs to no relation."""
_HORIZON = -1

_PARTS = (
    ("pg_class", "oid"),
    ("pg_attribute", "attrelid"),
    ("pg_attrdef", "adrelid"),
    ("pg_constraint", "conrelid"),
    ("pg_inherits", "inhrelid"),
    ("pg_partitioned_table", "partrelid"),
    ("pg_sequence", "seqrelid"),
    ("pg_trigger", "tgrelid"),
    ("pg_policy", "polrelid"),
    ("pg_rewrite", "ev_class"),
    ("pg_type", "typrelid"),
)
"""The catalogs that hold what a relation is told by, and the column that names the relation."""
_WHOLE = (
    "pg_namespace", "pg_extension", "pg_proc", "pg_aggregate", "pg_enum", "pg_range", "pg_collation", "pg_operator",
    "pg_opclass", "pg_opfamily", "pg_am", "pg_language", "pg_cast", "pg_transform", "pg_statistic_ext",
    "pg_event_trigger", "pg_publication", "pg_ts_config", "pg_ts_dict", "pg_ts_parser", "pg_ts_template",
)  # fmt: skip
"""The catalogs in which any change may change any line."""


_WRITTEN = "age(t.xmin) <= (SELECT age($1::xid))"
_USERS = 16384
"""The first oid of what is not the server's own (`FirstNormalObjectId` of PostgreSQL)."""


def _counted(key: str, source: str, where: str = "", weight: str = "1") -> str:
    """How many rows each key has, and whether one of them was written since `$1`."""
    group = "GROUP BY 1" if key != "0" else ""
    return f"SELECT {key}, sum({weight})::int8, bool_or({_WRITTEN}) FROM {source} t {where} {group}"


# The type of a relation's row, and the array of that, go with the relation; all other types are told everywhere.
_OTHER_TYPES = """LEFT JOIN pg_type e ON e.oid = t.typelem AND e.typarray = t.oid
 WHERE t.typrelid = 0 AND coalesce(e.typrelid, 0) = 0"""
_ROWS = " UNION ALL ".join((
    *(_counted(f"t.{key}", name, f"WHERE t.{key} >= {_USERS}") for name, key in _PARTS),
    # Until PostgreSQL 14 an index became valid without a new version of its row.
    _counted("t.indrelid", "pg_index", f"WHERE t.indrelid >= {_USERS}", "1 + t.indisvalid::int"),
    _counted("t.objoid", "pg_description", f"WHERE t.objoid >= {_USERS} AND t.classoid = 'pg_class'::regclass"),
))  # fmt: skip
_ROLES = """SELECT 0, hashtextextended(coalesce(string_agg(oid || ' ' || rolname, ',' ORDER BY oid), ''), 0), false
 FROM pg_roles"""
_ELSE = " UNION ALL ".join((
    *(_counted("0", name) for name in _WHOLE),
    _counted("0", "pg_type", _OTHER_TYPES),
    _counted("0", "pg_constraint", "WHERE t.conrelid = 0"),
    _counted("0", "pg_depend", "WHERE t.refclassid = 'pg_extension'::regclass"),
    _ROLES,
))  # fmt: skip
_COUNTS = f"""WITH {OURS}
SELECT key::int8, sum(n)::text, bool_or(written) FROM ({_ROWS}) AS r(key, n, written)
  JOIN pg_class c ON c.oid = key JOIN ns ON ns.oid = c.relnamespace GROUP BY key
UNION ALL SELECT 0, sum(n)::text, bool_or(written) FROM ({_ELSE}) AS r(key, n, written)
UNION ALL SELECT {_HORIZON}, (pg_snapshot_xmin(pg_current_snapshot())::xid)::text, false"""

# What depends on a relation that changed, at any distance: a view, the view of a view, a foreign key, a default, a
# partition. Of a part (deptype i, P, S) the whole counts as changed too, of what only hangs on a table it does not.
_MEANT = """told AS MATERIALIZED (WITH RECURSIVE told(classid, objid) AS (
  SELECT 'pg_class'::regclass::oid, unnest($1::oid[])
  UNION SELECT more.* FROM told, LATERAL (
    SELECT d.classid, d.objid FROM pg_depend d WHERE d.refclassid = told.classid AND d.refobjid = told.objid
    UNION ALL SELECT d.refclassid, d.refobjid FROM pg_depend d
     WHERE d.classid = told.classid AND d.objid = told.objid AND d.deptype IN ('i', 'P', 'S')) AS more)
  SELECT * FROM told),
keys AS MATERIALIZED (
  SELECT objid AS key FROM told WHERE classid = 'pg_class'::regclass
  UNION SELECT indrelid FROM told JOIN pg_index ON indexrelid = objid WHERE told.classid = 'pg_class'::regclass
  UNION SELECT adrelid FROM told JOIN pg_attrdef t ON t.oid = objid WHERE told.classid = 'pg_attrdef'::regclass
  UNION SELECT conrelid FROM told JOIN pg_constraint t ON t.oid = objid WHERE told.classid = 'pg_constraint'::regclass
  UNION SELECT tgrelid FROM told JOIN pg_trigger t ON t.oid = objid WHERE told.classid = 'pg_trigger'::regclass
  UNION SELECT polrelid FROM told JOIN pg_policy t ON t.oid = objid WHERE told.classid = 'pg_policy'::regclass
  UNION SELECT ev_class FROM told JOIN pg_rewrite t ON t.oid = objid WHERE told.classid = 'pg_rewrite'::regclass
  -- A function, a domain, statistics or whatever else: 0, as the constraint of a domain has it.
  UNION SELECT 0 FROM told WHERE classid <> ALL ('{pg_class,pg_attrdef,pg_constraint,pg_trigger,pg_policy,pg_rewrite,
    pg_type,pg_publication_rel}'::regclass[])
  UNION SELECT 0 FROM told JOIN pg_type t ON t.oid = objid LEFT JOIN pg_type e ON e.oid = t.typelem
    AND e.typarray = t.oid WHERE told.classid = 'pg_type'::regclass AND t.typrelid = 0 AND coalesce(e.typrelid, 0) = 0),
"""
_OF_THESE = (
    lines_query(relations="(SELECT array_agg(key) FROM keys)::oid[]").replace("WITH ", f"WITH {_MEANT}", 1)
    + " UNION ALL SELECT key, NULL FROM keys"
)
_OF_ALL = lines_query()


@dataclass(frozen=True, slots=True)
class Look:
    """The schema as it was seen on `conn`: the lines of each relation, by its oid.

    `counts` are the rows that tell of each relation, `horizon` the first transaction that had not ended. `settled` says
    that none was open on this connection: only then can a later look build on this one.
    """

    conn: SqlConnection
    lines: Mapping[int, tuple[str, ...]]
    counts: Mapping[int, str]
    horizon: str
    settled: bool

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(tuple(sorted(line for lines in self.lines.values() for line in lines)))

    def is_same(self, other: Look) -> bool:
        """Whether both snapshots are the same, whatever became of the oids."""
        return _only(self.lines, other.lines) == _only(other.lines, self.lines)


def _only(mine: Mapping[int, tuple[str, ...]], other: Mapping[int, tuple[str, ...]]) -> list[str]:
    return sorted(line for key, lines in mine.items() if other.get(key) != lines for line in lines)


def look(conn: SqlConnection, since: Look | None = None) -> Look:
    """The schema that `conn` sees now, uncommitted changes of its own included; as `snapshot` with the usual ledger."""
    settled = conn.info.transaction_status == IDLE
    base = since if since and since.settled and since.conn is conn else None
    counts: dict[int, str] = {}
    written: set[int] = set()
    for key, count, new in own_rows(conn, _COUNTS, keep=True, given=(f"'{base.horizon if base else 3}'",)):
        counts[key] = count
        if new:
            written.add(key)
    horizon = counts.pop(_HORIZON)
    lines = _again(conn, base, counts, written) if base else None
    if lines is None:
        lines = _grouped(own_rows(conn, _OF_ALL, keep=True))
    return Look(conn, lines, counts, horizon, settled)


def _again(
    conn: SqlConnection, base: Look, counts: Mapping[int, str], written: set[int]
) -> Mapping[int, tuple[str, ...]] | None:
    """The lines of `base` with those of changed relations read anew; None where all must be read."""
    changed = {key for key, count in counts.items() if key in written or base.counts.get(key) != count}
    if _ELSEWHERE in changed:
        return None
    gone = base.counts.keys() - counts.keys()
    if not changed and not gone:
        return base.lines
    found: dict[int, tuple[str, ...]] = {}
    if changed:
        found = _grouped(own_rows(conn, _OF_THESE, keep=True, given=(f"'{{{','.join(map(str, sorted(changed)))}}}'",)))
    if _ELSEWHERE in found:
        return None
    lines = {key: told for key, told in base.lines.items() if key not in gone}
    return lines | found


def _grouped(rows: Iterable[tuple[int | None, str | None]]) -> dict[int, tuple[str, ...]]:
    """The lines by relation; one without lines is there too."""
    found: dict[int, list[str]] = {}
    for key, line in rows:
        lines = found.setdefault(key or _ELSEWHERE, [])
        if line is not None:
            lines.append(line)
    return {key: tuple(sorted(lines)) for key, lines in found.items()}
