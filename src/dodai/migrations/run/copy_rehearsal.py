"""Run the pending migrations on a copy under load, and say how long anybody would have waited."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import field, replace
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import apply, codes, ledger, lock_probe, sql
from dodai.migrations.apply import Account, BlockerWatch, Runner
from dodai.migrations.goose_file import history_of
from dodai.migrations.lock_probe import Effect, Tables
from dodai.migrations.migration import Migration, Statement
from dodai.migrations.ports import Copies, Copy, MigrationTarget, SqlConnection
from dodai.migrations.run.author import new_run
from dodai.migrations.run.bystanders import Load, Wait

MOST_TABLES = 8


@dataclass(frozen=True, slots=True)
class Measured:
    """One statement on the copy. `rewritten_bytes` is the size of the tables that got a new file."""

    path: str
    line: int
    text: str
    ms: float
    effects: tuple[Effect, ...] = ()
    rewritten_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "line": self.line,
            "ms": round(self.ms, 1),
            "locks": [{"table": e.table, "mode": e.lock} for e in self.effects],
            "rewrittenBytes": self.rewritten_bytes,
        }


@dataclass(frozen=True, slots=True)
class MigrationRehearsal:
    """What a rehearsal saw. `waits` are innocent reads and writes, `rows` the size of the tables they asked."""

    kind: str
    production_data: bool
    pending: tuple[str, ...]
    checksums: tuple[str, ...]
    statements: tuple[Measured, ...] = ()
    waits: tuple[Wait, ...] = ()
    rows: dict[str, int] = field(default_factory=dict)
    lock_wait_ms: float = 0.0
    retries: int = 0
    seconds: float = 0.0
    failure: DodaiError | None = None

    @property
    def ok(self) -> bool:
        return self.failure is None

    @property
    def worst_ms(self) -> float:
        """The longest anybody innocent waited, milliseconds."""
        return max((wait.worst_ms for wait in self.waits), default=0.0)

    @property
    def caveat(self) -> str:
        """What the figures do not say; "" when the rows are production's."""
        return "" if self.production_data else f"not production data: {self.kind}"

    def as_json(self) -> dict[str, Any]:
        """The body of `dodai.migrate.rehearse/1`."""
        return {
            "schema": "dodai.migrate.rehearse/1",
            "ok": self.ok,
            "copy": self.kind,
            "productionData": self.production_data,
            "caveat": self.caveat or None,
            "pending": list(self.pending),
            "checksums": list(self.checksums),
            "statements": [statement.as_json() for statement in self.statements],
            "worstInnocentWaitMs": round(self.worst_ms, 1),
            "waits": [wait.as_json() for wait in self.waits],
            "rows": dict(self.rows),
            "lockWaitMs": round(self.lock_wait_ms, 1),
            "retries": self.retries,
            "seconds": round(self.seconds, 3),
            "failure": self.failure.as_json() if self.failure else None,
        }


def rehearse(
    target: MigrationTarget,
    copies: Copies,
    connect_to: Callable[[str], SqlConnection],
    *,
    note: Callable[[str], None] = lambda _: None,
) -> MigrationRehearsal:
    """Apply what is pending on `target` to a copy of it, under load. A failing file is a result, not an exception.

    `connect_to` opens a direct connection to a URL. Raises what `copies` and it raise, and DOD200-262 where `up` would
    refuse before anything ran.
    """
    migrations = history_of(target).sound()
    run = new_run()
    with copies.copied(run) as copy:
        conn = connect_to(copy.url)
        try:
            conn.autocommit = True
            state = _state(conn, target)
            todo = apply.pending(migrations, state).migrations
            if not todo:
                return MigrationRehearsal(copy.kind, copy.production_data, (), ())
            return _measure(replace(target, connect=lambda: connect_to(copy.url)), copy, conn, state, todo, run, note)
        finally:
            conn.close()


def _state(conn: SqlConnection, target: MigrationTarget) -> ledger.State:
    place = ledger.locate(conn, target.policy, target.tool)
    if not place.present or not place.side_present:
        ledger.create(conn, place)
    return ledger.read(conn, target.policy, target.tool)


def _measure(
    target: MigrationTarget,
    copy: Copy,
    conn: SqlConnection,
    state: ledger.State,
    todo: tuple[Migration, ...],
    run: str,
    note: Callable[[str], None],
) -> MigrationRehearsal:
    """`target` is the copy already."""
    probe = _Probe(conn, todo)
    runner = _runner(target, conn, state, probe, run, note)
    ledger.begin_run(conn, runner.run, "rehearse", state.ledger, target.author())
    _count(conn)
    tables = touched(conn, todo)
    rows = {f"{schema}.{table}": count for schema, table, _, count in tables}
    account = Account()
    failure: DodaiError | None = None
    began = time.perf_counter()
    with Load(target.connect, [(schema, table, column) for schema, table, column, _ in tables]) as load:
        try:
            apply.apply_all(runner, todo, account)
        except DodaiError as error:
            failure = DodaiError(
                codes.REHEARSAL_FAILED, str(error), error.fix, error.fault, 1, error.details, error.data
            )
    return MigrationRehearsal(
        copy.kind,
        copy.production_data,
        tuple(m.path for m in todo),
        tuple(m.raw_sha256 for m in todo),
        tuple(probe.measured),
        load.waits,
        rows,
        sum(ran.lock_wait_ms for ran in account.ran),
        sum(ran.retries for ran in account.ran),
        time.perf_counter() - began,
        failure,
    )


