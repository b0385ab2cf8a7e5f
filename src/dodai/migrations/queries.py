"""Queries of a release tried against a schema with PREPARE: no data needed, and a renamed column is found."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.migrations import sql
from dodai.migrations.ports import SqlConnection, is_database_error, server_message, sqlstate

MISFITS = ("42P01", "42703", "42883", "42804", "42P10", "42846", "42704", "42809")
"""Undefined table, column, function; wrong type; no matching constraint; no cast; undefined object, wrong kind."""
UNPARSED = (*MISFITS, "42601")
_PREPARABLE = ("select", "insert", "update", "delete", "with", "values", "merge", "table")
_PLACEHOLDER = re.compile(r"%\((\w+)\)s|%s|@(\w+)|sqlc\.n?arg\(\s*'?(\w+)'?\s*\)|(?<![:\w]):([A-Za-z_]\w*)")


@dataclass(frozen=True, slots=True)
class Query:
    """One statement of a query file, its placeholders as `$1`, `$2`, …"""

    path: str
    line: int
    sql: str


Which = Literal["old query, new schema", "new query, old schema", "new query, new schema"]


@dataclass(frozen=True, slots=True)
class QueryTrial:
    """A query that does not fit a schema; `which` says whose query met which schema."""

    path: str
    line: int
    message: str
    which: Which


def read_queries(root: Path, patterns: Sequence[str]) -> tuple[Query, ...]:
    """The queries in the working tree; `patterns` are globs relative to `root`."""
    files = {
        str(path.relative_to(root)): path.read_bytes() for pattern in patterns for path in sorted(root.glob(pattern))
    }
    return queries(files)


def queries(files: Mapping[str, bytes]) -> tuple[Query, ...]:
    """Every statement of the files that PREPARE takes."""
    found: list[Query] = []
    for path, data in files.items():
        for span in sql.statements(data.decode(errors="replace")):
            text = span.text.rstrip(";")
            if sql.words(text, 1)[:1] and sql.words(text, 1)[0] in _PREPARABLE:
                found.append(Query(path, span.line, numbered(text)))
    return tuple(found)


def numbered(text: str) -> str:
    """Placeholders of psycopg, sqlc and SQLAlchemy as `$n`, outside strings and comments; a name keeps its number."""
    numbers: dict[str, int] = {}
    parts: list[str] = []
    plain = ""
    for token in sql.tokens(text):
        if token.kind in ("string", "quoted", "dollar", "comment"):
            parts += [_numbered(plain, numbers), token.text]
            plain = ""
        else:
            plain += token.text
    return "".join([*parts, _numbered(plain, numbers)])


def _numbered(text: str, numbers: dict[str, int]) -> str:
    def number(match: re.Match[str]) -> str:
        name = next((group for group in match.groups() if group), f"%{len(numbers)}")
        return f"${numbers.setdefault(name, len(numbers) + 1)}"

    return _PLACEHOLDER.sub(number, text)


def breaks(
    queries: Sequence[Query], *, fits: SqlConnection, tried: SqlConnection, which: Which
) -> Iterator[QueryTrial]:
    """The queries that fit the schema of `fits` and not that of `tried`; one that fits neither is not our business."""
    for query in queries:
        problem = misfit(tried, query)
        if problem and not misfit(fits, query):
            yield QueryTrial(query.path, query.line, problem, which)


def broken(new: Sequence[Query], old: Sequence[Query], conn: SqlConnection) -> Iterator[QueryTrial]:
    """The queries that were changed or added and that the schema of their own release does not take.

    Only where it takes some of the queries before: else it lacks what other migrations make. What cannot be parsed
    counts where its file could be before: files of queries may hold more than PREPARE understands.
    """
    taken = {query.path for query in old if not misfit(conn, query, UNPARSED)}
    before = {query.sql for query in old}
    for query in new if taken else ():
        if query.sql in before:
            continue
        if problem := misfit(conn, query, UNPARSED if query.path in taken else MISFITS):
            yield QueryTrial(query.path, query.line, problem, "new query, new schema")


def misfit(conn: SqlConnection, query: Query, states: Sequence[str] = MISFITS) -> str:
    """What the server says when the schema does not have what the query names; "" when it has, or cannot tell."""
    try:
        conn.execute(f"PREPARE dodai_trial AS {query.sql}")
    except Exception as error:
        if not is_database_error(error):
            raise
        return server_message(error) if sqlstate(error) in states else ""
    conn.execute("DEALLOCATE dodai_trial")
    return ""
