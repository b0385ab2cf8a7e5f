"""Innocent bystanders: short reads and writes on the touched tables while a migration runs; how long they waited."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Literal

from dodai.core.dataclass import dataclass
from dodai.migrations.ports import Connect, SqlConnection, is_database_error, sqlstate
from dodai.migrations.sql import identifier

PAUSE_S = 0.01
PROBE_TIMEOUT_S = 30.0
Kind = Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class Wait:
    """The worst one probe saw. `asked` counts its tries; `failed` is the SQLSTATE of the last one that failed."""

    table: str
    kind: Kind
    worst_ms: float
    asked: int
    failed: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "table": self.table,
            "kind": self.kind,
            "worstMs": round(self.worst_ms, 1),
            "asked": self.asked,
            "failed": self.failed or None,
        }


class Load:
    """Two sessions per table, one that reads and one that writes nothing, each as fast as a busy application would.

    A read is `SELECT 1 FROM t LIMIT 1`, a write an `UPDATE ... WHERE false`: both take the lock a real one takes.
    """

    def __init__(self, connect: Connect, tables: Sequence[tuple[str, str, str]]) -> None:
        self._stop = threading.Event()
        self._started = threading.Barrier(len(tables) * 2 + 1)
        self._waits: list[Wait] = []
        self._lock = threading.Lock()
        self._threads = [
            threading.Thread(target=self._run, args=(connect, f"{schema}.{table}", kind, query), daemon=True)
            for schema, table, column in tables
            for kind, query in probes(schema, table, column)
        ]

    def __enter__(self) -> Load:  # noqa: PYI034 - not meant to be subclassed
        for thread in self._threads:
            thread.start()
        self._started.wait(timeout=PROBE_TIMEOUT_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(timeout=PROBE_TIMEOUT_S * 2)

    @property
    def waits(self) -> tuple[Wait, ...]:
        """Sorted, the worst first; complete after the block."""
        return tuple(sorted(self._waits, key=lambda wait: -wait.worst_ms))

    def _run(self, connect: Connect, table: str, kind: Kind, query: str) -> None:
        conn = connect()
        conn.autocommit = True
        worst, asked, failed = 0.0, 0, ""
        try:
            conn.execute(f"SET statement_timeout = '{int(PROBE_TIMEOUT_S * 1000)}ms'")
            _ask(conn, query)
            self._started.wait(timeout=PROBE_TIMEOUT_S)
            while True:
                began = time.perf_counter()
                failed = _ask(conn, query) or failed
                worst = max(worst, (time.perf_counter() - began) * 1000)
                asked += 1
                # A table that the migration drops is an answer too, and asking on would only heat the machine.
                if self._stop.wait(PAUSE_S) or failed in ("42P01", "42703") or conn.closed:
                    break
        finally:
            conn.close()
            with self._lock:
                self._waits.append(Wait(table, kind, worst, asked, failed))


def probes(schema: str, table: str, column: str) -> tuple[tuple[Kind, str], tuple[Kind, str]]:
    """The read and the write that are asked of one table."""
    name, field = f"{identifier(schema)}.{identifier(table)}", identifier(column)
    return (
        ("read", f"SELECT 1 FROM {name} LIMIT 1"),  # noqa: S608 - quoted identifiers
        ("write", f"UPDATE {name} SET {field} = {field} WHERE false"),  # noqa: S608 - quoted identifiers
    )


def _ask(conn: SqlConnection, query: str) -> str:
    try:
        conn.execute(query)
    except Exception as error:
        if not is_database_error(error):
            raise
        return sqlstate(error) or "lost"
    return ""
