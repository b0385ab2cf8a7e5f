"""What a database knows of its environment: whose it is, where protected, and the newest lock that was granted there.

So a bare URL is no way around the gate, and a runner whose lock is older changes nothing.
"""

from __future__ import annotations

import contextlib

from dodai.core.errors import DodaiError
from dodai.migrations import codes, ledger
from dodai.migrations.apply import coded, readable
from dodai.migrations.ledger import MAKE_SCHEMA
from dodai.migrations.policy import SIDE_SCHEMA
from dodai.migrations.ports import MigrationTarget, SqlConnection

_WORDS = "protected by dodai, environment "


@coded()
def refuse_other(conn: SqlConnection, env: str) -> None:
    """DOD264 (exit 1) on a database that belongs to another, protected environment than `env`."""
    owner = _owner(conn)
    if owner and owner != env:
        raise DodaiError(
            codes.DATABASE_PROTECTED,
            f"this database belongs to the protected environment `{owner}`, the command is for `{env}`",
            f"give `--env {owner}`; in a copy that is yours: `COMMENT ON SCHEMA {SIDE_SCHEMA} IS NULL`",
            exit_code=1,
        )


def refuse(target: MigrationTarget, env: str) -> None:
    """The same for the database of `target`."""
    with contextlib.closing(target.connect()) as conn:
        refuse_other(conn, env)


def _owner(conn: SqlConnection) -> str:
    conn.autocommit = True
    query = "SELECT obj_description(to_regnamespace(%s), 'pg_namespace')"
    row = conn.execute(query, (SIDE_SCHEMA,)).fetchone()
    words = str(row[0] or "") if row else ""
    return words.removeprefix(_WORDS) if words.startswith(_WORDS) else ""


@coded()
def owner(target: MigrationTarget) -> str:
    """The protected environment that the database belongs to; `""` when nobody said so."""
    conn = target.connect()
    try:
        return _owner(conn)
    finally:
        conn.close()


@coded()
def mark(target: MigrationTarget, env: str) -> None:
    """Write down that the database belongs to `env`."""
    conn = target.connect()
    try:
        conn.autocommit = True
        conn.execute(MAKE_SCHEMA)
        words = conn.execute("SELECT quote_literal(%s)", (_WORDS + env,)).fetchone()[0]
        conn.execute(f"COMMENT ON SCHEMA {SIDE_SCHEMA} IS {words}")
    finally:
        conn.close()


_PATIENCE = "SET lock_timeout = '3s'; SET statement_timeout = '8s'"
"""Whoever grants a lock waits for the answer."""


@coded()
def announce(target: MigrationTarget, token: int) -> None:
    """From now on migrations under an older token change nothing there, and a runner that has one is ended.

    Raises what `target.connect` raises, DOD284 when the role may not write there, and DOD351 when the database has seen
    a newer token already.
    """
    from dodai.migrations import fence  # whose database it is, is asked of every run: that starts without it

    conn = target.connect()
    try:
        conn.autocommit = True
        conn.execute(_PATIENCE)
        readable(lambda: fence.advance(conn, ledger.locate(conn, target.policy, target.tool).name, token))
    finally:
        conn.close()


@coded()
def newest_token(target: MigrationTarget) -> int:
    """The newest token the database has seen, 0 when none: a control database that was restored may have forgotten."""
    from dodai.migrations import fence

    with target.reading() as conn:
        return readable(lambda: fence.newest(conn, ledger.locate(conn, target.policy, target.tool).name))