def _runner(
    target: MigrationTarget,
    conn: SqlConnection,
    state: ledger.State,
    probe: _Probe,
    run: str,
    note: Callable[[str], None],
) -> Runner:
    watch = BlockerWatch(
        target.connect, conn.info.backend_pid, target.policy.lock_timeout_s, agent=target.tool is not None
    )
    if target.tool is None:
        return Runner(conn, state.ledger, target.policy, run, watch, note, send=probe.send)
    from dodai.migrations.apply.external import ExternalRunner

    return ExternalRunner(
        conn, state.ledger, target.policy, run, watch, note,
        probe=lock_probe.AS_JSON, seen=probe.saw, locked=False,
    )  # fmt: skip


class _Probe:
    """Measures around each statement that the runner sends."""

    def __init__(self, conn: SqlConnection, todo: tuple[Migration, ...]) -> None:
        self.measured: list[Measured] = []
        # By identity: two files may hold the same statement on the same line.
        self.paths = {id(statement): migration.path for migration in todo for statement in migration.up}
        self.hidden = {id(statement) for migration in todo if migration.hides_text for statement in migration.up}
        before = lock_probe.tables(conn)
        self.known = frozenset(before)
        self.sizes = {oid: _size(conn, oid) for oid in before}

    def send(self, conn: SqlConnection, statement: Statement) -> None:
        before = lock_probe.tables(conn)
        self.sizes |= {oid: _size(conn, oid) for oid in self.known if oid in before}
        done, after = lock_probe.probe(conn, statement, before, self.known)
        text = "(ENVSUB)" if id(statement) in self.hidden else _shown(statement.sql)
        self._measured(self.paths[id(statement)], statement.line, text, done.ms, before, after)

    def saw(self, migration: Migration, answer: Mapping[str, Any]) -> None:
        """What the session of another tool saw around each statement that it sent."""
        before = lock_probe.from_json(answer.get("before") or "[]")
        for each in answer.get("statements") or ():
            after = lock_probe.from_json(each["after"]) if each.get("after") else before
            self._measured(migration.path, int(each["line"]), _shown(each["sql"]), float(each["ms"]), before, after)
            before = after

    def _measured(self, path: str, line: int, text: str, ms: float, before: Tables, after: Tables) -> None:
        rewritten = [
            oid for oid in self.known if oid in before and oid in after and before[oid].filenode != after[oid].filenode
        ]
        effects = lock_probe.effects(before, after, self.known)
        self.measured.append(Measured(path, line, text, ms, effects, sum(self.sizes[oid] for oid in rewritten)))


def _shown(text: str) -> str:
    return " ".join(text.split())[:120]


def _size(conn: SqlConnection, oid: int) -> int:
    return int(conn.execute(f"SELECT coalesce(pg_table_size({int(oid)}), 0)", prepare=False).fetchone()[0])


def _count(conn: SqlConnection) -> None:
    """Row counts where the planner has none: on the copy nobody minds an ANALYZE."""
    commands = conn.execute(
        "SELECT format('ANALYZE %I.%I', n.nspname, c.relname) FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p') AND c.reltuples <= 0"
        " AND n.nspname !~ '^(pg_|dodai$|information_schema$)'",
        prepare=False,
    ).fetchall()
    for (command,) in commands:
        conn.execute(command)


def touched(conn: SqlConnection, todo: tuple[Migration, ...]) -> list[tuple[str, str, str, int]]:
    """Schema, table, a column and estimated rows of existing tables that the files name; the biggest first."""
    names = {
        token.text.strip('"').lower()
        for migration in todo
        for statement in migration.up
        for token in sql.tokens(statement.sql)
        if token.kind in ("word", "quoted")
    }
    names |= {name for migration in todo for name in migration.touches}
    rows = conn.execute(
        "SELECT n.nspname, c.relname, (SELECT attname FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0"
        " AND NOT attisdropped AND attgenerated = '' AND attidentity <> 'a' ORDER BY attnum LIMIT 1),"
        " greatest(c.reltuples, 0)::bigint FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p') AND n.nspname !~ '^(pg_|dodai$|information_schema$)'"
        " ORDER BY c.reltuples DESC, 1, 2",
        prepare=False,
    ).fetchall()
    return [(row[0], row[1], row[2], row[3]) for row in rows if row[1].lower() in names and row[2]][:MOST_TABLES]
