"""Our tables made, and found where they were not expected: in another schema, or out of the role's reach.

A history that is kept elsewhere is never begun anew: what was applied would be told from nothing. So whoever finds our
tables missing, or without a row of its ledger, looks into all schemas before anything is made.
"""

# Names come from the catalog and are quoted; values go through sql.literal.
# ruff: noqa: S608
from __future__ import annotations

from collections.abc import Sequence

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import codes
from dodai.migrations.policy import IS_OURS, SIDE_TABLES
from dodai.migrations.ports import SqlConnection, server_message, sqlstate
from dodai.migrations.sql import identifier, literal

_NO_RIGHT = "42501"
_NEEDED = frozenset({"migration_run", "migration_log"})
"""The tables of a history; the others go with them where nothing of their name is there yet."""
_FOUND = f"""
SELECT n.nspname, c.relname, {IS_OURS}, has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relname IN ({", ".join(map(literal, SIDE_TABLES))}) AND n.nspname !~ '^pg_' ORDER BY 1, 2
"""
_TABLES = """
CREATE TABLE IF NOT EXISTS {side}.migration_run (
  id text PRIMARY KEY,
  command text NOT NULL,
  ledger text NOT NULL,
  actor text NOT NULL,
  host text NOT NULL,
  db_role text NOT NULL DEFAULT current_user,
  git_sha text NOT NULL,
  git_dirty boolean NOT NULL,
  dodai text NOT NULL,
  approval text NOT NULL,
  started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  finished_at timestamptz,
  outcome text,
  schema_before text,
  schema_after text
);
CREATE TABLE IF NOT EXISTS {side}.migration_log (
  id bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
  run text NOT NULL,
  migration text NOT NULL,
  path text NOT NULL,
  direction text NOT NULL,
  event text NOT NULL,
  statement integer,
  statements integer NOT NULL,
  raw_sha256 text NOT NULL,
  token_sha256 text NOT NULL,
  at timestamptz NOT NULL DEFAULT clock_timestamp(),
  ms double precision,
  lock_wait_ms double precision,
  retries integer,
  sqlstate text,
  note text
);
CREATE INDEX IF NOT EXISTS migration_log_migration ON {side}.migration_log (migration, id);
"""


def make_schema(side: str) -> str:
    """Make `side` where nobody did: PostgreSQL wants the right to make a schema also where it is there."""
    name = identifier(side)
    return (
        f"DO $dodai$BEGIN IF pg_catalog.to_regnamespace({literal(name)}) IS NULL THEN CREATE SCHEMA IF NOT EXISTS"
        f" {name}; END IF; END$dodai$;"
    )


def tables_sql(side: str) -> str:
    """The statements that make the tables of a history in `side`, and the schema where it is missing."""
    return make_schema(side) + _TABLES.format(side=identifier(side))


@dataclass(frozen=True, slots=True)
class _Named:
    """What has the name of one of our tables; `readable` says that the role may look into it."""

    schema: str
    table: str
    ours: bool
    readable: bool

    @property
    def name(self) -> str:
        return f"{identifier(self.schema)}.{self.table}"


def refuse_elsewhere(conn: SqlConnection, side: str, ledger: str, *, used: bool) -> None:
    """Where our tables in `side` know nothing of `ledger`: DOD269 when those of another schema do.

    The same where another schema has tables that cannot be read while the ledger is `used`, and where they were moved
    in part. DOD270 when a name is taken by what is not ours. Reads only.
    """
    found = _found(conn)
    if taken := next((one for one in found if one.schema == side and not one.ours), None):
        message = f"`{taken.name}` is not dodai's, whose table would have that name"
        raise DodaiError(codes.LOG_NAME_TAKEN, message, codes.LOG_NAME_TAKEN.fix.en, exit_code=1)
    here = {one.table for one in found if one.schema == side}
    for schema, there in _elsewhere(found, side).items():
        runs = there.get("migration_run")
        if runs and not runs.readable and used:
            message = f"the schema `{schema}` keeps a log, and whether it is that of `{ledger}` cannot be seen"
            raise DodaiError(codes.LOG_ELSEWHERE, message, _to_see(conn, schema), exit_code=1)
        torn = runs is None and "migration_log" in there and not here.issuperset(_NEEDED)
        if torn or (runs and runs.readable and _has(conn, runs, ledger)):
            raise _kept_in(conn, f"the log of `{ledger}`", side, schema, found)


