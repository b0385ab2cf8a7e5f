"""One migration file against one database: a transaction as a whole, or statement by statement."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import field
from functools import partial

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import codes, fence, sql
from dodai.migrations.apply.applied import Ran
from dodai.migrations.apply.blocker_watch import BlockerWatch
from dodai.migrations.apply.failure_report import LOCK_STATES, NEEDS_AUTOCOMMIT, Failed
from dodai.migrations.apply.half_done import refuse_edited, statement_checksum
from dodai.migrations.apply.key_ranges import Pace, next_end, ranged, refuse_unindexed
from dodai.migrations.apply.leftover import EffectError, Leftover, has_effect_to_see, see_effect, settle
from dodai.migrations.apply.pending_files import transaction_ended
from dodai.migrations.ledger import SINCE_BEGIN, Event, FileProgress, Ledger, log_sql, progress, record_sql
from dodai.migrations.migration import BatchDirective, Direction, Migration, Statement
from dodai.migrations.policy import GOOSE_LOCK_ID, MigrationsPolicy, retry_wait_s
from dodai.migrations.ports import SqlConnection, is_database_error, send, sqlstate

IN_TRANSACTION = 2
FAILED_TRANSACTION = 3
_CLEAN = "RESET ALL; RESET ROLE;"
"""Sent behind each file, not before the next one: settings such as `standard_conforming_strings` say how the whole of
a message is read, so they must be gone before the message that holds the next statement arrives."""
_ALONE = f"pg_catalog.pg_advisory_xact_lock({GOOSE_LOCK_ID})"
"""Opens each transaction: `pg_advisory_unlock_all` in a file gives back what the session holds, and not this."""
_STAY_ALONE = f"pg_catalog.pg_advisory_lock({GOOSE_LOCK_ID}) IS NOT NULL"
"""Always true, and once it was asked, just before each COMMIT, the session holds the lock, whatever the file did to it.
It waits for nobody: its own transaction has the lock."""


class StoppedError(Exception):
    """A file did not go through; `failed` says where."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(str(failed.error))
        self.failed = failed


