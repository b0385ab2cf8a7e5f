"""The schema of a database as text: sorted lines from the catalogs, comparable and hashable, without pg_dump."""

# Only constants of ours and the quoted ledger name are put into these statements.
# ruff: noqa: S608
from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.migrations.policy import IS_OURS, LEDGER, SIDE_SCHEMA
from dodai.migrations.ports import SqlConnection

# Names are printed as the search path allows, so it must be the same whoever looks. Both last until the end of the
# transaction: the caller's, which gets its path back, or that of this one message.
_ENTER = """SELECT pg_catalog.set_config('dodai.search_path', pg_catalog.current_setting('search_path'), true),
 pg_catalog.set_config('search_path', 'pg_catalog', true)"""
_LEAVE = "SELECT set_config('search_path', current_setting('dodai.search_path'), true)"
# A plan that is kept is made for any parameters: to plan such a query again takes longer than to carry it out.
_ENTER_KEPT = f"""{_ENTER}, pg_catalog.set_config('dodai.plans', pg_catalog.current_setting('plan_cache_mode'), true),
 pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true)"""
_LEAVE_KEPT = f"{_LEAVE}, set_config('plan_cache_mode', current_setting('dodai.plans'), true)"
_SYSTEM = (
    f"nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast', '{SIDE_SCHEMA}')"
    " AND nspname !~ '^pg_(temp|toast_temp)_'"
)
OURS = f"""ns AS MATERIALIZED (SELECT oid, nspname, nspowner, nspacl FROM pg_namespace WHERE {_SYSTEM}),
ext AS MATERIALIZED (SELECT classid, objid FROM pg_depend
  WHERE deptype = 'e' AND refclassid = 'pg_extension'::regclass)"""
# Also elsewhere than in that schema, with the sequence of an identity column.
_SIDE = f"""own_tables AS MATERIALIZED (SELECT c.oid FROM pg_class c WHERE {IS_OURS}),
side AS MATERIALIZED (SELECT oid FROM own_tables UNION SELECT objid FROM pg_depend JOIN own_tables o ON refobjid = o.oid
  WHERE classid = 'pg_class'::regclass AND refclassid = 'pg_class'::regclass AND deptype = 'i')"""
_NOT_EXT = "NOT EXISTS (SELECT FROM ext WHERE ext.classid = '{catalog}'::regclass AND ext.objid = {oid})"


def _own(catalog: str, oid: str) -> str:
    return _NOT_EXT.format(catalog=catalog, oid=oid)


