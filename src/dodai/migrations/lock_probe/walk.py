"""Run a file against a server that nobody else uses, without ledger or lock, measured when asked for."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import field

from dodai.core.dataclass import dataclass
from dodai.migrations import sql
from dodai.migrations.lock_probe import StatementProbe, Tables, probe, tables
from dodai.migrations.migration import Direction, Migration, Statement
from dodai.migrations.ports import SqlConnection, error_line, is_database_error, send, server_message, sqlstate

NEEDS_AUTOCOMMIT = ("25001", "2D000", "0A000")


class StatementError(Exception):
    """A statement failed: `line` of the file, what the server said and its SQLSTATE `state`."""

    def __init__(self, line: int, message: str, state: str = "") -> None:
        super().__init__(message)
        self.line = line
        self.message = message
        self.state = state


@dataclass(frozen=True, slots=True)
class Walked:
    """The statements of one file with their effects, and the tables before the first and behind the last.

    Tables are looked at in transactions only: without one that all statements share both are empty.
    """

    probes: tuple[StatementProbe, ...]
    before: Tables = field(default_factory=dict)
    after: Tables = field(default_factory=dict)


def run_file(conn: SqlConnection, migration: Migration, direction: Direction) -> None:
    """Run one direction of a file, without a ledger."""
    _run(conn, migration, direction, None)


def probe_file(conn: SqlConnection, migration: Migration, known: frozenset[int] | None) -> Walked:
    """Run a file up and measure what it does to the tables in `known`, to all that are there with None."""
    return _run(conn, migration, "up", (lambda _: known) if known is not None else frozenset)


Known = Callable[[Tables], Collection[int]]
"""Which of the tables count as old."""


def _run(conn: SqlConnection, migration: Migration, direction: Direction, known: Known | None) -> Walked:
    """Run one direction of a file; probed when `known` says which tables are old."""
    conn.execute("RESET ALL; RESET ROLE")
    statements = migration.statements(direction)
    found = Walked(())
    if migration.transactional:
        conn.execute("BEGIN")
        if known is None:
            for statement in statements:
                with _reported(conn, statement):
                    send(conn, statement)
        else:
            found = _probed(conn, statements, known, _reported)
        with _reported(conn, Statement("COMMIT", 0)):
            conn.execute("COMMIT")
    else:
        probes: list[StatementProbe] = []
        for statement in statements:
            with _reported(conn, statement):
                probes += _probe_statement(conn, statement, known)
        if conn.info.transaction_status:
            conn.execute("ROLLBACK")
            raise StatementError(statements[-1].line, "the file ends with its transaction open: COMMIT is missing")
        found = Walked(tuple(probes))
    conn.execute("RESET ALL; RESET ROLE")
    return found


def _probed(
    conn: SqlConnection,
    statements: Iterable[Statement],
    known: Known,
    around: Callable[[SqlConnection, Statement], AbstractContextManager[None]],
) -> Walked:
    """The statements of the transaction that is open, one by one."""
    before = after = tables(conn)
    old = known(before)
    probes: list[StatementProbe] = []
    for statement in _apart(statements):
        with around(conn, statement):
            done, after = probe(conn, statement, after, old)
            probes.append(done)
    return Walked(tuple(probes), before, after)


def run_inside(conn: SqlConnection, migration: Migration, direction: Direction) -> None:
    """Run one direction in the transaction that is open, up to what its COMMIT would check; an error ends it."""
    conn.execute("RESET ALL; RESET ROLE")
    for statement in migration.statements(direction):
        with _reported(conn, statement):
            send(conn, statement)
    with _reported(conn, Statement("COMMIT", 0)):
        conn.execute("SET CONSTRAINTS ALL IMMEDIATE")
    conn.execute("RESET ALL; RESET ROLE")


def _apart(statements: Iterable[Statement]) -> Iterator[Statement]:
    """The statements of a block one by one, each with its line: what it does is measured and told for itself."""
    for statement in statements:
        spans = sql.statements(statement.sql) if statement.data is None and statement.sql.count(";") > 1 else []
        if len(spans) > 1 and all(span.complete for span in spans[:-1]):
            yield from (Statement(span.text, statement.line + span.line - 1) for span in spans)
        else:
            yield statement


def _probe_statement(conn: SqlConnection, statement: Statement, known: Known | None) -> Sequence[StatementProbe]:
    """In a transaction where that is allowed, so that it can be measured; CONCURRENTLY is harmless by its nature.

    Statements of one message are a transaction anyway.
    """
    controls = sql.words(statement.sql, 1)[:1]
    if known is not None and not conn.info.transaction_status and controls[0] not in _NOT_MEASURED:
        try:
            conn.execute("BEGIN")
            found = _probed(conn, [statement], known, lambda *_: nullcontext()).probes
            conn.execute("COMMIT")
        except Exception as error:
            if sqlstate(error) not in NEEDS_AUTOCOMMIT:
                raise
            conn.execute("ROLLBACK")
        else:
            return found
    send(conn, statement)
    return [StatementProbe(statement, 0.0)]


_NOT_MEASURED = ("set", "reset", "begin", "start", "commit", "end", "rollback", "abort")


class _reported:  # noqa: N801 - used as a with-statement verb
    """A database error in the block becomes a `StatementError` at its line, the transaction rolled back."""

    def __init__(self, conn: SqlConnection, statement: Statement) -> None:
        self.conn = conn
        self.statement = statement

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if error is None or not is_database_error(error):
            return
        line = error_line(error, self.statement)
        if not self.conn.closed and self.conn.info.transaction_status:
            self.conn.execute("ROLLBACK")
        state = sqlstate(error)
        raise StatementError(line, f"{server_message(error)} (SQLSTATE `{state}`)", state) from error
