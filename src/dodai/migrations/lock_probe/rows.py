"""Production's row counts, saved beside the migrations, so that `check` can say how much a lock would cost."""

# Only constants of ours are put into the statement.
# ruff: noqa: S608
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from dodai.migrations.policy import IS_OURS, SIDE_SCHEMA, MigrationsPolicy
from dodai.migrations.ports import MigrationTarget

FILE = "rows.json"


def read_rows(root: Path, policy: MigrationsPolicy) -> Mapping[str, int]:
    """Rows by `schema.table`, empty when none were saved or the file is not ours."""
    path = root / policy.folder / FILE
    try:
        data = json.loads(path.read_text())
        return {str(name): int(rows) for name, rows in data["rows"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def save_rows(target: MigrationTarget) -> Mapping[str, int | None]:
    """Read the planner's row counts (`reltuples`, kept by ANALYZE) and save them; reads the database only.

    A table that was never analysed has None: nobody knows, and it is not saved, so that no rule takes it for empty.
    """
    conn = target.connect()
    try:
        rows = conn.execute(
            "SELECT n.nspname || '.' || c.relname, nullif(c.reltuples, -1)::bigint FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'm')"
            f" AND n.nspname NOT IN ('pg_catalog', 'information_schema', '{SIDE_SCHEMA}')"
            f" AND n.nspname !~ '^pg_' AND NOT {IS_OURS} ORDER BY 1",
            prepare=False,
        ).fetchall()
    finally:
        conn.close()
    found: dict[str, int | None] = {row[0]: row[1] for row in rows}
    known = {table: count for table, count in found.items() if count is not None}
    path = target.root / target.policy.folder / FILE
    path.write_text(json.dumps({"schema": "dodai.rows/1", "rows": known}, indent=2) + "\n")
    return found