_OF_RELATIONS = (
    f"""SELECT c.oid,
        CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view ' WHEN 'S' THEN 'sequence '
          WHEN 'c' THEN 'composite type ' WHEN 'f' THEN 'foreign table ' ELSE 'table ' END
        || quote_ident(nspname) || '.' || quote_ident(relname)
        || CASE WHEN relkind = 'p' THEN ' partition by ' || pg_get_partkeydef(c.oid) ELSE '' END
        || CASE WHEN relispartition THEN ' partition of ' || coalesce((SELECT inhparent::regclass::text FROM pg_inherits
             WHERE inhrelid = c.oid LIMIT 1), '') || ' ' || pg_get_expr(relpartbound, c.oid) ELSE '' END
        || CASE WHEN relpersistence = 'u' THEN ' unlogged' ELSE '' END
        || CASE WHEN relrowsecurity THEN ' row security' ELSE '' END
        || CASE WHEN relforcerowsecurity THEN ' forced' ELSE '' END
        || CASE WHEN reloptions IS NOT NULL THEN ' with ' || reloptions::text ELSE '' END
        || CASE WHEN relkind IN ('v', 'm') THEN ' as ' || pg_get_viewdef(c.oid) ELSE '' END
        || CASE WHEN relkind = 'S' THEN (SELECT format(' %s start %s by %s min %s max %s cache %s%s', seqtypid::regtype,
             seqstart, seqincrement, seqmin, seqmax, seqcache, CASE WHEN seqcycle THEN ' cycle' ELSE '' END)
             FROM pg_sequence WHERE seqrelid = c.oid) ELSE '' END
      FROM pg_class c JOIN ns ON ns.oid = relnamespace WHERE relkind IN ('r', 'p', 'v', 'm', 'S', 'c', 'f')
       AND {_own("pg_class", "c.oid")} {{skip}}""",
    f"""SELECT c.oid,
        'column ' || quote_ident(nspname) || '.' || quote_ident(relname) || '.' || quote_ident(attname) || ' '
        || format_type(atttypid, atttypmod)
        || CASE WHEN attcollation <> 0 AND attcollation <> (SELECT typcollation FROM pg_type WHERE oid = atttypid)
             THEN ' collate ' || (SELECT collname FROM pg_collation WHERE oid = attcollation) ELSE '' END
        || CASE WHEN attnotnull THEN ' not null' ELSE '' END
        || CASE attidentity WHEN 'a' THEN ' identity always' WHEN 'd' THEN ' identity by default' ELSE '' END
        || CASE attgenerated WHEN '' THEN coalesce(' default ' || pg_get_expr(adbin, adrelid), '')
             ELSE ' generated ' || attgenerated::text || ' ' || pg_get_expr(adbin, adrelid) END
      FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN ns ON ns.oid = relnamespace
      LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
      WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'v', 'm', 'c', 'f')
       AND {_own("pg_class", "c.oid")} {{skip}}""",
    f"""SELECT c.oid, 'order ' || quote_ident(nspname) || '.' || quote_ident(relname) || ' '
        || string_agg(quote_ident(attname), ',' ORDER BY attnum)
      FROM pg_attribute a JOIN pg_class c ON c.oid = attrelid JOIN ns ON ns.oid = relnamespace
      WHERE attnum > 0 AND NOT attisdropped AND relkind IN ('r', 'p', 'f') AND {_own("pg_class", "c.oid")} {{skip}}
      GROUP BY c.oid, nspname, relname""",
    f"""SELECT c.oid, 'constraint ' || coalesce(conrelid::regclass::text, contypid::regtype::text) || ' '
        || quote_ident(conname) || ' ' || pg_get_constraintdef(k.oid)
        || CASE WHEN convalidated THEN '' ELSE ' (not validated)' END
      FROM pg_constraint k JOIN ns ON ns.oid = connamespace LEFT JOIN pg_class c ON c.oid = conrelid
      WHERE contype <> 'n' AND {_own("pg_constraint", "k.oid")}
       AND (conrelid = 0 OR {_own("pg_class", "conrelid")}) {{skip}}""",
    f"""SELECT c.oid, 'index ' || pg_get_indexdef(indexrelid) || CASE WHEN indisvalid THEN '' ELSE ' (invalid)' END
        || CASE WHEN indisreplident THEN ' replica identity' ELSE '' END
      FROM pg_index i JOIN pg_class c ON c.oid = indrelid JOIN ns ON ns.oid = c.relnamespace
      WHERE c.relkind IN ('r', 'p', 'm') AND {_own("pg_class", "indrelid")} {{skip}}""",
    f"""SELECT c.oid, 'trigger ' || pg_get_triggerdef(t.oid) || ' ' || tgenabled::text
      FROM pg_trigger t JOIN pg_class c ON c.oid = tgrelid JOIN ns ON ns.oid = c.relnamespace
      WHERE NOT tgisinternal AND {_own("pg_trigger", "t.oid")} {{skip}}""",
    """SELECT c.oid, 'policy ' || quote_ident(polname) || ' on ' || polrelid::regclass || ' '
        || polcmd::text || polpermissive::text
        || ' ' || (SELECT string_agg(CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r) END, ',' ORDER BY r)
                   FROM unnest(polroles) r)
        || coalesce(' using ' || pg_get_expr(polqual, polrelid), '')
        || coalesce(' check ' || pg_get_expr(polwithcheck, polrelid), '')
      FROM pg_policy p JOIN pg_class c ON c.oid = polrelid JOIN ns ON ns.oid = c.relnamespace WHERE true {skip}""",
    f"""SELECT c.oid, 'rule ' || pg_get_ruledef(r.oid) FROM pg_rewrite r JOIN pg_class c ON c.oid = ev_class
      JOIN ns ON ns.oid = c.relnamespace WHERE rulename <> '_RETURN' AND {_own("pg_class", "c.oid")} {{skip}}""",
    f"""SELECT c.oid,
        'grant ' || quote_ident(nspname) || '.' || quote_ident(relname) || ' ' || a.privilege_type || ' to '
        || CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END
      FROM pg_class c JOIN ns ON ns.oid = relnamespace, aclexplode(relacl) a WHERE a.grantee <> c.relowner
       AND relkind IN ('r', 'p', 'v', 'm', 'S', 'f') AND {_own("pg_class", "c.oid")} {{skip}}""",
    f"""SELECT c.oid,
        'comment ' || pg_describe_object(d.classoid, d.objoid, d.objsubid) || ' ' || quote_literal(description)
      FROM pg_description d JOIN pg_class c ON c.oid = objoid JOIN ns ON ns.oid = c.relnamespace
      WHERE classoid = 'pg_class'::regclass AND {_own("pg_class", "c.oid")} {{skip}}""",
)
"""What is told of one relation of `pg_class`, with its oid: the relation, and what belongs to it."""
_OTHERS = (
    f"SELECT 'schema ' || quote_ident(nspname) FROM ns WHERE nspname <> 'public' AND {_own('pg_namespace', 'ns.oid')}",
    "SELECT 'extension ' || extname || ' ' || extversion FROM pg_extension WHERE extname <> 'plpgsql'",
    f"""SELECT CASE typtype WHEN 'e' THEN 'enum ' ELSE 'domain ' END
        || quote_ident(nspname) || '.' || quote_ident(typname)
        || CASE typtype WHEN 'e' THEN ' (' || (SELECT string_agg(quote_literal(enumlabel), ', ' ORDER BY enumsortorder)
             FROM pg_enum WHERE enumtypid = t.oid) || ')'
           ELSE ' ' || format_type(typbasetype, typtypmod) || CASE WHEN typnotnull THEN ' not null' ELSE '' END
             || coalesce(' default ' || typdefault, '') END
      FROM pg_type t JOIN ns ON ns.oid = typnamespace WHERE typtype IN ('e', 'd') AND {_own("pg_type", "t.oid")}""",
    f"""SELECT CASE prokind WHEN 'a' THEN 'aggregate ' || p.oid::regprocedure ELSE pg_get_functiondef(p.oid) END
      FROM pg_proc p JOIN ns ON ns.oid = pronamespace WHERE {_own("pg_proc", "p.oid")}""",
    """SELECT 'statistics ' || pg_get_statisticsobjdef(s.oid)
      FROM pg_statistic_ext s JOIN ns ON ns.oid = stxnamespace""",
    f"""SELECT 'event trigger ' || evtname || ' ' || evtevent || ' ' || evtfoid::regproc || ' ' || evtenabled::text
      FROM pg_event_trigger e WHERE {_own("pg_event_trigger", "e.oid")}""",
    "SELECT 'publication ' || pubname || ' ' || puballtables::text FROM pg_publication",
    f"""SELECT 'grant function ' || p.oid::regprocedure || ' ' || a.privilege_type || ' to '
        || CASE a.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(a.grantee) END
      FROM pg_proc p JOIN ns ON ns.oid = pronamespace, aclexplode(proacl) a WHERE a.grantee <> p.proowner
       AND {_own("pg_proc", "p.oid")}""",
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The schema as sorted lines; the ledger and everything of dodai is left out."""

    lines: tuple[str, ...]

    @property
    def hash(self) -> str:
        return hashlib.sha256("\n".join(self.lines).encode()).hexdigest()

    @property
    def ignoring_order(self) -> Snapshot:
        """Without the order of columns, which a drop and a new add cannot restore and no application depends on."""
        return Snapshot(tuple(line for line in self.lines if not line.startswith("order ")))

    def undone(self, found: Snapshot) -> tuple[str, ...]:
        """The differences of `found` to this one that a way down could have avoided: order of columns and labels that
        an enumeration has gained are not among them.
        """
        wanted, other = _enums(self.lines), _enums(found.lines)
        grown = {name for name in wanted.keys() & other.keys() if _still(wanted[name], other[name])}
        lines = self.ignoring_order.differences(found.ignoring_order)
        return tuple(line for line in lines if line[2:].partition(" (")[0] not in grown)

    def without_schema(self, name: str, others: Iterable[Snapshot]) -> Snapshot:
        """Without the line of the schema `name`, where none of `others` has it: it is there for our own tables."""
        lines = {f"schema {name}", f'schema "{name}"'}
        if any(lines.intersection(other.lines) for other in others):
            return self
        return Snapshot(tuple(line for line in self.lines if line not in lines))

    def differences(self, other: Snapshot) -> tuple[str, ...]:
        """`- line` only here, `+ line` only in `other`."""
        mine, theirs = set(self.lines), set(other.lines)
        return (*(f"- {line}" for line in sorted(mine - theirs)), *(f"+ {line}" for line in sorted(theirs - mine)))


_LABEL = re.compile(r"'((?:[^']|'')*)'")


def _enums(lines: Iterable[str]) -> dict[str, list[str]]:
    """The labels of each enumeration, by its name."""
    found = (line.partition(" (") for line in lines if line.startswith("enum "))
    return {name: _LABEL.findall(labels) for name, _, labels in found}


def _still(wanted: list[str], found: list[str]) -> bool:
    """Whether `wanted` is left of `found` once the labels that were added are gone: none can be taken away again."""
    rest = iter(found)
    return all(label in rest for label in wanted)


def snapshot(conn: SqlConnection, ledger_table: str = LEDGER) -> Snapshot:
    """The schema that `conn` sees now, uncommitted changes of its own included; one round trip.

    `ledger_table` is the ledger's bare name; it, its sequence and its index are not part of the schema.
    """
    return Snapshot(tuple(sorted(row[1] for row in own_rows(conn, lines_query(ledger_table)) if row[1] is not None)))


def lines_query(ledger_table: str = LEDGER, *, relations: str = "") -> str:
    """Every line with the oid of its relation, NULL for what has none.

    With `relations`, an expression for an array of oids, the lines of these and nothing else.
    """
    name = ledger_table.rpartition(".")[2].replace("'", "''")
    skip = (
        f"AND coalesce(c.relname, '') NOT IN ('{name}', '{name}_id_seq')"
        " AND NOT EXISTS (SELECT FROM side WHERE side.oid = c.oid)"
    )
    these = f"{skip} AND c.oid = ANY ({relations})" if relations else skip
    found = [query.replace("{skip}", these) for query in _OF_RELATIONS]
    if not relations:
        found += [query.replace("SELECT ", "SELECT NULL::oid, ", 1) for query in _OTHERS]
    return f"WITH {OURS}, {_SIDE} SELECT owner, line FROM ({' UNION ALL '.join(found)}) AS s(owner, line)"


def own_rows(conn: SqlConnection, query: str, *, keep: bool = False, given: Sequence[str] = ()) -> list[Any]:
    """The rows of a query of ours under a search path of its own: a table of the user's called `text` is not meant.

    With `keep` the session plans it once, which for a small schema takes longer than to carry it out; `given` are then
    its parameters as literals.
    """
    enter, leave = _ENTER, _LEAVE
    if keep:
        enter, leave = _ENTER_KEPT, _LEAVE_KEPT
        name = f"dodai_{hashlib.sha256(query.encode()).hexdigest()[:16]}"
        # Asked each time: a migration may say `DISCARD ALL`.
        if not conn.execute(f"{_IS_KEPT} '{name}'", prepare=False).fetchone()[0]:
            conn.execute(f"{_ENTER}; PREPARE {name} AS {query}; {_LEAVE}", prepare=False)
        query = f"EXECUTE {name}({', '.join(given)})" if given else f"EXECUTE {name}"
    cursor = conn.execute(f"{enter}; {query}; {leave}", prepare=False)
    cursor.nextset()
    return cursor.fetchall()


_IS_KEPT = "SELECT pg_catalog.count(*) FROM pg_catalog.pg_prepared_statements WHERE name OPERATOR(pg_catalog.=)"


def schema_hash(conn: SqlConnection) -> str:
    """sha256 of the schema, hexadecimal."""
    return snapshot(conn).hash
