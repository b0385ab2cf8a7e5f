"""What a failure is called, and what it says was done."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import field

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError, Fault
from dodai.migrations import codes
from dodai.migrations.apply.applied import Ran
from dodai.migrations.apply.blocker_watch import Blocker
from dodai.migrations.fence import FENCED, lock_lost
from dodai.migrations.migration import Direction, Migration, Statement
from dodai.migrations.ports import error_line, server_message, sqlstate

LOCK_STATES = ("55P03", "40P01")
"""lock_not_available and deadlock_detected: the file did nothing wrong and may try again."""
NEEDS_AUTOCOMMIT = ("25001", "2D000", "0A000")
"""The statement cannot run inside a transaction block, ends one itself, or is not supported there."""
GONE_STATES = ("57P01", "57P02", "57P03", "08006", "08003")
"""The server ended the session, or ended itself."""
_SQLSTATE_FULL = ("53100", "53200")
"""Its disk or its memory is full: the file did nothing wrong."""
_LOCKED_LEDGER = "see who has it in `pg_locks`, wait for that session or end it, then run the same command again"
_ONE_TRANSACTION = "put the statement into a migration with a version: a repeatable file is one transaction"
_MAKE_ROOM = "make room on the database server, then run the same command again"


def cure(state: str, migration: Migration) -> str:
    """What helps where the statement itself is right and only stands in the wrong transaction; "" elsewhere."""
    if state == "25001":
        from dodai.migrations.format_words import WORDS  # what a run that goes well does not load

        return _ONE_TRANSACTION if migration.repeatable else WORDS[migration.layout].alone
    return "use the new label in a later migration: it can be used once it is committed" if state == "55P04" else ""


@dataclass(slots=True)
class Account:
    """What has happened so far in a run, for the message when it stops."""

    direction: Direction = "up"
    ran: list[Ran] = field(default_factory=list)
    now: Migration | None = None
    pending: list[Migration] = field(default_factory=list)

    def lines(self, undone: str) -> tuple[str, ...]:
        done = [ran.migration.path for ran in self.ran]
        left = [migration.path for migration in self.pending]
        verb = "applied and recorded" if self.direction == "up" else "undone and recorded"
        return (
            f"{verb} by this run: {_listed(done)}",
            undone,
            f"not touched: {_listed(left)}",
        )


def _listed(paths: Sequence[str]) -> str:
    if len(paths) <= 6:
        return ", ".join(paths) or "nothing"
    return f"{', '.join(paths[:5])} and {len(paths) - 5} more"


@dataclass(frozen=True, slots=True)
class Failed:
    """Where a run stopped. `index` counts statements from 0; `partly` is true when earlier ones stay in effect.

    `opening` is how many characters were sent before the statement, which the server counts in its positions.
    """

    migration: Migration
    direction: Direction
    index: int
    error: Exception
    lost: bool
    partly: bool
    blockers: tuple[Blocker, ...] = ()
    waited_s: float = 0.0
    opening: int = 0

    @property
    def statement(self) -> Statement | None:
        found = self.migration.statements(self.direction)
        return found[self.index] if self.index < len(found) else None

    @property
    def line(self) -> int:
        """The line of the file that the server's error position points to, else the statement's first."""
        if self.statement is None:
            return 0
        return error_line(self.error, self.statement, self.opening)

    @property
    def said(self) -> str:
        """The server's words, except where they may quote a value that ENVSUB put into the statement."""
        return "failed (its text is hidden: ENVSUB)" if self.migration.hides_text else server_message(self.error)

    @property
    def place(self) -> str:
        known = self.migration.statements(self.direction)
        which = f", statement {self.index + 1}" if self.statement else ", at its commit" if known else ""
        path = self.migration.path_of(self.direction)
        return f"{path}{f':{self.line}' if self.line else ''}{which}"

    def error_for(self, account: Account) -> DodaiError:
        """The coded error, with what was done, what was undone and what remains."""
        code, fault = self._code()
        said = self.said
        state = sqlstate(self.error)
        message = f"{self.place}: {said}" + (f" (SQLSTATE `{state}`)" if state else "")
        if self.waited_s:
            message += f"; it tried for {self.waited_s:.1f} s"
        details = list(account.lines(self._undone()))
        details[1:1] = [f"waited for {blocker}" for blocker in self.blockers]
        text = self.statement.sql if self.statement else str(getattr(self.error, "statement", ""))
        if text and not self.migration.hides_text:
            details.insert(0, f"statement: `{_short(text)}`")
        data = {
            "migration": self.migration.id,
            "path": self.migration.path_of(self.direction),
            "line": self.line,
            "statement": self.index + 1,
            "sqlstate": state or None,
            "applied": [ran.migration.id for ran in account.ran],
            "pending": [migration.id for migration in account.pending],
        }
        fix = _MAKE_ROOM if state in _SQLSTATE_FULL else cure(state, self.migration) or code.fix.en
        return DodaiError(code, message, fix, fault, self._exit_code(), tuple(details), data)

    def _exit_code(self) -> int:
        if sqlstate(self.error) == FENCED:
            return 75
        return 4 if self.partly or self.lost else 3

    def _code(self) -> tuple[Code, Fault]:
        state = sqlstate(self.error)
        if self.lost:
            return codes.CONNECTION_LOST, "provider"
        if state == FENCED:
            return lock_lost(), "user"
        if state == "25006":
            return codes.READ_ONLY, "user"
        if state in LOCK_STATES:
            return codes.LOCK_TIMEOUT, "provider"
        if self.partly:
            return codes.PARTLY_APPLIED, "user"
        if self.direction == "down":
            return codes.DOWN_FAILED, "user"
        return codes.FAILED, "provider" if state in _SQLSTATE_FULL else "user"

    def _undone(self) -> str:
        if self.lost and self.migration.transactional:
            return f"{self.migration.path}: the ledger says whether its transaction was committed"
        if self.partly:
            done = f"statements 1 to {self.index}" if self.index > 1 else "statement 1"
            return f"{self.migration.path}: {done} stay in effect, this one does not"
        return f"rolled back: {self.migration.path}"


