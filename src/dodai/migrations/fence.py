"""The newest fencing token in the migrated database itself: a holder that was replaced commits nothing there any more.

The lock of an environment may live in another cluster, which no transaction here can ask. So each grant is written down
here first, and each migration transaction proves in its own COMMIT message that its token is still the one: the row is
locked for share there, a grant updates it, so one of the two happens first (M. Kleppmann, "How to do distributed
locking", 2016: the resource itself has to check the token). A statement that runs outside a transaction cannot be tied
to a check; for it the grant ends the session of the holder it replaces.
"""

# Names are constants of ours, values go through sql.literal or are parameters.
# ruff: noqa: S608
from __future__ import annotations

import time

from dodai.core.errors import Code, DodaiError
from dodai.migrations.ledger import MAKE_SCHEMA
from dodai.migrations.policy import SIDE_SCHEMA
from dodai.migrations.ports import SqlConnection, is_database_error, sqlstate
from dodai.migrations.sql import literal

FENCED = "DD351"
"""The SQLSTATE of a refused transaction; class DD is used by nobody (PostgreSQL manual, appendix A)."""
TABLE = f"{SIDE_SCHEMA}.migration_fence"
ENDING_S = 5.0
_INSUFFICIENT_PRIVILEGE = "42501"
_CREATE = f"""
BEGIN;
SELECT pg_advisory_xact_lock(hashtext('{TABLE}'));
{MAKE_SCHEMA}
CREATE TABLE IF NOT EXISTS {TABLE} (
  ledger text PRIMARY KEY,
  token bigint NOT NULL,
  runner_token bigint,
  runner_pid integer,
  runner_since timestamptz
);
COMMIT;
"""


def newest(conn: SqlConnection, ledger: str) -> int:
    """The newest token this database has seen for `ledger`; 0 when none ever was."""
    if not _is_there(conn):
        return 0
    row = conn.execute(f"SELECT token FROM {TABLE} WHERE ledger = %s", [ledger], prepare=False).fetchone()
    return int(row[0]) if row else 0


def all_newest(conn: SqlConnection) -> dict[str, int]:
    """The newest token this database has seen for each ledger."""
    if not _is_there(conn):
        return {}
    return {str(name): int(token) for name, token in conn.execute(f"SELECT ledger, token FROM {TABLE}").fetchall()}


def advance(conn: SqlConnection, ledger: str, token: int) -> None:
    """From now on every older token is refused here, and the session of a runner that has one is ended.

    A session that this role may not end goes on to its next check. Raises DOD351 when a newer token was seen already.
    """
    if not _is_there(conn):
        conn.execute(_CREATE)
    row = conn.execute(
        f"INSERT INTO {TABLE} AS fence (ledger, token) VALUES (%s, %s) ON CONFLICT (ledger)"
        " DO UPDATE SET token = greatest(fence.token, excluded.token) RETURNING token",
        [ledger, token],
        prepare=False,
    ).fetchone()
    if row[0] > token:
        raise _stale(token, row[0])
    _end_older_runner(conn, ledger, token)


def enter(conn: SqlConnection, ledger: str, token: int) -> None:
    """`advance`, and this session is the runner under `token`."""
    advance(conn, ledger, token)
    entered = conn.execute(
        f"UPDATE {TABLE} SET runner_token = token, runner_pid = pg_backend_pid(), runner_since ="
        " (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) WHERE ledger = %s AND token = %s",
        [ledger, token],
        prepare=False,
    )
    if entered.rowcount != 1:
        raise _stale(token, newest(conn, ledger))


def check_sql(ledger: str, token: int, *, until_commit: bool = False) -> str:
    """The statement that fails with SQLSTATE `FENCED` unless `token` is the newest.

    `until_commit` keeps it so until the transaction ends: only for a message that ends it, or a paused holder would
    keep the next one from being granted anything.
    """
    return f"DO $dodai$BEGIN {check_block(ledger, token, until_commit=until_commit)} END$dodai$;"


def check_block(ledger: str, token: int, *, until_commit: bool = False) -> str:
    """The same, to stand in a block of PL/pgSQL."""
    share = " FOR SHARE" if until_commit else ""
    return (
        f"PERFORM FROM {TABLE} WHERE ledger = {literal(ledger)} AND token = {int(token)}{share};"
        f" IF NOT FOUND THEN RAISE EXCEPTION 'fencing token {int(token)} was replaced: somebody else took over this"
        f" environment' USING ERRCODE = '{FENCED}'; END IF;"
    )


def lock_lost() -> Code:
    """DOD351, whose owner `migrate up` starts without."""
    from dodai.engine.codes import LEASE_LOST

    return LEASE_LOST


def _stale(token: int, seen: int) -> DodaiError:
    from dodai.engine.journal import stale_token

    return stale_token(token, seen)


def _is_there(conn: SqlConnection) -> bool:
    return bool(conn.execute(f"SELECT to_regclass('{TABLE}') IS NOT NULL", prepare=False).fetchone()[0])


def _end_older_runner(conn: SqlConnection, ledger: str, token: int) -> None:
    """The start time makes a process id mean one session only."""
    end = (
        f"SELECT pg_terminate_backend(pid) FROM {TABLE} JOIN pg_stat_activity ON pid = runner_pid"
        " AND backend_start = runner_since WHERE ledger = %s AND runner_token < %s"
    )
    deadline = time.monotonic() + ENDING_S
    try:
        while conn.execute(end, [ledger, token], prepare=False).fetchall() and time.monotonic() < deadline:
            time.sleep(0.01)
    except Exception as error:
        if not is_database_error(error) or sqlstate(error) != _INSUFFICIENT_PRIVILEGE:
            raise
