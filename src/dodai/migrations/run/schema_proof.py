"""The proof of an adoption: what files build on an empty server, beside what a database has."""

from __future__ import annotations

from collections.abc import Sequence

from dodai.core.errors import DodaiError
from dodai.migrations import codes
from dodai.migrations.lock_probe.walk import StatementError, run_file
from dodai.migrations.look import look
from dodai.migrations.migration import Migration
from dodai.migrations.ports import Shadow, SqlConnection
from dodai.migrations.snapshot import Snapshot, snapshot

FOREIGN_LEDGERS = (
    "alembic_version",
    "django_migrations",
    "schema_migrations",
    "flyway_schema_history",
    "_sqlx_migrations",
    "__diesel_schema_migrations",
    "_prisma_migrations",
)
SHOWN = 20
_NOT_RUN = "fix the file; where the server only lacks an extension, lend one that has it: `[database] shadow_url`"


def schema_of(conn: SqlConnection, table: str) -> Snapshot:
    """What the database has, without its ledger `table` and without those of other tools."""
    lines = snapshot(conn, table).ignoring_order.lines
    return Snapshot(tuple(line for line in lines if not any(name in line for name in FOREIGN_LEDGERS)))


def prefixes(migrations: Sequence[Migration], shadow: Shadow) -> list[Snapshot]:
    """The schema after none, one, two, … of the files; DOD260 where one of them does not run there."""
    with shadow() as database:
        conn = database()()
        try:
            conn.autocommit = True
            seen = look(conn)
            found = [seen.snapshot.ignoring_order]
            for migration in migrations:
                _run(conn, migration)
                seen = look(conn, seen)
                found.append(seen.snapshot.ignoring_order)
        finally:
            conn.close()
    return found


def _run(conn: SqlConnection, migration: Migration) -> None:
    try:
        run_file(conn, migration, "up")
    except StatementError as error:
        place = f"{migration.path}:{error.line}" if error.line else migration.path
        raise unproven(f"{place} does not run on an empty server: {error.message}", _NOT_RUN) from error


def nearest(found: Sequence[Snapshot], live: Snapshot) -> int:
    """The number of the schema with the fewest differences to `live`, the last of several."""
    return -min((len(schema.differences(live)), -number) for number, schema in enumerate(found))[1]


def unproven(message: str, fix: str = "", lines: Sequence[str] = ()) -> DodaiError:
    """DOD260; `lines` are the first differences."""
    return DodaiError(
        codes.ADOPT_UNPROVEN,
        message,
        fix or codes.ADOPT_UNPROVEN.fix.en,
        exit_code=1,
        details=tuple(lines[:SHOWN]),
    )
