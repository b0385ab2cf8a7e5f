"""The role that services sign in as at a local database: it reads and writes rows, and what it may not do it cannot."""

# Only constants of ours are put into statements as text.
# ruff: noqa: S608
from __future__ import annotations

import secrets
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from dodai.core.errors import DodaiError
from dodai.migrations.policy import IS_OURS, SIDE_SCHEMA, ledger_parts
from dodai.providers.postgres.codes import REFUSED
from dodai.providers.postgres.connection import coded, connect

_SCHEMAS = r"SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname NOT IN ('information_schema', %s, %s)"
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
_OURS = (
    "SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" WHERE c.relkind = 'r' AND {IS_OURS} ORDER BY 1, 2"
)
_OTHERS = (
    "SELECT 1 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
    f" WHERE n.nspname = %s AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT {IS_OURS}"
)
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


def ensure_service_role(url: str, name: str, password: str, ledger: str = "", side: str = SIDE_SCHEMA) -> None:
    """Make the role `name` as whoever `url` signs in as, whose tables of now and later it gets the rows of.

    It is no superuser and owns nothing; of `ledger`, what is applied, and of our own tables in `side` it may only read.
    A schema that a migration makes later needs a GRANT there, or the next start of the database.
    """
    role = sql.Identifier(name)
    with connect(url, autocommit=True) as session, coded(url, f"make the role {name}"):
        kept = session.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        if not session.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (name,)).fetchone():
            session.execute(sql.SQL("CREATE ROLE {}").format(role))
        options = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS PASSWORD {}"
        session.execute(sql.SQL("ALTER ROLE {} " + options).format(role, sql.Literal(kept)))
        session.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(side)))
        session.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
        for (schema,) in session.execute(_SCHEMAS, (SIDE_SCHEMA, side)).fetchall():
            _grant(session, _ROWS, schema, role)
        _grant(session, _ROWS if _is_shared(session, side) else _LOOK, side, role)
        for table in _read_only(session, ledger):
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
        for table in (each.as_string(session) for each in _read_only(session, ledger)):
            if session.execute(_WRITES, (name, table)).fetchone():
                return f"`{name}` may write what is applied (`{table}`)"
    try:
        connect(url, user=name, password=password).close()
    except DodaiError as error:
        if error.code is not REFUSED:
            raise
        return f"`{name}` cannot sign in with the password that services get"
    return ""


def _is_shared(session: psycopg.Connection[Any], side: str) -> bool:
    """Whether `side` has tables of the application, or may have: then a role of services needs their rows."""
    if side == SIDE_SCHEMA:
        return False
    return side == "public" or bool(session.execute(_OTHERS, (side,)).fetchone())


def _read_only(session: psycopg.Connection[Any], ledger: str) -> list[sql.Identifier]:
    """The table of applied versions and our own tables, those of them that are there."""
    found = [sql.Identifier(*row) for row in session.execute(_OURS).fetchall()]
    if ledger:
        table = sql.Identifier(*(part for part in ledger_parts(ledger) if part))
        there = session.execute("SELECT to_regclass(%s) IS NOT NULL", (table.as_string(session),)).fetchone()
        found += [table] if there and there[0] else []
    return found


def _grant(
    session: psycopg.Connection[Any], statements: tuple[LiteralString, ...], schema: str, role: sql.Identifier
) -> None:
    for statement in statements:
        session.execute(sql.SQL(statement).format(schema=sql.Identifier(schema), role=role))
