"""What a database knows of its environment: whose it is, where protected, and the newest lock that was granted there.

So a bare URL is no way around the gate, and a runner whose lock is older changes nothing.
"""

from __future__ import annotations

import contextlib

from dodai.core.errors import DodaiError
from dodai.migrations import codes, ledger
from dodai.migrations.apply import coded, readable
from dodai.migrations.policy import SIDE_SCHEMA
from dodai.migrations.ports import MigrationTarget, SqlConnection, is_database_error, server_message, sqlstate

_WORDS = "protected by dodai, environment "


@coded()
def refuse_other(conn: SqlConnection, env: str) -> None:
    """DOD264 (exit 1) on a database that belongs to another, protected environment than `env`."""
    owner, where = _owner(conn, env)
    if owner and owner != env:
        raise DodaiError(
            codes.DATABASE_PROTECTED,
            f"this database belongs to the protected environment `{owner}`, the command is for `{env}`",
            f"give `--env {owner}`; in a copy that is yours: `COMMENT ON {where} IS NULL`",
            exit_code=1,
        )


def refuse(target: MigrationTarget, env: str) -> None:
    """The same for the database of `target`."""
    with contextlib.closing(target.connect()) as conn:
        refuse_other(conn, env)


# Whatever schema the manifest names: a command with another manifest must not pass the mark by.
_MARKED = f"""
SELECT obj_description(to_regnamespace('{SIDE_SCHEMA}'), 'pg_namespace'), 'SCHEMA {SIDE_SCHEMA}'
UNION ALL SELECT obj_description(oid, 'pg_class'), 'TABLE ' || relnamespace::regnamespace || '.migration_fence'
  FROM pg_class WHERE relname = 'migration_fence'
"""  # noqa: S608 - a constant


def _owner(conn: SqlConnection, env: str = "") -> tuple[str, str]:
    """The protected environment that the database belongs to, one that is not `env` first, and what says so."""
    conn.autocommit = True
    rows = conn.execute(_MARKED, prepare=False).fetchall()
    found = [(str(words).removeprefix(_WORDS), str(where)) for words, where in rows if str(words).startswith(_WORDS)]
    return min(found, key=lambda one: one[0] == env, default=("", ""))


@coded()
def owner(target: MigrationTarget) -> str:
    """The protected environment that the database belongs to; `""` when nobody said so."""
    conn = target.connect()
    try:
        return _owner(conn)[0]
    finally:
        conn.close()


@coded()
def mark(target: MigrationTarget, env: str) -> None:
    """Write down that the database belongs to `env`: at the schema that is ours, else at a table of ours in it."""
    from dodai.migrations import fence
    from dodai.migrations.side_tables import make_schema

    side = target.policy.log_schema
    conn = target.connect()
    try:
        conn.autocommit = True
        where = f"SCHEMA {SIDE_SCHEMA}"
        if side == SIDE_SCHEMA:
            conn.execute(make_schema(side))
        else:
            fence.create(conn, side)
            where = f"TABLE {fence.table_in(side)}"
        words = conn.execute("SELECT quote_literal(%s)", (_WORDS + env,)).fetchone()[0]
        _comment(conn, f"COMMENT ON {where} IS {words}")
    finally:
        conn.close()


def _comment(conn: SqlConnection, statement: str) -> None:
    try:
        conn.execute(statement)
    except Exception as error:
        if not is_database_error(error) or sqlstate(error) != "42501":
            raise
        message = f"the database cannot be marked as that of its environment: {server_message(error)}"
        raise DodaiError(codes.LEDGER_UNUSABLE, message, f"let its owner say `{statement}`", exit_code=1) from error


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
        place = readable(lambda: ledger.locate(conn, target.policy, target.tool))
        readable(lambda: fence.advance(conn, place.side, place.name, token))
    finally:
        conn.close()


@coded()
def newest_token(target: MigrationTarget) -> int:
    """The newest token the database has seen, 0 when none: a control database that was restored may have forgotten."""
    from dodai.migrations import fence

    with target.reading() as conn:
        place = readable(lambda: ledger.locate(conn, target.policy, target.tool))
        return readable(lambda: fence.newest(conn, place.side, place.name))
