"""Apply and undo migrations on one database, one runner at a time, with a ledger that is true whatever happens."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TypeVar

from dodai.core.errors import DodaiError
from dodai.migrations import codes, fence, ledger
from dodai.migrations.apply.file import Runner, StoppedError, statement_checksum
from dodai.migrations.apply.guard import check_connection, lock_holder, only_runner
from dodai.migrations.apply.outcome import GONE_STATES, Account, Applied, Failed, Ran, between_files
from dodai.migrations.apply.pending import Pending, edited, pending, transaction_control
from dodai.migrations.apply.status import Entry, Status, status
from dodai.migrations.apply.watch import BlockerWatch
from dodai.migrations.migration import Direction, Migration
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Author, Connect, Connection, is_database_error, server_message, sqlstate

__all__ = [
    "Account",
    "Applied",
    "BlockerWatch",
    "Entry",
    "Ran",
    "Runner",
    "Status",
    "apply_all",
    "check_connection",
    "down",
    "edited",
    "lock_holder",
    "only_runner",
    "pending",
    "readable",
    "statement_checksum",
    "status",
    "transaction_control",
    "up",
]

T = TypeVar("T")
Note = Callable[[str], None]
SchemaHash = Callable[[Connection], str]


def up(
    conn: Connection,
    migrations: Sequence[Migration],
    policy: MigrationsPolicy,
    *,
    run: str,
    author: Callable[[], Author] = Author,
    connect: Connect | None = None,
    schema_hash: SchemaHash | None = None,
    token: int | None = None,
    allow_missing: bool = False,
    note: Note = lambda _: None,
) -> Applied:
    """Apply what is pending, in order, and say what was done; a second call does nothing.

    `run` is a new id for the log. `connect` opens a second connection to the same database, for naming who blocks.
    `token` is that of the lease this runs under: each transaction proves in itself that no newer one was granted.
    Raises DOD250-254, DOD258, DOD259 (refused, nothing changed), DOD280-283 (failed; details say what was done), DOD351
    (exit 75) under a token that was replaced.
    """
    conn.autocommit = True
    check_connection(conn, policy, connect, note)
    before = readable(lambda: ledger.read(conn, policy))
    first = pending(migrations, before, allow_missing=allow_missing)
    if not first.migrations and not first.unrecorded and before.ledger.present and before.ledger.side_present:
        return Applied(run, already=len(before.ids), notes=_notes(first))
    if token is not None:
        readable(lambda: fence.enter(conn, before.ledger.name, token))
    account = Account()
    with _coded(conn, account), only_runner(conn, policy, note):
        state = _prepared(conn, policy, token)
        todo = pending(migrations, state, allow_missing=allow_missing)
        if not todo.migrations and not todo.unrecorded:
            return Applied(run, already=len(state.ids), notes=_notes(todo))
        hashes = schema_hash or (lambda _: "")
        ledger.begin_run(conn, run, "up", state.ledger, author(), hashes(conn))
        _record_known(conn, run, todo.unrecorded)
        runner = replace(_runner(conn, state, policy, run, connect, note, "up"), token=token)
        ran = apply_all(runner, todo.migrations, account)
        conn.execute("RESET ALL; RESET ROLE")
        after = hashes(conn)
        ledger.finish_run(conn, run, "done", after)
        return Applied(run, tuple(ran), len(state.ids), _notes(todo), schema_after=after)


def down(
    conn: Connection,
    migrations: Sequence[Migration],
    policy: MigrationsPolicy,
    *,
    run: str,
    count: int = 1,
    to: str = "",
    author: Callable[[], Author] = Author,
    connect: Connect | None = None,
    schema_hash: SchemaHash | None = None,
    note: Note = lambda _: None,
) -> Applied:
    """Undo the last `count` applied migrations, newest first, or all after version `to`; refused without a Down.

    Raises DOD256 when one of them has no way down (nothing is undone then), DOD285 when one fails.
    """
    conn.autocommit = True
    check_connection(conn, policy, connect, note)
    account = Account()
    with _coded(conn, account), only_runner(conn, policy, note):
        state = _prepared(conn, policy)
        chosen = _chosen(migrations, state, count, to)
        if not chosen:
            return Applied(run, already=len(state.ids), direction="down")
        hashes = schema_hash or (lambda _: "")
        ledger.begin_run(conn, run, "down", state.ledger, author(), hashes(conn))
        ran = apply_all(_runner(conn, state, policy, run, connect, note, "down"), chosen, account)
        conn.execute("RESET ALL; RESET ROLE")
        after = hashes(conn)
        ledger.finish_run(conn, run, "done", after)
        return Applied(run, tuple(ran), len(state.ids), direction="down", schema_after=after)


def apply_all(runner: Runner, todo: Sequence[Migration], account: Account | None = None) -> list[Ran]:
    """Each of `todo` in turn; the failure of one stops the rest, is written to the log and raised as DOD28x.

    `account` has what went through, also after a failure.
    """
    account = account if account is not None else Account()
    account.pending = list(todo)
    with runner.watch:
        for migration in todo:
            account.pending.pop(0)
            try:
                account.ran.append(runner.apply(migration))
            except StoppedError as stopped:
                partly = not migration.transactional and _something_done(runner, migration)
                failed = replace(stopped.failed, partly=partly)
                error = failed.error_for(account)
                _write_down(runner, failed, error)
                raise error from stopped.failed.error
            except DodaiError:
                _outcome(runner, "refused")
                raise
            except BaseException:
                _outcome(runner, "interrupted")
                raise
    return account.ran


def _something_done(runner: Runner, migration: Migration) -> bool:
    if runner.conn.closed:
        return True
    return bool(ledger.progress(runner.conn, runner.ledger, migration.id, runner.direction).done)


def _write_down(runner: Runner, failed: Failed, error: DodaiError) -> None:
    """The failure in the log, in a transaction of its own; a server that is gone keeps what it had."""
    if runner.conn.closed:
        return
    state = sqlstate(failed.error)
    note = failed.said.replace("\0", "")
    row = ledger.log_sql(
        runner.run, failed.migration, failed.direction, "failed",
        statement=failed.index + 1 if failed.statement else None, lock_wait_ms=runner.waited_s * 1000,
        retries=runner.retries, sqlstate=state or None, note=note,
    )  # fmt: skip
    _best_effort(runner, "RESET ALL; RESET ROLE; " + row)
    _outcome(runner, error.code.id)


def _outcome(runner: Runner, outcome: str) -> None:
    if runner.conn.closed:
        return
    _best_effort(runner, "ROLLBACK" if runner.conn.info.transaction_status else "SELECT 1")
    try:
        ledger.finish_run(runner.conn, runner.run, outcome)
    except Exception as error:
        if not is_database_error(error):
            raise


def _best_effort(runner: Runner, script: str) -> None:
    """What already failed must not be hidden by a second failure while writing it down."""
    try:
        runner.conn.execute(script)
    except Exception as error:
        if not is_database_error(error):
            raise
        runner.note(f"could not be logged: {server_message(error)}")


def _runner(
    conn: Connection,
    state: ledger.State,
    policy: MigrationsPolicy,
    run: str,
    connect: Connect | None,
    note: Note,
    direction: Direction,
) -> Runner:
    watch = BlockerWatch(connect, conn.info.backend_pid, policy.lock_timeout_s)
    return Runner(conn, state.ledger, policy, run, watch, note, direction)


def _prepared(conn: Connection, policy: MigrationsPolicy, token: int | None = None) -> ledger.State:
    """The state under the lock, ledger and side tables made where they were missing (DOD284 when they cannot be)."""

    def make() -> ledger.State:
        place = ledger.locate(conn, policy)
        if not place.present or not place.side_present:
            ledger.create(conn, place, fence.check_sql(place.name, token, until_commit=True) if token else "")
        return ledger.read(conn, policy)

    return readable(make)


@contextmanager
def _coded(conn: Connection, account: Account) -> Iterator[None]:
    """What the database says between two files, where no statement of theirs is to blame."""
    try:
        yield
    except Exception as error:
        if not is_database_error(error):
            raise
        raise between_files(error, account, lost=conn.closed) from error


def readable(read: Callable[[], T]) -> T:
    """What `read` returns; a database that does not let us use our tables is DOD284, one that is gone DOD282."""
    try:
        return read()
    except Exception as error:
        if not is_database_error(error):
            raise
        raise between_files(error, Account(), lost=not sqlstate(error) or sqlstate(error) in GONE_STATES) from error


def _record_known(conn: Connection, run: str, known: Sequence[Migration]) -> None:
    """Files that goose applied before us: what they say now is what later edits are measured against."""
    rows = [ledger.log_sql(run, migration, "up", "recorded") for migration in known]
    if rows:
        conn.execute("BEGIN;" + "".join(rows) + "COMMIT;")


def _chosen(migrations: Sequence[Migration], state: ledger.State, count: int, to: str) -> list[Migration]:
    files = {m.id: m for m in migrations}
    applied = list(reversed(state.ids))
    if to and to != "0" and to not in applied:
        message = f"`{to}` is not an applied version"
        raise DodaiError(codes.DOWN_REFUSED, message, "see `dodai migrate status`", exit_code=1)
    ids = applied[: applied.index(to) if to in applied else len(applied)] if to else applied[:count]
    for id_ in ids:
        if id_ not in files:
            message = f"`{id_}` is applied, but its file is not there"
            raise DodaiError(codes.REFUSED_MISSING, message, codes.REFUSED_MISSING.fix.en, exit_code=1)
        if not files[id_].reversible:
            reason = files[id_].irreversible or "it has no Down section"
            message = f"`{files[id_].path}` cannot be undone: {reason}"
            raise DodaiError(codes.DOWN_REFUSED, message, "write a new migration instead", exit_code=1)
    return [files[id_] for id_ in ids]


def _notes(todo: Pending) -> tuple[str, ...]:
    if not todo.newer:
        return ()
    named = ", ".join(todo.newer[:5])
    return (f"the database is ahead of these files: {named} applied by a newer release",)
