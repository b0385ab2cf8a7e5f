"""One migration of another tool: run by that tool in the user's interpreter, under our lock and into our log."""

# Only names that are quoted and constants of ours are put into the statement.
# ruff: noqa: S608
from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import codes, fence
from dodai.migrations.apply.blocker_watch import OF_THE_AGENT
from dodai.migrations.apply.failure_report import Failed
from dodai.migrations.apply.file import Runner, StoppedError
from dodai.migrations.interpreter import NO_APPLICATION
from dodai.migrations.ledger import Event, Ledger, in_log, log_sql
from dodai.migrations.migration import Migration
from dodai.migrations.policy import AGENT_LOCK_ID, GOOSE_LOCK_ID
from dodai.migrations.ports import Process, Worker, is_database_error, url_of
from dodai.migrations.sql import identifier, literal

LOST_STATES = ("08", "57P")
"""Connection exceptions, and a server that ends its sessions (PostgreSQL appendix A)."""


UNDEFINED_TABLE = "42P01"
INSUFFICIENT_PRIVILEGE = "42501"
NOT_SHOWN = "the tool ended well, but its own table does not show it"


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
    todo: Sequence[Migration] = ()
    last: str = ""
    at_work: bool = False
    pid: int = 0

    def planned(self, todo: Sequence[Migration]) -> Sequence[Migration]:
        """`todo` in the order of the tool's own plan for this database; DOD226 when that plan holds others."""
        self.todo = todo
        if not todo or self.direction == "down":
            return todo
        known = {migration.id: migration for migration in todo}
        with self._at_work() as worker:
            table = self.ledger.name if self.ledger.present else ""
            answer = worker.plan(self._request(), self.conn, table)
        if failed := answer.get("failed"):
            # Nothing of ours runs on the server: what works there is somebody else's, and is left alone.
            self.close()
            fallback = DodaiError(codes.EXTERNAL, failed["message"], codes.EXTERNAL.fix.en, exit_code=1)
            raise refusal(failed) or fallback
        order: Sequence[str] = answer["plan"]
        if set(order) != set(known) or len(order) != len(known):
            more = ", ".join(f"`{id_}`" for id_ in order if id_ not in known)
            less = ", ".join(f"`{id_}`" for id_ in known if id_ not in order)
            said = "; ".join(part for part in (more and f"it would also run {more}", less and f"not {less}") if part)
            fix = "let `[migrations].folder` hold every migration that the tool finds"
            raise DodaiError(codes.EXTERNAL, f"the tool's own plan is another one: {said}", fix, exit_code=1)
        self.last = order[-1]
        self.todo = [known[id_] for id_ in order]
        return self.todo

    def finish(self, *, settle: bool = False) -> None:
        """The tool's own end of a run; with `settle` what a killed run left to do behind the last migration."""
        if not self.at_work and not settle:
            return
        with self._at_work() as worker:
            answer = worker.finish(self._request()) if settle else worker.ended(self._timeout_s)
        self.at_work = False
        there = in_log(self.conn, self.ledger, self.run, self.direction)
        if lost := [migration.id for migration in self.todo if migration.id not in there]:
            said = f"the tool ended well, but the log has no row of `{lost[0]}`: it did not commit what it said it had"
            raise DodaiError(codes.EXTERNAL, said, codes.EXTERNAL.fix.en, exit_code=4)
        if failed := answer.get("failed"):
            said = (
                f"the migrations went through, the tool's end of the run did not: {failed['type']}: {failed['message']}"
            )
            raise DodaiError(codes.EXTERNAL, said, codes.EXTERNAL.fix.en, exit_code=4)

    def close(self) -> None:
        """The tool's process ends with the run, or with the first thing that went wrong in it."""
        self.at_work = False
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def _carry_out(self, migration: Migration, _: float) -> int:
        self._until_locked(migration, lambda: self._step(migration), again=migration.transactional)
        return 0

    def something_done(self, migration: Migration) -> bool:
        return not migration.transactional and self.index > 0

    def _step(self, migration: Migration) -> None:
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
        self.index = len(statements)
        if not answer["committed"] and migration.id not in in_log(self.conn, self.ledger, self.run, self.direction):
            raise ToolError(NOT_SHOWN)

    def _row(self, migration: Migration, *, first: bool) -> tuple[str, str]:
        """The statement that writes the row of our log; between its two parts stands how long the migration took.

        It is sent in the tool's session, in the transaction in which the tool writes its own row. There nobody else may
        have taken over; the role is the one that logged in, whatever env.py made of it; and the session holds the lock
        of agents, whatever the migration did to it. It is written once, and only if the tool's table says the same.
        """
        assert self.ledger.tool is not None  # noqa: S101 - for the type checker
        up = self.direction == "up"
        event: Event = "applied" if up else "reverted"
        shown = self.ledger.tool.shows_sql(self.ledger.name, migration)
        once = (
            f"NOT EXISTS (SELECT FROM {self.ledger.log} AS log WHERE log.run = {literal(self.run)}"
            f" AND log.migration = {literal(migration.id)} AND log.event = {literal(event)})"
        )
        row = log_sql(
            self.ledger,
            self.run,
            migration,
            self.direction,
            event,
            taken="taken_ms",
            lock_wait_ms=self.waited_s * 1000 if first else 0,
            retries=self.retries if first else 0,
            where=f"{'' if up else 'NOT '}({shown}) AND {once}",
        )
        fenced = "" if self.token is None else fence.check_block(self.ledger, self.token, until_commit=True)
        body = (
            "; own_role CONSTANT text := pg_catalog.current_setting('role'); BEGIN"
            " IF own_role <> 'none' THEN PERFORM pg_catalog.set_config('role', 'none', true); END IF;"
            f" PERFORM pg_catalog.pg_try_advisory_lock_shared({AGENT_LOCK_ID}); {fenced} {row}"
            " IF own_role <> 'none' THEN PERFORM pg_catalog.set_config('role', own_role, true); END IF; END "
        )
        quote = "$dodai$"
        while quote in body:
            quote = f"{quote[:-1]}_$"
        return f"DO {quote} DECLARE taken_ms CONSTANT double precision := ", f"{body}{quote}"

    @property
    def _timeout_s(self) -> float:
        policy = self.policy
        return policy.statement_timeout_s + policy.lock_patience_s + policy.runner_patience_s

    @contextmanager
    def _at_work(self) -> Iterator[Worker]:
        """The tool's process, started when it is needed first; ended by whatever goes wrong."""
        assert self.ledger.tool is not None  # noqa: S101 - for the type checker
        if self.worker is None:
            self.worker = self.ledger.tool.open(url_of(self.conn))
            self.opened(self.worker)
        try:
            yield self.worker
        except BaseException:
            self.close()
            self._end_session()
            raise

    def _request(self) -> dict[str, Any]:
        policy = self.policy
        if self.locked and not self.pid:
            # Not what the client was told: a proxy in between tells another one.
            self.pid = int(self.conn.execute("SELECT pg_backend_pid()", prepare=False).fetchone()[0])
        return {
            "holder": self.pid,
            "locks": [GOOSE_LOCK_ID, AGENT_LOCK_ID],
            "lockTimeout": f"{int(policy.lock_timeout_s * 1000)}ms",
            "statementTimeout": f"{int(policy.statement_timeout_s * 1000)}ms",
            "patienceS": policy.runner_patience_s,
            "timeoutS": self._timeout_s,
            "probe": self.probe,
        }

    def _answer(self, migration: Migration) -> Mapping[str, Any]:
        with self._at_work() as worker:
            if not self.at_work:
                rest = self.todo[self.todo.index(migration) :]
                rows = [(each.id, self._row(each, first=each is migration)) for each in rest]
                worker.start({**self._request(), "direction": self.direction, "last": self.last}, rows)
                self.at_work = True
            return worker.ran(migration, self.direction, self._timeout_s)

    def _end_session(self) -> None:
        """A tool that was stopped leaves a statement running on the server, behind our back."""
        if self.conn.closed:
            return
        try:
            self.conn.execute(f"SELECT pg_terminate_backend(pid) FROM {OF_THE_AGENT} AS left_over", prepare=False)
        except Exception as error:
            if not is_database_error(error):
                raise

    def _error(self, migration: Migration, failed: Mapping[str, Any], bad: list[str]) -> Exception:
        if refused := refusal(failed, f"{migration.path}: "):
            return refused
        state = str(failed.get("sqlstate") or "")
        if failed.get("refused") == "log" and state == UNDEFINED_TABLE:
            return ToolError(NOT_SHOWN)
        if failed.get("refused") == "log" and state == INSUFFICIENT_PRIVILEGE:
            return _unlogged(self.ledger, migration, failed["message"])
        place = f" ({failed['file']}:{failed['line']})" if failed.get("file") else ""
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
        self.notes.append(said)
        self.note(said)


def _unlogged(ledger: Ledger, migration: Migration, said: str) -> DodaiError:
    """The role of the tool may not write our log, so the migration was rolled back with its row."""
    message = f"{migration.path}: the tool's role cannot write dodai's log, so nothing of it was applied: {said}"
    grant = f"`GRANT USAGE ON SCHEMA {identifier(ledger.side)} TO ROLE; GRANT SELECT, INSERT ON {ledger.log} TO ROLE`"
    return DodaiError(codes.LEDGER_UNUSABLE, message, grant, exit_code=1)


def refusal(failed: Mapping[str, Any], where: str = "") -> DodaiError | None:
    """What the tool's session refused before it changed anything; None for any other failure."""
    if failed.get("refused") == "elsewhere":
        fix = "let its settings read the URL from the variable that `[database].variable` names"
        return DodaiError(codes.ELSEWHERE, f"{where}{failed['message']}", fix, exit_code=1)
    if failed.get("refused") == "application":
        return DodaiError(codes.EXTERNAL, f"{where}{failed['message']}", NO_APPLICATION, exit_code=1)
    if failed.get("refused") == "busy":
        return DodaiError(codes.LOCK_HELD, failed["message"], codes.LOCK_HELD.fix.en, exit_code=75)
    return None
