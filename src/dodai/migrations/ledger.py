"""What is applied: goose's own table, and beside it a log of ours that survives every way down.

The table is exactly goose's (pressly/goose 3.29, internal/dialect), so goose can take over and be taken over from. Ours
are `dodai.migration_run` (one row per run) and `dodai.migration_log` (append-only, one row per event).
"""

# Names come from the catalog or the manifest and are quoted; values are parameters or go through sql.literal.
# ruff: noqa: S608
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.migrations.migration import Direction, Migration
from dodai.migrations.policy import SIDE_SCHEMA, MigrationsPolicy, ledger_parts
from dodai.migrations.ports import Author, SqlConnection, Tool
from dodai.migrations.sql import identifier, literal

Event = Literal[
    "applied", "reverted", "failed", "started", "done", "batch", "adopted", "recorded", "repaired", "interrupted",
    "refused"
]  # fmt: skip
"""`started`, `done` and `batch` are about one statement of a NO TRANSACTION file, a `batch` has the key it came to as
its note; `recorded` is a file goose had applied."""

MAKE_SCHEMA = f"""
DO $dodai$BEGIN IF pg_catalog.to_regnamespace('{SIDE_SCHEMA}') IS NULL THEN CREATE SCHEMA IF NOT EXISTS {SIDE_SCHEMA};
END IF; END$dodai$;
"""
"""The schema of our tables, where nobody made it: PostgreSQL wants the right to make one also where it is there."""
SIDE_TABLES = f"""
{MAKE_SCHEMA}
CREATE TABLE IF NOT EXISTS {SIDE_SCHEMA}.migration_run (
  id text PRIMARY KEY,
  command text NOT NULL,
  ledger text NOT NULL,
  actor text NOT NULL,
  host text NOT NULL,
  db_role text NOT NULL DEFAULT current_user,
  git_sha text NOT NULL,
  git_dirty boolean NOT NULL,
  dodai text NOT NULL,
  approval text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  outcome text,
  schema_before text,
  schema_after text
);
CREATE TABLE IF NOT EXISTS {SIDE_SCHEMA}.migration_log (
  id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  run text NOT NULL,
  migration text NOT NULL,
  path text NOT NULL,
  direction text NOT NULL,
  event text NOT NULL,
  statement integer,
  statements integer NOT NULL,
  raw_sha256 text NOT NULL,
  token_sha256 text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  ms double precision,
  lock_wait_ms double precision,
  retries integer,
  sqlstate text,
  note text
);
CREATE INDEX IF NOT EXISTS migration_log_migration ON {SIDE_SCHEMA}.migration_log (migration, id);
"""


@dataclass(frozen=True, slots=True)
class Ledger:
    """The table of one database that says what is applied; `present` is False until the first run creates it.

    It is goose's, or that of `tool`, which then writes it by itself.
    """

    schema: str
    table: str
    present: bool
    side_present: bool
    tool: Tool | None = None

    @property
    def name(self) -> str:
        return f"{identifier(self.schema)}.{identifier(self.table)}"


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
    """Where the ledger is or would be created: the configured schema, else the first one of the search path."""
    schema, table = ledger_parts(tool.table) if tool else policy.ledger_parts
    row = conn.execute(
        f"SELECT s.name, to_regclass(quote_ident(s.name) || '.' || quote_ident(%s)) IS NOT NULL,"
        f" to_regclass('{SIDE_SCHEMA}.migration_log') IS NOT NULL"
        f" FROM (SELECT coalesce(nullif(%s, ''), current_schema(), 'public') AS name) s",
        [table, schema],
        prepare=False,
    ).fetchone()
    return Ledger(row[0], table, row[1], row[2], tool)


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
    conn.execute(script + ("" if ledger.side_present else SIDE_TABLES) + "COMMIT;")
    return replace(ledger, present=ledger.present or ledger.tool is None, side_present=True)


def read(conn: SqlConnection, policy: MigrationsPolicy, tool: Tool | None = None) -> State:
    """What is applied, in the order it was, and what the log says about it. Changes nothing."""
    ledger = locate(conn, policy, tool)
    return State(
        ledger,
        _applied(conn, ledger) if ledger.present else (),
        _recorded(conn, ledger) if ledger.side_present else {},
    )


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
        f"{SIDE_SCHEMA}.migration_log AS log JOIN {SIDE_SCHEMA}.migration_run AS run ON run.id = log.run"
        f" WHERE run.ledger = {literal(ledger.name)}"
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
        f"INSERT INTO {SIDE_SCHEMA}.migration_run (id, command, ledger, actor, host, git_sha, git_dirty, dodai,"
        f" approval, schema_before) VALUES ({_values(values)})"
    )


def finish_run(conn: SqlConnection, run: str, outcome: str, after: str = "") -> None:
    """How the run ended, and the schema it left."""
    conn.execute(
        f"UPDATE {SIDE_SCHEMA}.migration_run SET finished_at = clock_timestamp(), outcome = {literal(outcome)},"
        f" schema_after = {literal(after or None)} WHERE id = {literal(run)}"
    )


def left_open(conn: SqlConnection, ledger: Ledger) -> bool:
    """Whether the newest `up` did not come to its end: it was killed, or something went wrong in it."""
    row = conn.execute(
        f"SELECT outcome IS DISTINCT FROM 'done' FROM {SIDE_SCHEMA}.migration_run WHERE ledger = {literal(ledger.name)}"
        " AND command = 'up' ORDER BY started_at DESC LIMIT 1",
        prepare=False,
    ).fetchone()
    return bool(row and row[0])


def in_log(conn: SqlConnection, run: str, direction: Direction) -> frozenset[str]:
    """The migrations that the log says went through in this run."""
    event = "applied" if direction == "up" else "reverted"
    rows = conn.execute(
        f"SELECT migration FROM {SIDE_SCHEMA}.migration_log WHERE run = {literal(run)} AND event = {literal(event)}",
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
        f"INSERT INTO {SIDE_SCHEMA}.migration_log (run, migration, path, direction, event, statement, statements,"
        f" raw_sha256, token_sha256, ms, lock_wait_ms, retries, sqlstate, note)"
        + (f" SELECT {row} WHERE {where};" if where else f" VALUES ({row});")
    )


def _values(values: Iterable[str | float | bool | None]) -> str:
    return ", ".join(literal(value) for value in values)
