"""The tool's own session: its limits, whether it is where our lock is, and every statement that it sends."""

# Only numbers and words of ours are put into the statements.
# ruff: noqa: S608
from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

Ask = Callable[[str], list[Any]]
"""Runs a statement in the tool's own session and gives its rows; commits where the driver began a transaction."""


_HELD = """
(SELECT pid, (classid::bigint << 32 | objid::bigint) AS id FROM pg_locks WHERE locktype = 'advisory' AND granted
 AND database = (SELECT oid FROM pg_database WHERE datname = current_database())) AS held
"""
_LOCKS = f"""
SELECT count(*) FILTER (WHERE id = {{agents}} AND pid = pg_backend_pid()),
       count(*) FILTER (WHERE id = {{ours}} AND pid = {{holder}}),
       count(*) FILTER (WHERE id = {{agents}} AND pid <> pg_backend_pid()) FROM {_HELD}
"""
"""How often this session holds the lock of agents, our runner its own, and other sessions that of agents."""
_OTHERS = f"""
SELECT count(*) FROM {_HELD} JOIN pg_stat_activity USING (pid) WHERE id = {{agents}}
 AND pid <> pg_backend_pid() AND application_name <> '{{name}}'
"""
"""How many sessions of another process hold that of agents: the tool may open several."""


class RunRefusedError(Exception):
    """Not to be run here; `refused` says why: `elsewhere`, `busy`."""

    def __init__(self, refused: str, message: str) -> None:
        super().__init__(message)
        self.refused = refused


class LogRowError(Exception):
    """dodai's log took no row, so the transaction that it belongs to must not commit."""

    refused = "log"


class DriverSession:
    """What is known of one run; `limits` is None as long as no connection of the tool was seen."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.request = request
        self.limits: dict[str, Any] | None = None
        self.before = ""
        self.statements: list[dict[str, Any]] = []
        self.operation = 0
        self.row: list[str] = []
        self.step_id = ""
        self.began = 0.0
        self.name = f"dodai-agent-{os.urandom(4).hex()}"

    def begin(self, request: Mapping[str, Any], step: Mapping[str, Any] | None = None) -> None:
        """Another migration, that of `step`, on the same connections."""
        self.request = request
        self.before = ""
        self.statements = []
        self.operation = 0
        self.row, self.step_id = (step["row"], step["id"]) if step else ([], "")
        self.began = time.perf_counter()

    def record(self, ask: Ask) -> None:
        """Write the row of dodai's log where the tool has just written its own: both are committed, or neither is."""
        if self.row:
            before, behind = self.row
            try:
                ask(f"{before}{(time.perf_counter() - self.began) * 1000:.3f}{behind}")
            except Exception as error:
                raise LogRowError(str(error)) from error

    def settle(self, ask: Ask, driver: str) -> None:
        """Set the limits in a new session and ask it whether they hold; refuse a database without our lock."""
        ask(f"SET application_name = '{self.name}'")
        ask(f"SET lock_timeout = '{self.request['lockTimeout']}'")
        ask(f"SET statement_timeout = '{self.request['statementTimeout']}'")
        self.limits = {
            "driver": driver,
            "lockTimeoutMs": milliseconds(str(ask("SHOW lock_timeout")[0][0])),
            "statementTimeoutMs": milliseconds(str(ask("SHOW statement_timeout")[0][0])),
        }
        self.stand(ask)

    def stand(self, ask: Ask) -> None:
        """Refuse a database without our lock, or with the session of a killed runner; look before the first change."""
        self._be_where_the_lock_is(ask)
        if self.request.get("probe") and not self.before:
            self.before = str(ask(self.request["probe"])[0][0])

    def _be_where_the_lock_is(self, ask: Ask) -> None:
        """Hold the lock of agents, which a migration may have given up (`DISCARD ALL`), where our runner has its own.

        A session of another process that holds it is of a runner that was killed, and its statement goes on.
        """
        ours, agents = (int(each) for each in self.request["locks"])
        holder = int(self.request["holder"])
        look = _LOCKS.format(ours=ours, agents=agents, holder=holder)
        mine, beside, others = ask(look)[0]
        if holder and not beside:
            name = ask("SELECT current_database()")[0][0]
            raise RunRefusedError("elsewhere", f"the tool is connected to another database (`{name}`) than dodai")
        if not mine:  # taken before anybody looks for others: of two that begin at once, at least one sees the other
            ask(f"SELECT pg_try_advisory_lock_shared({agents})")
            mine, beside, others = ask(look)[0]
        deadline = time.monotonic() + float(self.request["patienceS"])
        left_over = _OTHERS.format(agents=agents, name=self.name)
        while holder and others and ask(left_over)[0][0]:
            if time.monotonic() > deadline:
                raise RunRefusedError("busy", "the session of a runner that was killed still works in this database")
            time.sleep(0.1)

    def sent(self, sql: str, began: float, ask: Ask) -> None:
        """One statement of the migration that ended well; where it is wanted, the session is probed behind it."""
        self._keep(sql, began, ok=True)
        if self.request.get("probe"):
            self.statements[-1]["after"] = str(ask(self.request["probe"])[0][0])

    def failed(self, sql: str, began: float) -> None:
        """The statement that did not end well is the last one."""
        self._keep(sql, began, ok=False)

    def _keep(self, sql: str, began: float, *, ok: bool) -> None:
        ms = (time.perf_counter() - began) * 1000
        self.statements.append({"sql": sql, "ms": ms, "ok": ok, "after": "", "operation": self.operation})

    def answer(self, failed: dict[str, Any] | None, *, committed: bool = False) -> dict[str, Any]:
        """About the migration that was begun last; `committed` when it is known to have left no transaction open."""
        return {
            "limits": self.limits,
            "before": self.before,
            "statements": self.statements,
            "committed": committed,
            "failed": failed,
        }


def milliseconds(shown: str) -> int:
    """What SHOW prints of a time, in milliseconds: `500ms`, `15min`, `0`."""
    units = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
    number = shown.rstrip("abcdefghijklmnopqrstuvwxyz")
    return int(float(number or 0) * units.get(shown[len(number) :], 1))