def refuse_other_fence(conn: SqlConnection, side: str, ledger: str) -> None:
    """DOD269 when a fence outside of `side` has a token for `ledger`: its holder would not hear of a newer one."""
    found = _found(conn)
    for schema, there in _elsewhere(found, side).items():
        tokens = there.get("migration_fence")
        if tokens and tokens.readable and _has(conn, tokens, ledger):
            raise _kept_in(conn, f"the newest token of `{ledger}`", side, schema, found)


def fenced(conn: SqlConnection) -> tuple[str, ...]:
    """The schemas in which tokens are kept."""
    return tuple(one.schema for one in _found(conn) if one.ours and one.table == "migration_fence")


def _found(conn: SqlConnection) -> list[_Named]:
    return [_Named(*row) for row in conn.execute(_FOUND, prepare=False).fetchall()]


def _elsewhere(found: Sequence[_Named], side: str) -> dict[str, dict[str, _Named]]:
    """Our tables outside of `side`, by schema and name."""
    schemas: dict[str, dict[str, _Named]] = {}
    for one in found:
        if one.ours and one.schema != side:
            schemas.setdefault(one.schema, {})[one.table] = one
    return schemas


def _has(conn: SqlConnection, table: _Named, ledger: str) -> bool:
    query = f"SELECT EXISTS (SELECT FROM {table.name} WHERE ledger = {literal(ledger)})"
    return bool(conn.execute(query, prepare=False).fetchone()[0])


def _exists(conn: SqlConnection, schema: str) -> bool:
    query = f"SELECT pg_catalog.to_regnamespace({literal(identifier(schema))}) IS NOT NULL"
    return bool(conn.execute(query, prepare=False).fetchone()[0])


def _role(conn: SqlConnection) -> str:
    return identifier(conn.execute("SELECT current_user", prepare=False).fetchone()[0])


def _to_see(conn: SqlConnection, schema: str) -> str:
    role, name = _role(conn), identifier(schema)
    tables = ", ".join(f"{name}.{table}" for table in sorted(_NEEDED))
    return f"`GRANT USAGE ON SCHEMA {name} TO {role}; GRANT SELECT ON {tables} TO {role};`"


def _kept_in(conn: SqlConnection, what: str, side: str, schema: str, found: Sequence[_Named]) -> DodaiError:
    """DOD269 with the statements that move our tables; where `side` has a log already, only the manifest can change."""
    here = {one.table for one in found if one.schema == side}
    there = {one.table for one in found if one.schema == schema and one.ours}
    back = f'say `log_schema = "{schema}"` again'
    if here & there & _NEEDED or not there - here:
        fix = f"{back}: `{side}` has that of another ledger"
    else:
        make = "" if _exists(conn, side) else f"CREATE SCHEMA {identifier(side)}; "
        moves = (
            f"ALTER TABLE {identifier(schema)}.{table} SET SCHEMA {identifier(side)}; "
            for table in SIDE_TABLES
            if table in there - here
        )
        fix = f"`BEGIN; {make}{''.join(moves)}COMMIT;` as the owner, or {back}"
    message = f"{what} is in the schema `{schema}`, and `[migrations].log_schema` is `{side}`"
    return DodaiError(codes.LOG_ELSEWHERE, message, fix, exit_code=1)


def forbidden(
    conn: SqlConnection, error: Exception, schemas: Sequence[str], rights: Sequence[str]
) -> DodaiError | None:
    """DOD284 with the statement that lets the role do what it needs in `schemas`.

    None for any other error, and where it has these `rights` (`CREATE`: it may make tables there).
    """
    if sqlstate(error) != _NO_RIGHT or conn.closed:
        return None
    if conn.info.transaction_status:
        conn.execute("ROLLBACK")
    for schema in filter(None, schemas):
        if fix := _grant(conn, schema, rights):
            message = f"the ledger cannot be used: {server_message(error)} (SQLSTATE `{_NO_RIGHT}`)"
            return DodaiError(codes.LEDGER_UNUSABLE, message, f"`{fix}` as the owner", exit_code=3)
    return None


def _grant(conn: SqlConnection, schema: str, rights: Sequence[str]) -> str:
    """What an owner has to say so that this role has `rights` in `schema`; "" when it has them."""
    name, role = identifier(schema), _role(conn)
    if not _exists(conn, schema):
        return f"CREATE SCHEMA {name} AUTHORIZATION {role};" if "CREATE" in rights else ""
    query = " AND ".join(f"has_schema_privilege({literal(schema)}, '{right}')" for right in rights)
    if conn.execute(f"SELECT {query}", prepare=False).fetchone()[0]:
        return ""
    return f"GRANT {', '.join(rights)} ON SCHEMA {name} TO {role};"
