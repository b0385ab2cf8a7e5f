"""A database of a protected environment knows whose it is, so that a bare URL is no way around the gate."""

from __future__ import annotations

import contextlib

from dodai.core.errors import DodaiError
from dodai.migrations import codes
from dodai.migrations.ledger import MAKE_SCHEMA
from dodai.migrations.policy import SIDE_SCHEMA
from dodai.migrations.ports import MigrationTarget, SqlConnection

_WORDS = "protected by dodai, environment "


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


def owner(target: MigrationTarget) -> str:
    """The protected environment that the database belongs to; `""` when nobody said so."""
    conn = target.connect()
    try:
        return _owner(conn)
    finally:
        conn.close()


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
