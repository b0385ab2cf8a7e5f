"""Run by test_kill.py in a process of its own: `up` killed at each statement boundary, then run again.

Argument 1 is the URL of an administrator, 2 the root of a tree. Prints one JSON line per case.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
from psycopg import conninfo

from dodai.migrations import run
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Author, MigrationTarget
from dodai.migrations.snapshot import snapshot
from dodai.providers.postgres.pq_connection import PqConnection

POLICY = MigrationsPolicy(lock_timeout_s=1.0, lock_patience_s=20.0, runner_patience_s=30.0)


class Dying:
    """A connection whose process is killed when it has just sent its nth statement."""

    def __init__(self, inner: PqConnection, last: int) -> None:
        self.__dict__.update(inner=inner, left=last)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self.inner, name, value)

    def execute(self, query: str, params: Any = None, **options: Any) -> Any:
        self.__dict__["left"] -= 1
        if self.left == 0 and params is None:
            self.inner._send(query)
            os.kill(os.getpid(), signal.SIGKILL)
        result = self.inner.execute(query, params, **options)
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result


def killed(root: Path, dsn: str, last: int) -> bool:
    """Run `up` in a child that dies at statement `last`; False when it got to the end alive."""
    child = os.fork()
    if child == 0:
        try:
            run.up(MigrationTarget(root, POLICY, lambda: Dying(PqConnection(dsn), last), Author))  # type: ignore[arg-type, return-value]
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def seen(dsn: str) -> dict[str, Any]:
    """The schema, every row the history writes, and the ledger."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        rows = conn.execute("SELECT who, count(*), sum(n) FROM event GROUP BY who ORDER BY who").fetchall()
        versions = conn.execute("SELECT version_id FROM goose_db_version ORDER BY id").fetchall()
        return {"schema": snapshot(conn).hash, "rows": rows, "versions": [row[0] for row in versions]}  # type: ignore[arg-type]


def one(admin: str, root: Path, name: str, before: Callable[[str], bool]) -> dict[str, Any]:
    with psycopg.connect(admin, autocommit=True) as conn:
        conn.execute(f"CREATE DATABASE {name}")
    dsn = conninfo.make_conninfo(admin, dbname=name)
    try:
        died = before(dsn)
        run.up(MigrationTarget(root, POLICY, lambda: PqConnection(dsn), Author))  # type: ignore[arg-type, return-value]
        return {"died": died, **seen(dsn)}
    finally:
        with psycopg.connect(admin, autocommit=True) as conn:
            conn.execute(f"DROP DATABASE {name} WITH (FORCE)")


def main() -> None:
    admin, root = sys.argv[1], Path(sys.argv[2])
    print(json.dumps(one(admin, root, "kill_0", lambda _: False)))
    for last in range(1, 1000):
        case = one(admin, root, f"kill_{last}", lambda dsn, last=last: killed(root, dsn, last))  # type: ignore[misc]
        print(json.dumps(case), flush=True)
        if not case["died"]:
            return


if __name__ == "__main__":
    main()
