"""A second connection that looks at who blocks the first one while it waits for a lock."""

from __future__ import annotations

import threading
import time
from typing import Self

from dodai.core.dataclass import dataclass
from dodai.migrations import sql
from dodai.migrations.policy import AGENT_LOCK_ID
from dodai.migrations.ports import Connect, SqlConnection, is_database_error

_BLOCKERS = """
SELECT a.pid, a.usename, a.application_name, a.state, extract(epoch FROM clock_timestamp() - a.xact_start)::float,
       left(a.query, 1000)
FROM {waiting} AS w(pid), unnest(pg_blocking_pids(w.pid)) AS b(pid) JOIN pg_stat_activity a ON a.pid = b.pid
"""
OF_THE_AGENT = f"""(SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND (classid::bigint << 32 | objid::bigint) = {AGENT_LOCK_ID})"""  # noqa: S608 - a constant of ours
"""The session in which another tool works for us: it holds this lock as long as it is connected."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A session that stood in the way; `open_s` is how long its transaction had been open.

    `query` is somebody else's: what it says about a person is not for our log.
    """

    pid: int
    role: str
    program: str
    state: str
    open_s: float
    query: str

    def __str__(self) -> str:
        program = f" ({self.program})" if self.program else ""
        opened = f", transaction open for {self.open_s:.1f} s" if self.open_s else ""
        return f"process `{self.pid}` of role `{self.role}`{program}, {self.state}{opened}: `{self.query}`"


class BlockerWatch:
    """Samples only while a statement runs longer than `patience_s / 3`; without `connect` it sees nothing.

    The one that waits is the session `pid`, or with `agent` the one in which another tool works for us.
    """

    def __init__(self, connect: Connect | None, pid: int, patience_s: float, *, agent: bool = False) -> None:
        self._connect = connect
        self._query = _BLOCKERS.format(waiting=OF_THE_AGENT if agent else f"(SELECT {int(pid)})")
        self._interval_s = max(patience_s / 3, 0.02)
        self._busy_since: float | None = None
        self._seen: dict[int, Blocker] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._connect is not None:
            self._thread = threading.Thread(target=self._run, name="dodai-blockers", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread:
            self._thread.join(timeout=5)

    def start(self) -> None:
        """A file starts: forget who was seen before."""
        self._seen = {}
        self._busy_since = time.monotonic()

    def pause(self) -> None:
        self._busy_since = None

    @property
    def seen(self) -> tuple[Blocker, ...]:
        return tuple(self._seen.values())

    def _run(self) -> None:
        conn: SqlConnection | None = None
        try:
            while not self._stop.wait(self._interval_s):
                since = self._busy_since
                if since is None or time.monotonic() - since < self._interval_s or self._connect is None:
                    continue
                if conn is None:
                    conn = self._connect()
                    conn.autocommit = True
                for row in conn.execute(self._query, prepare=False).fetchall():
                    self._seen[row[0]] = Blocker(
                        row[0], row[1], row[2], row[3], row[4] or 0.0, sql.masked(row[5] or "", 80)
                    )
        except Exception as error:
            # It only names names: when it cannot look, the run goes on without them.
            if not is_database_error(error) and not hasattr(error, "code"):
                raise
        finally:
            if conn is not None:
                conn.close()