def between_files(error: Exception, account: Account, *, lost: bool) -> DodaiError:
    """What a failure outside any file is called: the holder was replaced, the server is gone, the ledger is closed."""
    said, state = server_message(error), sqlstate(error)
    details = account.lines("nothing else was changed") if account.ran else ()
    if state == FENCED:
        return DodaiError(lock_lost(), said, lock_lost().fix.en, exit_code=75, details=details)
    if lost:
        code = codes.CONNECTION_LOST
        place = "between two files" if account.ran or account.pending else "outside of any file"
        return DodaiError(code, f"{place}: {said}", code.fix.en, "provider", 4, details)
    if state in LOCK_STATES:
        message = f"somebody has the ledger locked: {said} (SQLSTATE `{state}`)"
        return DodaiError(codes.LOCK_TIMEOUT, message, _LOCKED_LEDGER, "provider", 3, details)
    message = f"the ledger cannot be used: {said} (SQLSTATE `{state}`)"
    fault: Fault = "provider" if state in _SQLSTATE_FULL else "user"
    return DodaiError(codes.LEDGER_UNUSABLE, message, codes.LEDGER_UNUSABLE.fix.en, fault, 3, details)


def interrupted(stop: KeyboardInterrupt, account: Account, applied: Collection[str] | None) -> DodaiError:
    """What a signal came to; `applied` are the ids that the ledger has afterwards, None when it cannot be asked.

    The exit code is the one that `stop` carries, else that of SIGINT.
    """
    now, exit_code = account.now, stop.args[0] if stop.args else 130
    undone = "nothing else was changed" if now is None else _left_by_a_signal(now, account.direction, applied)
    message = f"interrupted by {'SIGINT' if exit_code == 130 else 'a signal'}" + (f" at {now.path}" if now else "")
    fix = codes.INTERRUPTED.fix.en
    return DodaiError(codes.INTERRUPTED, message, fix, exit_code=exit_code, details=account.lines(undone))


def _left_by_a_signal(migration: Migration, direction: Direction, applied: Collection[str] | None) -> str:
    if applied is None:
        return f"{migration.path}: `{proposal.MIGRATE_STATUS()}` tells whether it was committed"
    if (migration.id in applied) == (direction == "up"):
        return f"{migration.path}: it was committed and recorded before the signal came"
    if migration.transactional:
        return f"rolled back: {migration.path}"
    return f"{migration.path}: its finished statements stay in effect, and the next run goes on behind them"


def _short(sql: str) -> str:
    one_line = " ".join(sql.split())
    return one_line if len(one_line) <= 160 else one_line[:157] + "..."
