"""A corner of a real database for the drills: a schema, a ledger and a folder of their own, gone afterwards."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from dodai.migrations.policy import SIDE_SCHEMA
from dodai.migrations.ports import Connection, Target
from dodai.migrations.sql import literal

SCHEMA = "dodai_drill"
LEDGER = f"{SCHEMA}.versions"


@contextmanager
def playground(target: Target, files: Mapping[str, str]) -> Iterator[Target]:
    """A target on the same database whose history is `files`; nothing of the application's is touched."""
    with tempfile.TemporaryDirectory(prefix="dodai-drill-") as folder:
        root = Path(folder)
        policy = replace(
            target.policy, folder="migrations", format="goose", ledger=LEDGER,
            lock_timeout_s=0.3, lock_patience_s=20.0, runner_patience_s=20.0, queries=(),
        )  # fmt: skip
        corner = Target(root, policy, target.connect, target.author)
        write(corner, files)
        conn = opened(target)
        try:
            _clear(conn)
            conn.execute(f"CREATE SCHEMA {SCHEMA}")
            yield corner
        finally:
            _clear(conn)
            conn.close()


def write(corner: Target, files: Mapping[str, str]) -> None:
    """Put the files into the corner's folder; a name that is there is replaced."""
    folder = corner.root / corner.policy.folder
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def opened(target: Target) -> Connection:
    """A connection of its own in autocommit mode."""
    conn = target.connect()
    conn.autocommit = True
    return conn


def _clear(conn: Connection) -> None:
    conn.execute(f"DROP SCHEMA IF EXISTS {SCHEMA} CASCADE")
    if conn.execute(f"SELECT to_regclass('{SIDE_SCHEMA}.migration_run')").fetchone()[0] is None:
        return
    name = literal(f'"{SCHEMA}"."versions"')
    conn.execute(
        f"DELETE FROM {SIDE_SCHEMA}.migration_log WHERE run IN"  # noqa: S608 - constants of ours
        f" (SELECT id FROM {SIDE_SCHEMA}.migration_run WHERE ledger = {name});"
        f"DELETE FROM {SIDE_SCHEMA}.migration_run WHERE ledger = {name}"
    )
