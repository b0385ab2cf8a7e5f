"""What is applied: goose's own table, and beside it a log of ours that survives every way down.

The table is exactly goose's (pressly/goose 3.29, internal/dialect), so goose can take over and be taken over from. Ours
are `migration_run` (one row per run) and `migration_log` (append-only, one row per event), in the schema that
`[migrations].log_schema` names.
"""

# Names come from the catalog or the manifest and are quoted; values are parameters or go through sql.literal.
# ruff: noqa: S608
from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from datetime import datetime
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.migrations.migration import Direction, Migration
from dodai.migrations.policy import SIDE_SCHEMA, MigrationsPolicy, ledger_parts
from dodai.migrations.ports import Author, SqlConnection, Tool, is_database_error, sqlstate
from dodai.migrations.sql import identifier, literal

Event = Literal[
    "applied", "reverted", "failed", "started", "done", "batch", "adopted", "recorded", "repaired", "interrupted",
    "refused"
]  # fmt: skip
"""`started`, `done` and `batch` are about one statement of a NO TRANSACTION file, a `batch` has the key it came to as
its note; `recorded` is a file goose had applied."""

_UNDEFINED_COLUMN = "42703"


@dataclass(frozen=True, slots=True)
class Ledger:
    """The table of one database that says what is applied; `present` is False until the first run creates it.

    It is goose's, or that of `tool`, which then writes it by itself. Our own tables are in the schema `side`.
    """

    schema: str
    table: str
    present: bool
    side_present: bool
    tool: Tool | None = None
    side: str = SIDE_SCHEMA

    @property
    def name(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.table)}"

    @property
    def runs(self) -> str:
        """Our table with a row per run."""
        return f"{identifier(self.side)}.migration_run"

    @property
    def log(self) -> str:
        """Our table with a row per event."""
        return f"{identifier(self.side)}.migration_log"


@dataclass(frozen=True, slots=True)
class LedgerRow:
    """One applied version; `at` is goose's local timestamp without zone."""

    id: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What the log last said about a migration that is in effect."""

    id: str
    path: str
    raw_sha256: str
    token_sha256: str

    def same(self, migration: Migration) -> bool:
        """Whether `migration` still is what was applied. Its way down may change; older logs cover that as well."""
        return self.token_sha256 in (migration.applied_sha256, migration.token_sha256)


@dataclass(frozen=True, slots=True)
class FileProgress:
    """How far a NO TRANSACTION file got: `done` maps statement number to checksum, `started` has no end yet.

    `reached` has the checksum and the last key of a statement that runs in batches and is not done.
    """

    done: Mapping[int, str] = field(default_factory=dict)
    started: int | None = None
    reached: Mapping[int, tuple[str, str]] = field(default_factory=dict)

    @property
    def partly(self) -> bool:
        """Whether something of the file is in effect."""
        return bool(self.done or self.reached)

    @property
    def begun(self) -> bool:
        """Whether something of it may be."""
        return self.partly or self.started is not None

    def key_of(self, statement: int) -> str | None:
        """The last key of a statement that is not done; None when it has to begin."""
        return self.reached[statement][1] if statement in self.reached else None


@dataclass(frozen=True, slots=True)
class State:
    """All that is known before a run."""

    ledger: Ledger
    applied: tuple[LedgerRow, ...] = ()
    recorded: Mapping[str, Recorded] = field(default_factory=dict)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(row.id for row in self.applied)

    @property
    def linear(self) -> bool:
        """Versions are numbers that say what comes first; else a migration names its parents."""
        return self.ledger.tool is None


def locate(conn: SqlConnection, policy: MigrationsPolicy, tool: Tool | None = None) -> Ledger:
    """Where the ledger is or would be created: the configured schema, else the first one of the search path.

    Raises DOD269 and DOD270 where our own tables are not there and cannot simply be made, DOD284 without the rights.
    """
    schema, table = ledger_parts(tool.table) if tool else policy.ledger_parts
    side = policy.log_schema
    there = " AND ".join(
        f"to_regclass({literal(f'{identifier(side)}.{name}')}) IS NOT NULL"
        for name in ("migration_run", "migration_log")
    )
    with allowed(conn, (side, schema), ("USAGE",)):
        row = conn.execute(
            f"SELECT s.name, to_regclass(quote_ident(s.name) || '.' || quote_ident(%s)) IS NOT NULL, {there}"
            f" FROM (SELECT coalesce(nullif(%s, ''), current_schema(), 'public') AS name) s",
            [table, schema],
            prepare=False,
        ).fetchone()
    place = Ledger(row[0], table, row[1], row[2], tool, side)
    if not place.side_present:
        _refuse_elsewhere(conn, place)
    return place


def _refuse_elsewhere(conn: SqlConnection, place: Ledger) -> None:
    from dodai.migrations.side_tables import refuse_elsewhere  # a run that finds its tables starts without it

    refuse_elsewhere(conn, place.side, place.name, used=place.present)


@contextmanager
def allowed(conn: SqlConnection, schemas: Sequence[str], rights: Sequence[str]) -> Iterator[None]:
    """What the role may not do in `schemas` for want of `rights` becomes DOD284 with the statement that grants them."""
    try:
        yield
    except Exception as error:
        if not is_database_error(error):
            raise
        from dodai.migrations.side_tables import forbidden

        if refused := forbidden(conn, error, schemas, rights):
            raise refused from error
        raise


def create(conn: SqlConnection, ledger: Ledger, guard: str = "") -> Ledger:
    """Create what is missing of ledger and side tables, in one transaction; goose's first row (0, true) included.

    `guard` is a statement that fails when this session may not change anything any more. The table of another tool is
    left to it.
    """
    script = f"BEGIN;{guard}"
    if not ledger.present and ledger.tool is None:
        script += f"""
