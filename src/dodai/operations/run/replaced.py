"""What a restore set aside: how many rows of which tables, and all of them in files to look at and to replay."""

# Names are quoted and values written as literals: the SQL goes into a file, nothing here executes it.
# ruff: noqa: S608

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import field
from decimal import Decimal
from pathlib import Path
from typing import IO

from dodai.core.codes import UNKNOWN_WORD
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.state_folder import make_folder
from dodai.operations.environment import Environment
from dodai.operations.ports import KeepsReplacedData, ReplacedData, ReplacedRow, ReplacedTable

ROWS, REPLAY = "rows.jsonl", "replay.sql"
_HEAD = """-- Rows that were written after the restore point {point}, for the database that was put back.
-- All of them or none: it fails as a whole where somebody has taken a row's place since. Look at {rows} then.
BEGIN;
SET CONSTRAINTS ALL DEFERRED;
"""


@dataclass(frozen=True, slots=True)
class ReplacedReport:
    """`kept` is everything that restores have set aside, the newest first; `tables` is what `one` of it has to say."""

    kept: tuple[ReplacedData, ...]
    one: ReplacedData | None = None
    tables: tuple[ReplacedTable, ...] = ()
    exported: tuple[str, ...] = ()


async def replaced_report(here: Environment, word: str = "", export: Path | None = None) -> ReplacedReport:
    """The rows that the replaced data named `word` (the newest when empty) and its restore point do not share.

    With `export` they are written to two files of that new folder, which only this user can read. Raises DOD051 (2)
    for no such name, a provider that keeps no replaced data, or a folder that is there already.
    """
    points = here.database.restore_points
    if not isinstance(points, KeepsReplacedData):
        said = f"the provider of the database of `{here.name}` does not say what a restore replaced"
        raise DodaiError(UNKNOWN_WORD, said, "look at what it kept with its own tools", exit_code=2)
    kept = tuple(points.replaced())
    one = next((each for each in kept if word in ("", each.name)), None)
    if one is None:
        if word:
            fix = f"one of {', '.join(f'`{each.name}`' for each in kept)}" if kept else "nothing is set aside"
            raise DodaiError(UNKNOWN_WORD, f"`{here.name}` has no replaced data `{word}`", fix, exit_code=2)
        return ReplacedReport(kept)
    migrations = here.project.migrations
    ledgers = (migrations.ledger_parts[1],) if migrations else ()
    with _exporting(one, export) as files:
        tables = await asyncio.to_thread(points.compare, one, ledgers, files.add)
    return ReplacedReport(kept, one, tuple(tables), files.paths)


@dataclass(slots=True)
class _Files:
    """Where rows go; nowhere without an export."""

    rows: IO[str] | None = None
    replay: IO[str] | None = None
    paths: tuple[str, ...] = ()
    columns: dict[tuple[str, str], set[str]] = field(default_factory=dict)

    def add(self, row: ReplacedRow) -> None:
        if self.rows and self.replay:
            told = {"table": f"{row.schema}.{row.table}", "change": row.change, "row": row.row}
            self.rows.write(_json(told) + "\n")
            if row.change == "added" and row.shared:  # else the table is not there any more
                self.replay.write(_insert(row))
                counted = {name for name in row.shared if isinstance(row.row[name], int)}
                self.columns.setdefault((row.schema, row.table), set()).update(counted)

    def close(self) -> None:
        if self.replay is None:
            return
        for (schema, table), columns in self.columns.items():
            name = f"{_quoted(schema)}.{_quoted(table)}"
            for column in sorted(columns):
                self.replay.write(
                    f"SELECT setval(s, (SELECT max({_quoted(column)}) FROM {name})) FROM"
                    f" pg_get_serial_sequence({_literal(name)}, {_literal(column)}) AS s WHERE s IS NOT NULL;\n"
                )
        self.replay.write("COMMIT;\n")


@contextmanager
def _exporting(one: ReplacedData, folder: Path | None) -> Iterator[_Files]:
    if folder is None:
        yield _Files()
        return
    try:
        make_folder(folder.parent)
        folder.mkdir(mode=0o700)
    except FileExistsError:
        fix = "name one that is not there yet"
        raise DodaiError(UNKNOWN_WORD, f"`{folder}` is there already", fix, exit_code=2) from None
    with ExitStack() as stack:
        rows, replay = (stack.enter_context(_private(folder / name)) for name in (ROWS, REPLAY))
        replay.write(_HEAD.format(point=one.point, rows=ROWS))
        files = _Files(rows, replay, (str(folder / ROWS), str(folder / REPLAY)))
        yield files
        files.close()


def _private(path: Path) -> IO[str]:
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")


def _insert(row: ReplacedRow) -> str:
    table = f"{_quoted(row.schema)}.{_quoted(row.table)}"
    columns = ", ".join(_quoted(name) for name in row.shared)
    record = f"jsonb_populate_record(NULL::{table}, {_literal(_json({name: row.row[name] for name in row.shared}))})"
    return f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns} FROM {record};\n"


def _json(value: object) -> str:
    """As JSON, a `Decimal` with each of its digits: the standard library knows floats alone."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_json(str(name))}: {_json(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_json, value)) + "]"
    return str(value) if isinstance(value, Decimal) else json.dumps(value, ensure_ascii=False)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    """For a server with `standard_conforming_strings`, the default since PostgreSQL 9.1."""
    return "'" + text.replace("'", "''") + "'"
