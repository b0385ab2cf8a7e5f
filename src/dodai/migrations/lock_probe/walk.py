"""Run a file against a server that nobody else uses, without ledger or lock, measured when asked for."""

from __future__ import annotations

from dodai.migrations import sql
from dodai.migrations.lock_probe import Probe, probe, tables
from dodai.migrations.migration import Direction, Migration, Statement
from dodai.migrations.ports import Connection, error_line, is_database_error, send, server_message, sqlstate

NEEDS_AUTOCOMMIT = ("25001", "2D000", "0A000")


class StatementError(Exception):
    """A statement failed: `line` of the file and what the server said."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line
        self.message = message


def run_file(
    conn: Connection, migration: Migration, direction: Direction, known: frozenset[int] | None = None
) -> tuple[Probe, ...]:
    """Run one direction of a file, without a ledger; probed when `known` says which tables are old."""
    conn.execute("RESET ALL; RESET ROLE")
    probes: list[Probe] = []
    if migration.transactional:
        conn.execute("BEGIN")
        before = tables(conn) if known is not None else {}
        for statement in migration.statements(direction):
            with _reported(conn, statement):
                if known is None:
                    send(conn, statement)
                else:
                    done, before = probe(conn, statement, before, known)
                    probes.append(done)
        with _reported(conn, Statement("COMMIT", 0)):
            conn.execute("COMMIT")
    else:
        for statement in migration.statements(direction):
            with _reported(conn, statement):
                probes.append(_single(conn, statement, known))
    conn.execute("RESET ALL; RESET ROLE")
    return tuple(probes)


def _single(conn: Connection, statement: Statement, known: frozenset[int] | None) -> Probe:
    """In a transaction where that is allowed, so that it can be measured; CONCURRENTLY is harmless by its nature."""
    if known is not None and sql.words(statement.sql, 1)[:1] not in (("set",), ("reset",)):
        try:
            conn.execute("BEGIN")
            done, _ = probe(conn, statement, tables(conn), known)
            conn.execute("COMMIT")
        except Exception as error:
            if sqlstate(error) not in NEEDS_AUTOCOMMIT:
                raise
            conn.execute("ROLLBACK")
        else:
            return done
    send(conn, statement)
    return Probe(statement, 0.0)


class _reported:  # noqa: N801 - used as a with-statement verb
    """A database error in the block becomes a `StatementError` at its line, the transaction rolled back."""

    def __init__(self, conn: Connection, statement: Statement) -> None:
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
        raise StatementError(line, f"{server_message(error)} (SQLSTATE `{sqlstate(error)}`)") from error
