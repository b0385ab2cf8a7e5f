"""A live database beside what its applied migrations build."""

from __future__ import annotations

from dodai.migrations import ledger
from dodai.migrations.apply import status
from dodai.migrations.apply.leftover import invalid_indexes
from dodai.migrations.check.facts import LiveSchema
from dodai.migrations.goose_file import statements_of
from dodai.migrations.lock_probe.walk import run_file
from dodai.migrations.ports import MigrationTarget, Shadow
from dodai.migrations.snapshot import snapshot


def live_schema(env: str, target: MigrationTarget, shadow: Shadow) -> LiveSchema:
    """Drift of `env`: its schema against that of its applied files on an empty server. Reads only."""
    seen = status(target)
    applied = set(seen.applied)
    files = [m for m in statements_of(target, shadow).migrations if m.id in applied]
    conn = target.connect()
    try:
        conn.autocommit = True
        table = ledger.locate(conn, target.policy, target.tool).table
        found = snapshot(conn, table).ignoring_order
        invalid = invalid_indexes(conn)
    finally:
        conn.close()
    with shadow() as database:
        expected = database()()
        expected.autocommit = True
        for migration in files:
            run_file(expected, migration, "up")
        wanted = snapshot(expected, table).ignoring_order
        expected.close()
    return LiveSchema(env, seen, wanted.differences(found), invalid)
