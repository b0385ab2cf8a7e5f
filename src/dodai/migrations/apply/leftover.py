"""What an interrupted statement outside a transaction left behind, found out by looking at the catalog."""

# Only constants of ours are put into these statements.
# ruff: noqa: S608
from __future__ import annotations

import re
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.migrations import sql
from dodai.migrations.ports import SqlConnection
from dodai.migrations.snapshot import own_rows

_MAYBE_THERE = re.compile(r"\bindex\b.{0,60}\bif\s+not\s+exists\b", re.IGNORECASE | re.DOTALL)
Verdict = Literal["done", "again", "unclear"]


@dataclass(frozen=True, slots=True)
class Leftover:
    """`done`: it took effect. `again`: run it (once more). `unclear`: only a person can tell. `repair` runs first."""

    verdict: Verdict
    repair: str = ""


class EffectError(Exception):
    """The server said that it was done, and its catalog says otherwise."""

    sqlstate = "55000"


def has_effect_to_see(statement: str) -> bool:
    """Whether `see_effect` has something to look at behind this statement."""
    return _MAYBE_THERE.search(statement) is not None


def see_effect(conn: SqlConnection, statement: str) -> None:
    """Raise `EffectError` when `CREATE INDEX … IF NOT EXISTS` found an index that a failed build had left invalid."""
    if not has_effect_to_see(statement):
        return
    for span in sql.statements(statement):
        found = _significant(span.text)
        if found[:1] != ("create",) or "index" not in found[:3] or "exists" not in found:
            continue
        name = _name(found, found.index("exists") + 1)
        row = conn.execute(
            "SELECT indexrelid::pg_catalog.regclass::pg_catalog.text FROM pg_catalog.pg_index"
            f" WHERE indexrelid = pg_catalog.to_regclass({sql.literal(name)}) AND NOT indisvalid",
            prepare=False,
        ).fetchone()
        if row is not None:
            raise EffectError(
                f"`{row[0]}` is there and invalid: an earlier build failed, and IF NOT EXISTS leaves it so;"
                f" `DROP INDEX CONCURRENTLY {row[0]}` first"
            )


def invalid_indexes(conn: SqlConnection) -> tuple[str, ...]:
    """Names of indexes that a failed build left behind; one that is being built now is not among them."""
    rows = own_rows(
        conn,
        "SELECT indexrelid::regclass::text FROM pg_index i WHERE NOT indisvalid AND NOT EXISTS"
        " (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = i.indexrelid) ORDER BY 1",
    )
    return tuple(str(row[0]) for row in rows)


def settle(conn: SqlConnection, statement: str) -> Leftover:
    """The verdict on `statement`, which was announced but not recorded as done."""
    found = _significant(statement)
    match found[:3]:
        case ("create", "index", "concurrently") | ("create", "unique", "index"):
            return _create_index(conn, found)
        case ("drop", "index", "concurrently"):
            exists = _index(conn, _name(found, 3)) is not None
            return Leftover("again" if exists else "done")
        case ("reindex", *_):
            return Leftover("again", _drop_invalid_copies(conn))
    if found[0] in ("vacuum", "analyze", "set", "reset", "checkpoint", "refresh", "cluster", "discard", "load"):
        return Leftover("again")
    if found[:2] == ("alter", "system"):
        return Leftover("again")
    if found[:2] in (("create", "database"), ("drop", "database"), ("create", "tablespace"), ("drop", "tablespace")):
        return _cluster_object(conn, found)
    return Leftover("unclear")


def _significant(statement: str) -> tuple[str, ...]:
    """The first tokens, quoted names without their quotes."""
    return tuple(word[1:-1].replace('""', '"') if word.startswith('"') else word for word in sql.words(statement, 16))


def _name(found: tuple[str, ...], start: int) -> str:
    """The possibly qualified name at `start`, behind IF [NOT] EXISTS."""
    at = start
    while found[at : at + 1] and found[at] in ("if", "not", "exists"):
        at += 1
    name = found[at] if at < len(found) else ""
    if found[at + 1 : at + 2] == (".",):
        return f"{sql.identifier(name)}.{sql.identifier(found[at + 2])}"
    return sql.identifier(name)


def _create_index(conn: SqlConnection, found: tuple[str, ...]) -> Leftover:
    at = found.index("concurrently") + 1 if "concurrently" in found else 0
    if not at or found[at] == "on":
        return Leftover("unclear", _drop_invalid_copies(conn))
    bare = _name(found, at)
    on = found.index("on", at) + 1
    table = _name(found, on + 1 if found[on] == "only" else on)
    row = conn.execute(
        "SELECT i.indexrelid::regclass::text, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid"
        " WHERE i.indrelid = to_regclass(%s) AND quote_ident(c.relname) = quote_ident(%s)",
        [table, bare.strip('"').replace('""', '"')],
        prepare=False,
    ).fetchone()
    if row is None:
        return Leftover("again")
    return Leftover("done") if row[1] else Leftover("again", f"DROP INDEX CONCURRENTLY {row[0]}")


def _index(conn: SqlConnection, name: str) -> object:
    return conn.execute("SELECT to_regclass(%s)", [name], prepare=False).fetchone()[0]


def _drop_invalid_copies(conn: SqlConnection) -> str:
    """REINDEX CONCURRENTLY leaves invalid `_ccnew` and `_ccold` copies."""
    rows = conn.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid"
        " AND indexrelid::regclass::text ~ '_cc(new|old)[0-9]*\"?$'",
        prepare=False,
    ).fetchall()
    return "; ".join(f"DROP INDEX IF EXISTS {row[0]}" for row in rows)


def _cluster_object(conn: SqlConnection, found: tuple[str, ...]) -> Leftover:
    catalog, column = ("pg_database", "datname") if found[1] == "database" else ("pg_tablespace", "spcname")
    name = _name(found, 2).strip('"').replace('""', '"')
    exists = conn.execute(f"SELECT 1 FROM {catalog} WHERE {column} = %s", [name], prepare=False).fetchone() is not None
    return Leftover("done" if exists == (found[0] == "create") else "again")
