"""The role that services sign in as at a local database: it reads and writes rows, and what it may not do it cannot."""

from __future__ import annotations

import secrets
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from dodai.migrations.policy import SIDE_SCHEMA
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


def new_password() -> str:
    return secrets.token_urlsafe(24)


def ensure_service_role(url: str, name: str, password: str) -> None:
    """Make the role `name` as whoever `url` signs in as, whose tables of now and later it gets the rows of.

    It is no superuser and owns nothing. A schema that a migration makes later needs a GRANT there, or the next start
    of the database.
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


def _grant(
    session: psycopg.Connection[Any], statements: tuple[LiteralString, ...], schema: str, role: sql.Identifier
) -> None:
    for statement in statements:
        session.execute(sql.SQL(statement).format(schema=sql.Identifier(schema), role=role))
