"""What is refused before anything is changed: poolers, replicas, and a second runner."""

# Only constants of ours are put into these statements.
# ruff: noqa: S608
from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from dodai.core.database_url import pooled, refuse_unfit
from dodai.core.errors import DodaiError
from dodai.migrations import codes
from dodai.migrations.policy import GOOSE_LOCK_ID, IS_OURS, SIDE_SCHEMA, MigrationsPolicy
from dodai.migrations.ports import Connect, SqlConnection, is_database_error, is_gone, sqlstate

T = TypeVar("T")
Note = Callable[[str], None]


def check_connection(conn: SqlConnection, policy: MigrationsPolicy, connect: Connect | None, note: Note) -> None:
    """Refuse poolers (DOD067), unverified remote servers (DOD066) and databases that take no changes (DOD259)."""
    host, port = conn.info.host or "", conn.info.port
    refuse_unfit({**conn.info.get_parameters(), "host": host, "port": port}, {}, policy.plain_hosts)
    pid, read_only, replica = conn.execute(
        "SELECT pg_backend_pid(), current_setting('transaction_read_only') = 'on', pg_is_in_recovery()", prepare=False
    ).fetchone()
    if read_only or replica:
        what = "a replica" if replica else "set to read-only"
        message = f"`{conn.info.dbname}` at `{host}` is {what}"
        raise DodaiError(codes.READ_ONLY, message, codes.READ_ONLY.fix.en, exit_code=1)
    if pid != conn.info.backend_pid:
        if connect is None or not _session_is_ours(conn, connect):
            raise pooled(f"`{host}:{port}` hands out another server connection for each transaction")
        note("the connection goes through a proxy, which keeps the session: going on")


def _session_is_ours(conn: SqlConnection, connect: Connect) -> bool:
    """Does a setting survive while somebody else is busy? A transaction pooler lends our backend to them instead.

    With a pool of one they see it themselves, and asking for our own would wait until they are gone.
    """
    mark = os.urandom(8).hex()
    conn.execute("SELECT set_config('dodai.session', %s, false)", (mark,), prepare=False)
    other = connect()
    try:
        other.autocommit = True
        other.execute("BEGIN")
        if _mark(other) == mark:
            return False
        return _mark(conn) == mark
    finally:
        other.close()
        conn.execute("SELECT set_config('dodai.session', '', false)", prepare=False)


def _mark(conn: SqlConnection) -> str:
    row = conn.execute("SELECT current_setting('dodai.session', true)", prepare=False).fetchone()
    return str(row[0])


def readable(read: Callable[[], T]) -> T:
    """What `read` returns; a database that does not let us use our tables is DOD284, one that is gone DOD282."""
    with coded():
        return read()


@contextmanager
def coded() -> Iterator[None]:
    """The same for all that a command does, whatever it asks and whenever its connection ends; also as a decorator."""
    try:
        yield
    except Exception as error:
        if not is_database_error(error):
            raise
        from dodai.migrations.apply.failure_report import GONE_STATES, Account, between_files

        raise between_files(error, Account(), lost=not sqlstate(error) or sqlstate(error) in GONE_STATES) from error


@contextmanager
def only_runner(conn: SqlConnection, policy: MigrationsPolicy, note: Note) -> Iterator[float]:
    """Hold goose's advisory lock; yields the seconds it took. Raises DOD250 when another runner keeps it too long.

    Try-lock and poll, never a blocking wait: a blocked waiter holds a snapshot that CREATE INDEX CONCURRENTLY of the
    holder would wait for, which is a deadlock (measured on PostgreSQL 17).
    """
    started = time.monotonic()
    told = False
    while not conn.execute(f"SELECT pg_try_advisory_lock({GOOSE_LOCK_ID})", prepare=False).fetchone()[0]:
        holder = lock_holder(conn)
        if time.monotonic() - started > policy.runner_patience_s:
            message = f"the migration lock of `{conn.info.dbname}` is held by {holder}"
            raise DodaiError(codes.LOCK_HELD, message, codes.LOCK_HELD.fix.en, exit_code=75)
        if not told:
            note(f"waiting for another runner: {holder}")
            told = True
        time.sleep(min(0.05 + (time.monotonic() - started) / 4, 1.0))
    try:
        yield time.monotonic() - started
    except BaseException:
        _unlock(conn)
        raise
    if not _unlock(conn):
        raise pooled("the migration lock was taken on another server connection than it was given back on")


def _unlock(conn: SqlConnection) -> bool:
    """A lost connection has given the lock back by itself; a lock that is not ours to give back means a pooler."""
    if conn.closed:
        return True
    try:
        if conn.info.transaction_status:
            conn.execute("ROLLBACK")
        # Each file took it once more.
        give_back = f"SELECT pg_advisory_unlock({GOOSE_LOCK_ID}), pg_advisory_unlock_all()"
        return bool(conn.execute(give_back, prepare=False).fetchone()[0])
    except Exception as error:
        if is_database_error(error) and is_gone(conn):
            return True
        raise


def lock_holder(conn: SqlConnection) -> str:
    """Who holds the migration lock, for a person: process id, role, program, since when; "nobody" when it is free."""
    row = conn.execute(
        "SELECT a.pid, a.usename, a.application_name, extract(epoch FROM clock_timestamp() - a.backend_start)::int"
        " FROM pg_locks l JOIN pg_stat_activity a USING (pid) WHERE l.locktype = 'advisory' AND l.granted"
        f" AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        f" AND (l.classid::bigint << 32 | l.objid::bigint) = {GOOSE_LOCK_ID}",
        prepare=False,
    ).fetchone()
    if row is None:
        return "nobody"
    program = f" ({row[2]})" if row[2] else ""
    return f"process `{row[0]}` of role `{row[1]}`{program}, connected for {row[3]} s"


_TABLES = f"""
SELECT n.nspname || '.' || c.relname FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p') AND n.nspname NOT IN ('information_schema', '{SIDE_SCHEMA}') AND n.nspname !~ '^pg_'
  AND NOT {IS_OURS} AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d
                  WHERE d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.objid = c.oid AND d.deptype = 'e')
ORDER BY 1
"""


def refuse_unmanaged(conn: SqlConnection) -> None:
    """DOD265 where tables are there and no ledger says which files made them: the first file is not simply pending."""
    tables = [row[0] for row in conn.execute(_TABLES, prepare=False).fetchall()]
    if tables:
        named = ", ".join(f"`{name}`" for name in tables[:3])
        more = f" and {len(tables) - 3} more" if len(tables) > 3 else ""
        message = f"no ledger says which files made {named}{more}"
        raise DodaiError(codes.UNMANAGED, message, codes.UNMANAGED.fix.en, exit_code=1)