@dataclass(slots=True)
class Runner:
    """Everything one run needs for each of its files. `token` is that of the lease it runs under, if under one."""

    conn: SqlConnection
    ledger: Ledger
    policy: MigrationsPolicy
    run: str
    watch: BlockerWatch
    note: Callable[[str], None]
    direction: Direction = "up"
    token: int | None = None
    send: Callable[[SqlConnection, Statement], None] = send
    waited_s: float = 0.0
    retries: int = 0
    index: int = 0
    opening: int = 0
    statement_ms: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def apply(self, migration: Migration) -> Ran:
        """Run the file and record it. Raises `StoppedError`; the ledger is true afterwards, whatever happened."""
        self.waited_s, self.retries, self.index, self.opening, self.statement_ms = 0.0, 0, 0, 0, []
        started = time.perf_counter()
        self.watch.start()
        resumed = 0
        try:
            resumed = self._carry_out(migration, started)
        finally:
            self.watch.pause()
        return Ran(
            migration,
            self.direction,
            (time.perf_counter() - started) * 1000,
            self.waited_s * 1000,
            self.retries,
            resumed,
            tuple(self.statement_ms),
            self.watch.seen if self.retries else (),
        )

    def planned(self, todo: Sequence[Migration]) -> Sequence[Migration]:
        """The order to run them in: that of the files."""
        return todo

    def finish(self, *, settle: bool = False) -> None:
        """Nothing happens behind the last file."""

    def close(self) -> None:
        """Nothing is left over after a run."""

    def _carry_out(self, migration: Migration, started: float) -> int:
        """Run and record it; returns the statement (from 1) it went on with, 0 for a fresh start."""
        if not migration.transactional:
            return self._run_statement_by_statement(migration, started)
        self._until_locked(migration, lambda: self._run_in_one_transaction(migration))
        return 0

    def something_done(self, migration: Migration) -> bool:
        """Whether statements of a file that stopped stay in effect; asked once its failure is known."""
        if migration.transactional:
            return False
        return self.conn.closed or progress(self.conn, self.ledger, migration.id, self.direction).partly

    # --- one transaction ----------------------------------------------------------------------------------------

    def _run_in_one_transaction(self, migration: Migration) -> None:
        """Message by message; the first statement travels with what opens its transaction, the last with what ends it
        where the connection tells which of a message failed.
        """
        self.index, self.statement_ms = 0, []
        opening = f"BEGIN; {self._limits_here()} {self._fence()}"
        statements = migration.statements(self.direction)
        if self.send is not send or (statements and statements[0].data is not None):
            self.conn.execute(opening)
            opening = ""
        for index, statement in enumerate(statements):
            self.index = index
            began = time.perf_counter()
            if index == len(statements) - 1 and self._ends_with_it(statement):
                self._send_with_end(opening, statement, migration)
                self.statement_ms.append((time.perf_counter() - began) * 1000)
                return
            self._send_with_opening(opening, statement) if opening else self.send(self.conn, statement)
            opening = ""
            self.statement_ms.append((time.perf_counter() - began) * 1000)
            see_effect(self.conn, statement.sql)
            if self.conn.info.transaction_status != IN_TRANSACTION:
                raise transaction_ended(migration, statement)
        self.index = len(statements)
        self.conn.execute(opening + self._end(migration))

    def _end(self, migration: Migration) -> str:
        return f"{self._recorded(migration)}COMMIT;{_CLEAN}"

    def _ends_with_it(self, statement: Statement) -> bool:
        """Whether the transaction may end in the message of its last statement.

        The connection must tell which of a message failed and read strings as our lexer does (a file may have changed
        that: then a COMMIT can hide in what looks like a string), and nothing may have to be looked at in between.
        """
        sure = getattr(self.conn, "reads_as_written", False)
        return bool(sure) and self.send is send and statement.data is None and not has_effect_to_see(statement.sql)

    def _send_with_end(self, opening: str, statement: Statement, migration: Migration) -> None:
        """All in one message; a line and a semicolon end what a statement leaves open (`-- comment`, no semicolon)."""
        self.opening = len(opening)
        try:
            answer = self.conn.execute(f"{opening}{statement.sql}\n;\n{self._end(migration)}")
        except Exception as error:
            sent = [span for text in (opening, statement.sql) for span in sql.statements(text) if span.text != ";"]
            if getattr(error, "completed", 0) >= len(sent):
                self.index += 1
            raise
        if getattr(answer, "tags", ())[-3:] != ("COMMIT", "RESET", "RESET"):
            raise transaction_ended(migration, statement)
        self.opening = 0

    def _send_with_opening(self, opening: str, statement: Statement) -> None:
        """The first statement travels with what opens its transaction: one round trip less for each file."""
        self.opening = len(opening)
        self.conn.execute(opening + statement.sql)
        self.opening = 0

    def _recorded(self, migration: Migration, started: float | None = None) -> str:
        """The rows of ledger and log; without `started` the server says how long its transaction took."""
        event: Event = "applied" if self.direction == "up" else "reverted"
        in_ledger = record_sql(self.ledger, migration, self.direction).removesuffix(";")
        before = "RESET ROLE;" + self._fence(until_commit=True) + (f"WITH kept AS ({in_ledger}) " if in_ledger else "")
        return before + log_sql(
            self.ledger,
            self.run,
            migration,
            self.direction,
            event,
            ms=None if started is None else (time.perf_counter() - started) * 1000,
            taken=SINCE_BEGIN if started is None else "",
            lock_wait_ms=self.waited_s * 1000,
            retries=self.retries,
            where=_STAY_ALONE,
        )  # fmt: skip

    def _fence(self, *, until_commit: bool = False) -> str:
        """The proof that nobody took over, to be sent with what depends on it; "" without a lease."""
        return "" if self.token is None else fence.check_sql(self.ledger, self.token, until_commit=until_commit)

    def _limits(self) -> tuple[str, str]:
        """`lock_timeout` and `statement_timeout`."""
        return f"{int(self.policy.lock_timeout_s * 1000)}ms", f"{int(self.policy.statement_timeout_s * 1000)}ms"

    def _limits_here(self) -> str:
        """They and the lock for one transaction, in one statement."""
        lock, statement = self._limits()
        return (
            f"SELECT pg_catalog.set_config('lock_timeout', '{lock}', true),"
            f" pg_catalog.set_config('statement_timeout', '{statement}', true), {_ALONE};"
        )

    def _until_locked(self, migration: Migration, attempt: Callable[[], None], *, again: bool = True) -> None:
        """Step back on a lock timeout and try again (where `again`), so that innocent readers get through."""
        first = time.monotonic()
        while True:
            began = time.monotonic()
            try:
                return attempt()
            except Exception as error:
                if not is_database_error(error):
                    self._rollback()
                    raise
                lost = self._rollback()
                patient = again and time.monotonic() - first < self.policy.lock_patience_s
                if lost or sqlstate(error) not in LOCK_STATES or not patient:
                    raise StoppedError(self._failed(migration, error, lost=lost)) from error
            self.retries += 1
            pause = min(retry_wait_s(self.retries), max(self.policy.lock_patience_s / 4, 0.01))
            self.note(self._waiting(migration, pause))
            time.sleep(pause)
            self.waited_s += time.monotonic() - began

    def _waiting(self, migration: Migration, pause: float) -> str:
        blocked = "; ".join(str(blocker) for blocker in self.watch.seen) or "a session that is gone by now"
        return (
            f"{migration.path}: statement {self.index + 1} got no lock within {self.policy.lock_timeout_s:g} s, "
            f"blocked by {blocked}; rolled back, again in {pause:g} s (try {self.retries + 1})"
        )

    def _rollback(self) -> bool:
        """True when the connection is gone (the server has then rolled back, or already committed)."""
        if self.conn.closed:
            return True
        if self.conn.info.transaction_status in (IN_TRANSACTION, FAILED_TRANSACTION):
            try:
                self.conn.execute("ROLLBACK")
            except Exception as error:
                if not is_database_error(error):
                    raise
                return True
        return False

    def _failed(self, migration: Migration, error: Exception, *, lost: bool, partly: bool = False) -> Failed:
        blockers = self.watch.seen if sqlstate(error) in LOCK_STATES else ()
        return Failed(migration, self.direction, self.index, error, lost, partly, blockers, self.waited_s, self.opening)

    # --- statement by statement ---------------------------------------------------------------------------------

    def _run_statement_by_statement(self, migration: Migration, started: float) -> int:
        """Run what is not done yet; returns the statement (from 1) it went on with, 0 for a fresh start."""
        statements = migration.statements(self.direction)
        before = progress(self.conn, self.ledger, migration.id, self.direction)
        refuse_edited(migration, statements, before)
        lock, statement_limit = self._limits()
        self.conn.execute(f"{_CLEAN} SET lock_timeout = '{lock}'; SET statement_timeout = '{statement_limit}';")
        self._restore_settings(statements, before)
        for index, statement in enumerate(statements):
            self.index = index
            if self.index + 1 in before.done:
                self.statement_ms.append(0.0)
                continue
            if before.started == self.index + 1 and self._already_done(migration, statement):
                self._log(migration, "done", statement)
                self.statement_ms.append(0.0)
                continue
            began = time.perf_counter()
            if statement.batch:
                self._in_ranges(migration, statement, statement.batch, before.key_of(index + 1))
            else:
                self._until_locked(migration, lambda statement=statement: self._run_statement(migration, statement))  # type: ignore[misc]
            self.statement_ms.append((time.perf_counter() - began) * 1000)
        self.index = len(statements)
        self._until_locked(migration, lambda: self._close(migration, started))
        if not before.begun:
            return 0
        return next((n for n in range(1, len(statements) + 1) if n not in before.done), len(statements))

    def _close(self, migration: Migration, started: float) -> None:
        self.conn.execute(f"BEGIN; {self._recorded(migration, started)} COMMIT; {_CLEAN}")

    def _restore_settings(self, statements: tuple[Statement, ...], before: FileProgress) -> None:
        """Settings of the file live in the session, so those of finished statements are made again."""
        for number, statement in enumerate(statements, start=1):
            if number in before.done and sql.words(statement.sql, 1)[0] in ("set", "reset"):
                self.conn.execute(statement.sql)

    def _run_statement(self, migration: Migration, statement: Statement) -> None:
        """In one transaction with its progress row where PostgreSQL allows it: then it happens exactly once."""
        if sql.words(statement.sql, 1)[0] not in ("set", "reset"):
            try:
                self.conn.execute(f"BEGIN; SELECT {_ALONE}; {self._fence()}")
                self.send(self.conn, statement)
                see_effect(self.conn, statement.sql)
                if self.conn.info.transaction_status == IN_TRANSACTION:
                    still_ours = self._fence(until_commit=True)
                    done = self._progress(migration, "done", statement, where=_STAY_ALONE)
                    self.conn.execute(f"{still_ours}{done} COMMIT;")
                    return
            except Exception as error:
                if sqlstate(error) not in NEEDS_AUTOCOMMIT:
                    raise
                self.conn.execute("ROLLBACK")
        self._run_outside_transaction(migration, statement)

    def _in_ranges(self, migration: Migration, statement: Statement, batch: BatchDirective, after: str | None) -> None:
        """One range of its key after the other from where it stopped; each commits with the key that it came to."""
        place = f"{migration.path}:{batch.line}"
        refuse_unindexed(self.conn, batch, place)
        pace = Pace(self.conn, self.policy.batch_lag_s, place, self.note)
        while (upto := next_end(self.conn, batch, after)) is not None:
            pace.wait()
            piece = Statement(ranged(statement, batch, after, upto), statement.line)
            self._until_locked(migration, partial(self._run_range, migration, statement, piece, upto))
            after = upto
        self._log(migration, "done", statement)

    def _run_range(self, migration: Migration, statement: Statement, piece: Statement, upto: str) -> None:
        self.conn.execute(f"BEGIN; SELECT {_ALONE}; {self._fence()}")
        self.send(self.conn, piece)
        came_to = self._progress(migration, "batch", statement, where=_STAY_ALONE, note=upto)
        self.conn.execute(f"{self._fence(until_commit=True)}{came_to} COMMIT;")

    def _run_outside_transaction(self, migration: Migration, statement: Statement) -> None:
        """Its own transaction: announced before, recorded after; a crash between is settled by looking.

        The announcement proves that nobody took over; what happens between it and the statement is a window that only
        the end of this session closes (see `fence`).
        """
        patient = "concurrently" in sql.words(statement.sql, 8)
        if patient:
            # It blocks nobody while it waits, and giving up leaves an invalid index behind.
            self.conn.execute(f"SET lock_timeout = '{int(self.policy.lock_patience_s * 1000)}ms'")
        try:
            self._log(migration, "started", statement)
            self._send_announced(migration, statement)
        finally:
            if patient and not self.conn.closed:
                self.conn.execute(f"SET lock_timeout = '{int(self.policy.lock_timeout_s * 1000)}ms'")
        self._log(migration, "done", statement)

    def _send_announced(self, migration: Migration, statement: Statement) -> None:
        try:
            self.send(self.conn, statement)
            see_effect(self.conn, statement.sql)
        except Exception as error:
            if is_database_error(error) and not self.conn.closed:
                if not isinstance(error, EffectError):
                    self._clean_up(statement)
                self._log(migration, "failed", statement, sqlstate(error))
            raise
        self._still_alone(migration, statement)

    def _still_alone(self, migration: Migration, statement: Statement) -> None:
        """Take the lock again that `DISCARD ALL` gives back; DOD250 (exit 75) when another runner was there since."""
        newest_run = f"(SELECT id FROM {self.ledger.runs} ORDER BY started_at DESC LIMIT 1)"  # noqa: S608 - quoted
        question = f"SELECT pg_try_advisory_lock({GOOSE_LOCK_ID}), {newest_run}"
        alone, newest = self.conn.execute(question, prepare=False).fetchone()
        if not alone or newest != self.run:
            code, place = codes.LOCK_HELD, f"{migration.path}:{statement.line}, statement {self.index + 1}"
            message = f"{place} gave the migration lock back, and another runner took it"
            raise DodaiError(code, message, code.fix.en, exit_code=75)

    def _clean_up(self, statement: Statement) -> None:
        """A failed CREATE INDEX CONCURRENTLY leaves an invalid index that IF NOT EXISTS would take for done."""
        leftover = settle(self.conn, statement.sql)
        if leftover.repair:
            self._repair(leftover.repair, "removing what the failed statement left")

    def _repair(self, statement: str, doing: str) -> None:
        """It may not run in a transaction, so the proof is sent before it."""
        self.conn.execute(self._fence())
        self.note(f"{doing}: {statement}")
        self.conn.execute(statement)

    def _already_done(self, migration: Migration, statement: Statement) -> bool:
        """Did an interrupted statement take effect? Repairs what it left; raises DOD262 when nobody can tell."""
        leftover: Leftover = settle(self.conn, statement.sql)
        if leftover.repair:
            self._repair(leftover.repair, f"{migration.path}: removing what an interrupted statement left")
        if leftover.verdict == "unclear":
            code = codes.OUTCOME_UNCLEAR
            message = f"{migration.path}:{statement.line}, statement {self.index + 1} was interrupted"
            fix = code.fix.en.replace("VERSION", migration.id).replace(" N ", f" {self.index + 1} ")
            raise DodaiError(code, message, fix, exit_code=4)
        return leftover.verdict == "done"

    def _progress(
        self, migration: Migration, event: Event, statement: Statement, state: str = "", where: str = "", note: str = ""
    ) -> str:
        checksum = statement_checksum(statement)
        number = self.index + 1
        return log_sql(
            self.ledger, self.run, migration, self.direction, event,
            statement=number, checksum=checksum, sqlstate=state or None, where=where, note=note or None,
        )  # fmt: skip

    def _log(self, migration: Migration, event: Event, statement: Statement, state: str = "") -> None:
        self.conn.execute(self._fence(until_commit=True) + self._progress(migration, event, statement, state))
