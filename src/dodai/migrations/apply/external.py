"""One migration of another tool: run by that tool in the user's interpreter, under our lock and into our log."""

# Only constants of ours are put into the statement.
# ruff: noqa: S608
from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from dodai.core.errors import DodaiError
from dodai.migrations import codes
from dodai.migrations.apply.file import Runner, StoppedError
from dodai.migrations.apply.outcome import Failed
from dodai.migrations.apply.watch import OF_THE_AGENT
from dodai.migrations.ledger import log_sql, read
from dodai.migrations.migration import Migration
from dodai.migrations.policy import AGENT_LOCK_ID, GOOSE_LOCK_ID
from dodai.migrations.ports import Process, Worker, is_database_error, url_of

LOST_STATES = ("08", "57P")
"""Connection exceptions, and a server that ends its sessions (PostgreSQL appendix A)."""


class ToolError(Exception):
    """The tool's migration failed; `sqlstate` is its driver's, `statement` the last that was sent."""

    def __init__(self, said: str, state: str = "", statement: str = "") -> None:
        super().__init__(said)
        self.sqlstate = state
        self.statement = statement


@dataclass(slots=True)
class ExternalRunner(Runner):
    """`opened` gets each process, so that it can be stopped. `probe` is a query that the tool's session answers around
    each statement; `seen` gets what it said. With `locked` our own connection must hold the migration lock.
    """

    opened: Callable[[Process], None] = lambda _: None
    probe: str = ""
    seen: Callable[[Migration, Mapping[str, Any]], None] = lambda _, __: None
    locked: bool = True
    told: bool = False
    worker: Worker | None = None

    def close(self) -> None:
        """The tool's process ends with the run, or with the first thing that went wrong in it."""
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def _carry_out(self, migration: Migration, started: float) -> int:
        self._until_locked(migration, lambda: self._step(migration, started), again=migration.transactional)
        return 0

    def something_done(self, migration: Migration) -> bool:
        return not migration.transactional and self.index > 0

    def _step(self, migration: Migration, started: float) -> None:
        self.index = 0
        answer = self._answer(migration)
        self._tell_limits(answer.get("limits"))
        self.seen(migration, answer)
        statements = answer.get("statements") or []
        self.statement_ms = [float(each["ms"]) for each in statements]
        if failed := answer.get("failed"):
            self.close()
            self.index = sum(each["ok"] for each in statements)
            raise self._error(migration, failed, [each["sql"] for each in statements if not each["ok"]])
        if (migration.id in self._applied()) != (self.direction == "up"):
            raise ToolError("the tool ended well, but its own table does not show it")
        self.index = len(statements)
        self.conn.execute(
            self._fence(until_commit=True)
            + log_sql(
                self.run,
                migration,
                self.direction,
                "applied" if self.direction == "up" else "reverted",
                ms=(time.perf_counter() - started) * 1000,
                lock_wait_ms=self.waited_s * 1000,
                retries=self.retries,
            )
        )

    def _answer(self, migration: Migration) -> Mapping[str, Any]:
        assert self.ledger.tool is not None  # noqa: S101 - for the type checker
        policy = self.policy
        pid = self.conn.execute("SELECT pg_backend_pid()", prepare=False).fetchone()[0] if self.locked else 0
        request = {
            "holder": pid,
            "locks": [GOOSE_LOCK_ID, AGENT_LOCK_ID],
            "lockTimeout": f"{int(policy.lock_timeout_s * 1000)}ms",
            "statementTimeout": f"{int(policy.statement_timeout_s * 1000)}ms",
            "patienceS": policy.runner_patience_s,
            "timeoutS": policy.statement_timeout_s + policy.lock_patience_s + policy.runner_patience_s,
            "probe": self.probe,
            "ledger": self.ledger.table,
            "fence": self._fence(until_commit=True),
        }
        if self.worker is None:
            self.worker = self.ledger.tool.open(url_of(self.conn))
            self.opened(self.worker)
        try:
            return self.worker.act(request, migration, self.direction)
        except BaseException:
            self.close()
            self._end_session()
            raise

    def _end_session(self) -> None:
        """A tool that was stopped leaves a statement running on the server, behind our back."""
        if self.conn.closed:
            return
        try:
            self.conn.execute(f"SELECT pg_terminate_backend(pid) FROM {OF_THE_AGENT} AS left_over", prepare=False)
        except Exception as error:
            if not is_database_error(error):
                raise

    def _applied(self) -> tuple[str, ...]:
        return read(self.conn, self.policy, self.ledger.tool).ids

    def _error(self, migration: Migration, failed: Mapping[str, Any], bad: list[str]) -> Exception:
        kind = failed.get("refused")
        if kind == "elsewhere":
            fix = "let its settings read the URL from the variable that `[database].variable` names"
            return DodaiError(codes.ELSEWHERE, f"{migration.path}: {failed['message']}", fix, exit_code=1)
        if kind == "busy":
            return DodaiError(codes.LOCK_HELD, failed["message"], codes.LOCK_HELD.fix.en, exit_code=75)
        place = f" ({failed['file']}:{failed['line']})" if failed.get("file") else ""
        state = str(failed.get("sqlstate") or "")
        error = ToolError(f"{failed['type']}: {failed['message']}{place}", state, bad[-1] if bad else "")
        if state.startswith(LOST_STATES):
            return StoppedError(Failed(migration, self.direction, self.index, error, lost=True, partly=False))
        return error

    def _tell_limits(self, limits: Mapping[str, Any] | None) -> None:
        """Said once: whether the limits hold in the tool's own session, as that session says."""
        if self.told:
            return
        self.told = True
        wanted = (int(self.policy.lock_timeout_s * 1000), int(self.policy.statement_timeout_s * 1000))
        if limits and (limits["lockTimeoutMs"], limits["statementTimeoutMs"]) == wanted:
            said = f"limits hold in the session of `{limits['driver']}`: lock_timeout {wanted[0]} ms"
        else:
            driver = f" of `{limits['driver']}`" if limits else ""
            said = f"whether lock_timeout and statement_timeout hold in the session{driver} is unknown"
        self.remarks.append(said)
        self.note(said)
