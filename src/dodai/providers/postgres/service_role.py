"""The role that services sign in as at a local database: it reads and writes rows, and what it may not do it cannot."""

from __future__ import annotations

import secrets
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from dodai.core.errors import DodaiError
from dodai.migrations.policy import SIDE_SCHEMA, ledger_parts
from dodai.providers.postgres.codes import REFUSED
from dodai.providers.postgres.connection import coded, connect

_SCHEMAS = r"SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', %s)"
_ROWS: tuple[LiteralString, ...] = (
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {schema} TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT USAGE, SELECT ON SEQUENCES TO {role}",
)
_LOOK: tuple[LiteralString, ...] = (
    "GRANT USAGE ON SCHEMA {schema} TO {role}",
    "GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {role}",
    "ALTER DEFAULT PRIVILEGES IN SCHEMA {schema} GRANT SELECT ON TABLES TO {role}",
)
"""Of what dodai keeps in the database: services see what is applied."""
_RIGHTS = (
    "SELECT rolsuper OR rolcreatedb OR rolcreaterole OR rolreplication OR rolbypassrls OR NOT rolcanlogin"
    " FROM pg_roles WHERE rolname = %s"
)
_OWNS_ALL = (
    "SELECT current_user FROM pg_auth_members WHERE member = (SELECT oid FROM pg_roles WHERE rolname = %s)"
    " AND roleid = (SELECT oid FROM pg_roles WHERE rolname = current_user)"
)
_WRITES = "SELECT 1 WHERE has_table_privilege(%s, %s, 'INSERT, UPDATE, DELETE, TRUNCATE')"


def new_password() -> str:
    return secrets.token_urlsafe(24)


def ensure_service_role(url: str, name: str, password: str, ledger: str = "") -> None:
    """Make the role `name` as whoever `url` signs in as, whose tables of now and later it gets the rows of.

    It is no superuser and owns nothing; of `ledger`, what is applied, it may only read. A schema that a migration makes
    later needs a GRANT there, or the next start of the database.
    """
    role = sql.Identifier(name)
    with connect(url, autocommit=True) as session, coded(url, f"make the role {name}"):
        kept = session.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        if not session.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone():
            session.execute(sql.SQL("CREATE ROLE {}").format(role))
        options = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
        session.execute(sql.SQL("ALTER ROLE {} " + options).format(role, sql.Literal(kept)))
        session.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(SIDE_SCHEMA)))
        session.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        for (schema,) in session.execute(_SCHEMAS, (SIDE_SCHEMA,)).fetchall():
            _grant(session, _ROWS, schema, role)
        _grant(session, _LOOK, SIDE_SCHEMA, role)
        if table := _ledger(session, ledger):
            session.execute(sql.SQL("REVOKE ALL ON {} FROM {}").format(table, role))
            session.execute(sql.SQL("GRANT SELECT ON {} TO {}").format(table, role))
        if owner := session.execute(_OWNS_ALL, (name,)).fetchone():
            session.execute(sql.SQL("REVOKE {} FROM {}").format(sql.Identifier(owner[0]), role))


def role_differs(url: str, name: str, password: str, ledger: str = "") -> str:
    """Why services would not sign in as `name` with `password` and its rights, no more and no less; `""` when they do.

    Of what it may too much, only what the role itself can have: what PUBLIC was given belongs to the migrations.
    """
    with connect(url, autocommit=True) as session, coded(url, f"look at the role {name}"):
        found = session.execute(_RIGHTS, (name,)).fetchone()
        if found is None:
            return f"there is no role `{name}`"
        if found[0] or session.execute(_OWNS_ALL, (name,)).fetchone():
            return f"`{name}` may do more than read and write rows"
        table = _ledger(session, ledger)
        if table and session.execute(_WRITES, (name, table.as_string(session))).fetchone():
            return f"`{name}` may write what is applied (`{ledger}`)"
    try:
        connect(url, user=name, password=password).close()
    except DodaiError as error:
        if error.code is not REFUSED:
            raise
        return f"`{name}` cannot sign in with the password that services get"
    return ""


def _ledger(session: psycopg.Connection[Any], name: str) -> sql.Identifier | None:
    """The table of applied versions; None while it is not there."""
    if not name:
        return None
    table = sql.Identifier(*(part for part in ledger_parts(name) if part))
    found = session.execute("SELECT to_regclass(%s) IS NOT NULL", (table.as_string(session),)).fetchone()
    return table if found and found[0] else None


def _grant(
    session: psycopg.Connection[Any], statements: tuple[LiteralString, ...], schema: str, role: sql.Identifier
) -> None:
    for statement in statements:
        session.execute(sql.SQL(statement).format(schema=sql.Identifier(schema), role=role))
