"""Run a file against a server that nobody else uses, without ledger or lock, measured when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dodai.migrations import sql
from dodai.migrations.lock_probe import StatementProbe, probe, tables
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


def run_file(
    conn: SqlConnection, migration: Migration, direction: Direction, known: frozenset[int] | None = None
) -> tuple[StatementProbe, ...]:
    """Run one direction of a file, without a ledger; probed when `known` says which tables are old."""
    conn.execute("RESET ALL; RESET ROLE")
    probes: list[StatementProbe] = []
    statements = migration.statements(direction)
    if migration.transactional:
        conn.execute("BEGIN")
        before = tables(conn) if known is not None else {}
        for statement in statements if known is None else _apart(statements):
            with _reported(conn, statement):
                if known is None:
                    send(conn, statement)
                else:
                    done, before = probe(conn, statement, before, known)
                    probes.append(done)
        with _reported(conn, Statement("COMMIT", 0)):
            conn.execute("COMMIT")
    else:
        for statement in statements:
            with _reported(conn, statement):
                probes += _probe_statement(conn, statement, known)
        if conn.info.transaction_status:
            conn.execute("ROLLBACK")
            raise StatementError(statements[-1].line, "the file ends with its transaction open: COMMIT is missing")
    conn.execute("RESET ALL; RESET ROLE")
    return tuple(probes)


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


def _probe_statement(conn: SqlConnection, statement: Statement, known: frozenset[int] | None) -> list[StatementProbe]:
    """In a transaction where that is allowed, so that it can be measured; CONCURRENTLY is harmless by its nature.

    Statements of one message are a transaction anyway.
    """
    controls = sql.words(statement.sql, 1)[:1]
    if known is not None and not conn.info.transaction_status and controls[0] not in _NOT_MEASURED:
        found: list[StatementProbe] = []
        try:
            conn.execute("BEGIN")
            before = tables(conn)
            for each in _apart([statement]):
                done, before = probe(conn, each, before, known)
                found.append(done)
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
