"""The newest fencing token in the migrated database itself: a holder that was replaced commits nothing there any more.

The lock of an environment may live in another cluster, which no transaction here can ask. So each grant is written down
here first, and each migration transaction proves in its own COMMIT message that its token is still the one: the row is
locked for share there, a grant updates it, so one of the two happens first (M. Kleppmann, "How to do distributed
locking", 2016: the resource itself has to check the token). A statement that runs outside a transaction cannot be tied
to a check; for it the grant ends the session of the holder it replaces.
"""

# Names are quoted, values go through sql.literal or are parameters.
# ruff: noqa: S608
from __future__ import annotations

import time
from collections.abc import Callable

from dodai.core.errors import Code, DodaiError
from dodai.migrations.ledger import Ledger, allowed
from dodai.migrations.ports import SqlConnection, is_database_error, sqlstate
from dodai.migrations.sql import identifier, literal

FENCED = "DD351"
"""The SQLSTATE of a refused transaction; class DD is used by nobody (PostgreSQL manual, appendix A)."""
ENDING_S = 5.0
_INSUFFICIENT_PRIVILEGE = "42501"
_CREATE = """
CREATE TABLE IF NOT EXISTS {table} (
  ledger text PRIMARY KEY,
  token bigint NOT NULL,
  runner_token bigint,
  runner_pid integer,
  runner_since timestamptz
);
"""


def table_in(side: str) -> str:
    """The table of the tokens in the schema of our tables, quoted."""
    return f"{identifier(side)}.migration_fence"


def newest(conn: SqlConnection, side: str, ledger: str) -> int:
    """The newest token this database has seen for `ledger`; 0 when none ever was."""
    return all_newest(conn, side).get(ledger, 0)


def all_newest(conn: SqlConnection, side: str) -> dict[str, int]:
    """The newest token this database has seen for each ledger."""
    table = table_in(side)
    if not conn.execute(f"SELECT to_regclass({literal(table)}) IS NOT NULL", prepare=False).fetchone()[0]:
        return {}
    rows = conn.execute(f"SELECT ledger, token FROM {table}", prepare=False).fetchall()
    return {str(name): int(token) for name, token in rows}


def create(conn: SqlConnection, side: str) -> None:
    """Make the table where it is not there yet."""
    _alone(conn, lambda: _make(conn, side))


def _make(conn: SqlConnection, side: str) -> None:
    from dodai.migrations.side_tables import make_schema  # once in the life of a database

    if not conn.execute(f"SELECT to_regclass({literal(table_in(side))}) IS NOT NULL", prepare=False).fetchone()[0]:
        with allowed(conn, (side,), ("USAGE", "CREATE")):
            conn.execute(make_schema(side) + _CREATE.format(table=table_in(side)))


def _alone(conn: SqlConnection, act: Callable[[], object]) -> None:
    """`act` in one transaction, in which nobody else begins a fence, in whatever schema.

    So of two who name different ones the second sees the first.
    """
    conn.execute("BEGIN; SELECT pg_advisory_xact_lock(hashtext('dodai.migration_fence'));")
    try:
        act()
    except BaseException:
        if not conn.closed:
            conn.execute("ROLLBACK")
        raise
    conn.execute("COMMIT")


def advance(conn: SqlConnection, side: str, ledger: str, token: int) -> None:
    """From now on every older token is refused here, and the session of a runner that has one is ended.

    A session that this role may not end goes on to its next check. Raises DOD351 when a newer token was seen already,
    DOD269 when the tokens of this ledger are kept in another schema.
    """
    if ledger not in all_newest(conn, side):
        _alone(conn, lambda: _begin(conn, side, ledger, token))
    seen = write(conn, side, ledger, token)
    if seen > token:
        raise _stale(token, seen)
    _end_older_runner(conn, side, ledger, token)


def _begin(conn: SqlConnection, side: str, ledger: str, token: int) -> None:
    """The first token of a ledger, once nobody has one elsewhere."""
    from dodai.migrations.side_tables import refuse_other_fence

    refuse_other_fence(conn, side, ledger)
    _make(conn, side)
    write(conn, side, ledger, token)


def write(conn: SqlConnection, side: str, ledger: str, token: int) -> int:
    """The newest token of `ledger`, which is now no older than `token`; the table must be there."""
    row = conn.execute(
        f"INSERT INTO {table_in(side)} AS fence (ledger, token) VALUES (%s, %s) ON CONFLICT (ledger)"
        " DO UPDATE SET token = greatest(fence.token, excluded.token) RETURNING token",
        [ledger, token],
        prepare=False,
    ).fetchone()
    return int(row[0])


def enter(conn: SqlConnection, side: str, ledger: str, token: int) -> None:
    """`advance`, and this session is the runner under `token`."""
    advance(conn, side, ledger, token)
    entered = conn.execute(
        f"UPDATE {table_in(side)} SET runner_token = token, runner_pid = pg_backend_pid(), runner_since ="
        " (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()) WHERE ledger = %s AND token = %s",
        [ledger, token],
        prepare=False,
    )
    if entered.rowcount != 1:
        raise _stale(token, newest(conn, side, ledger))


def check_sql(place: Ledger, token: int, *, until_commit: bool = False) -> str:
    """The statement that fails with SQLSTATE `FENCED` unless `token` is the newest.

    `until_commit` keeps it so until the transaction ends: only for a message that ends it, or a paused holder would
    keep the next one from being granted anything.
    """
    return f"DO $dodai$BEGIN {check_block(place, token, until_commit=until_commit)} END$dodai$;"


def check_block(place: Ledger, token: int, *, until_commit: bool = False) -> str:
    """The same, to stand in a block of PL/pgSQL."""
    share = " FOR SHARE" if until_commit else ""
    return (
        f"PERFORM FROM {table_in(place.side)} WHERE ledger = {literal(place.name)} AND token = {int(token)}{share};"
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


def _end_older_runner(conn: SqlConnection, side: str, ledger: str, token: int) -> None:
    """The start time makes a process id mean one session only."""
    end = (
        f"SELECT pg_terminate_backend(pid) FROM {table_in(side)} JOIN pg_stat_activity ON pid = runner_pid"
        " AND backend_start = runner_since WHERE ledger = %s AND runner_token < %s"
    )
    deadline = time.monotonic() + ENDING_S
    try:
        while conn.execute(end, [ledger, token], prepare=False).fetchall() and time.monotonic() < deadline:
            time.sleep(0.01)
    except Exception as error:
        if not is_database_error(error) or sqlstate(error) != _INSUFFICIENT_PRIVILEGE:
            raise