CREATE TABLE {ledger.name} (
  id integer PRIMARY KEY GENERATED BY DEFAULT AS IDENTITY,
  version_id bigint NOT NULL,
  is_applied boolean NOT NULL,
  tstamp timestamp NOT NULL DEFAULT now()
);
INSERT INTO {ledger.name} (version_id, is_applied) VALUES (0, true);
"""
    if not ledger.side_present:
        from dodai.migrations.side_tables import tables_sql

        script += tables_sql(ledger.side)
    with allowed(conn, (ledger.side, ledger.schema), ("USAGE", "CREATE")):
        conn.execute(f"{script}COMMIT;")
    return replace(ledger, present=ledger.present or ledger.tool is None, side_present=True)


def read(conn: SqlConnection, policy: MigrationsPolicy, tool: Tool | None = None) -> State:
    """What is applied, in the order it was, and what the log says about it. Changes nothing."""
    ledger = locate(conn, policy, tool)
    applied = _applied(conn, ledger) if ledger.present else ()
    try:
        recorded = _recorded(conn, ledger) if ledger.side_present else {}
    except Exception as error:
        if is_database_error(error) and sqlstate(error) == _UNDEFINED_COLUMN:
            _refuse_elsewhere(conn, ledger)  # tables of the user's that have our names
        raise
    if ledger.side_present and not recorded:
        _refuse_elsewhere(conn, ledger)  # the tables there may be those of another ledger
    return State(ledger, applied, recorded)


def _applied(conn: SqlConnection, ledger: Ledger) -> tuple[LedgerRow, ...]:
    """The newest row of a version decides: old goose versions wrote `is_applied = false` on the way down."""
    if ledger.tool:
        return tuple(LedgerRow(id_, at) for id_, at in ledger.tool.applied(conn, ledger.name))
    rows = conn.execute(
        f"SELECT version_id::text, is_applied, to_char(tstamp, 'YYYY-MM-DD HH24:MI:SS') FROM {ledger.name} ORDER BY id",
        prepare=False,
    ).fetchall()
    newest: dict[str, LedgerRow] = {}
    for version, is_applied, at in rows:
        newest.pop(version, None)
        if is_applied and version != "0":
            newest[version] = LedgerRow(version, datetime.fromisoformat(at) if at else None)
    return tuple(newest.values())


def _recorded(conn: SqlConnection, ledger: Ledger) -> dict[str, Recorded]:
    rows = conn.execute(
        f"SELECT DISTINCT ON (migration) migration, path, raw_sha256, token_sha256 FROM {_log_of(ledger)}"
        " AND event IN ('applied', 'adopted', 'recorded', 'repaired') AND direction = 'up' AND statement IS NULL"
        " ORDER BY migration, log.id DESC",
        prepare=False,
    ).fetchall()
    return {row[0]: Recorded(*row) for row in rows}


def _log_of(ledger: Ledger) -> str:
    """The log of one ledger: two applications may share a database, each with versions of its own."""
    return (
        f"{ledger.log} AS log JOIN {ledger.runs} AS run ON run.id = log.run WHERE run.ledger = {literal(ledger.name)}"
    )


def progress(conn: SqlConnection, ledger: Ledger, migration_id: str, direction: Direction) -> FileProgress:
    """How far an interrupted NO TRANSACTION file got since it was last applied or reverted as a whole."""
    rows = conn.execute(
        f"SELECT event, statement, token_sha256, direction, note FROM {_log_of(ledger)}"
        f" AND migration = {literal(migration_id)}"
        " AND event IN ('started', 'done', 'batch', 'applied', 'reverted', 'repaired') ORDER BY log.id",
        prepare=False,
    ).fetchall()
    done: dict[int, str] = {}
    started: int | None = None
    reached: dict[int, tuple[str, str]] = {}
    for event, statement, checksum, way, key in rows:
        if statement is None:
            done, started, reached = {}, None, {}
        elif way == direction and event == "batch":
            reached[statement] = (checksum, str(key))
        elif way == direction and event in ("started", "repaired"):
            # A repaired statement is one that somebody looked at and found not to have happened.
            started = statement if event == "started" else None
        elif way == direction:
            done, started = {**done, statement: checksum}, None
            reached.pop(statement, None)
    return FileProgress(done, started, reached)


def begin_run(conn: SqlConnection, run: str, command: str, ledger: Ledger, author: Author, before: str = "") -> None:
    """The row of this run, before anything is changed."""
    values = (run, command, ledger.name, author.actor, author.host, author.git_sha, author.git_dirty,
              author.version, author.approval, before or None)  # fmt: skip
    conn.execute(
        f"INSERT INTO {ledger.runs} (id, command, ledger, actor, host, git_sha, git_dirty, dodai,"
        f" approval, schema_before) VALUES ({_values(values)})"
    )


def finish_run(conn: SqlConnection, ledger: Ledger, run: str, outcome: str, after: str = "") -> None:
    """How the run ended, and the schema it left."""
    conn.execute(
        f"UPDATE {ledger.runs} SET finished_at = clock_timestamp(), outcome = {literal(outcome)},"
        f" schema_after = {literal(after or None)} WHERE id = {literal(run)}"
    )


def left_open(conn: SqlConnection, ledger: Ledger) -> bool:
    """Whether the newest `up` did not come to its end: it was killed, or something went wrong in it."""
    row = conn.execute(
        f"SELECT outcome IS DISTINCT FROM 'done' FROM {ledger.runs} WHERE ledger = {literal(ledger.name)}"
        " AND command = 'up' ORDER BY started_at DESC LIMIT 1",
        prepare=False,
    ).fetchone()
    return bool(row and row[0])


def in_log(conn: SqlConnection, ledger: Ledger, run: str, direction: Direction) -> frozenset[str]:
    """The migrations that the log says went through in this run."""
    event = "applied" if direction == "up" else "reverted"
    rows = conn.execute(
        f"SELECT migration FROM {ledger.log} WHERE run = {literal(run)} AND event = {literal(event)}",
        prepare=False,
    ).fetchall()
    return frozenset(str(row[0]) for row in rows)


def record_sql(ledger: Ledger, migration: Migration, direction: Direction) -> str:
    """The statement that makes the ledger say so; "" for repeatable files, which only the log knows."""
    if migration.repeatable:
        return ""
    if ledger.tool:
        return ledger.tool.record_sql(ledger.name, migration, direction)
    if direction == "up":
        return f"INSERT INTO {ledger.name} (version_id, is_applied) VALUES ({int(migration.id)}, true);"
    return f"DELETE FROM {ledger.name} WHERE version_id = {int(migration.id)};"


def replace_sql(ledger: Ledger, gone: Sequence[str], added: Sequence[Migration], kept: Sequence[Migration]) -> str:
    """The statements that make the ledger say that `kept` are in effect, `added` of them for the first time.

    The ids of `gone` are taken out of it.
    """
    if ledger.tool:
        return ledger.tool.replace_sql(ledger.name, gone, added, kept)
    versions = ", ".join(str(int(id_)) for id_ in gone)
    out = f"DELETE FROM {ledger.name} WHERE version_id IN ({versions});" if gone else ""
    return out + "".join(record_sql(ledger, m, "up") for m in added)


SINCE_BEGIN = "extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.transaction_timestamp()) * 1000"
"""How long the server's transaction has taken, as an expression for `log_sql`."""


def log_sql(
    ledger: Ledger,
    run: str,
    migration: Migration,
    direction: Direction,
    event: Event,
    *,
    statement: int | None = None,
    checksum: str = "",
    ms: float | None = None,
    lock_wait_ms: float | None = None,
    retries: int | None = None,
    sqlstate: str | None = None,
    note: str | None = None,
    where: str = "",
    taken: str = "",
) -> str:
    """The statement that appends one event; `statement` counts from 1, `checksum` is then that statement's.

    With `where` the row is written only when that is true. `taken` is an expression in the place of `ms`.
    """
    values = [
        run,
        migration.id,
        migration.path,
        direction,
        event,
        statement,
        len(migration.statements(direction)),
        migration.raw_sha256,
        checksum or migration.applied_sha256,
    ]
    row = f"{_values(values)}, {taken or literal(ms)}, {_values((lock_wait_ms, retries, sqlstate, note))}"
    return (
        f"INSERT INTO {ledger.log} (run, migration, path, direction, event, statement, statements,"
        f" raw_sha256, token_sha256, ms, lock_wait_ms, retries, sqlstate, note)"
        + (f" SELECT {row} WHERE {where};" if where else f" VALUES ({row});")
    )


def _values(values: Iterable[str | float | bool | None]) -> str:
    return ", ".join(literal(value) for value in values)
