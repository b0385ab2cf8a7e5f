"""The files of one run, one after the other, and what is written down when one of them does not go through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace

from dodai.core.errors import DodaiError
from dodai.migrations import ledger
from dodai.migrations.apply.applied import Ran
from dodai.migrations.apply.blocker_watch import BlockerWatch
from dodai.migrations.apply.failure_report import Account, Failed
from dodai.migrations.apply.file import Runner, StoppedError
from dodai.migrations.migration import Direction, Migration
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Connect, Process, SqlConnection, Worker, is_database_error, server_message, sqlstate


def runner_of(
    conn: SqlConnection,
    state: ledger.State,
    policy: MigrationsPolicy,
    run: str,
    connect: Connect | None,
    note: Callable[[str], None],
    direction: Direction,
    token: int | None = None,
    opened: Callable[[Process], None] = lambda _: None,
    worker: Worker | None = None,
) -> Runner:
    """What runs each file of one run, with a watch on who stands in its way; `opened` gets the processes it starts.

    `worker` is the tool of the history where it is at work already.
    """
    tool = state.ledger.tool
    watch = BlockerWatch(connect, conn.info.backend_pid, policy.lock_timeout_s, agent=tool is not None)
    if tool:
        from dodai.migrations.apply.external import ExternalRunner

        return ExternalRunner(
            conn, state.ledger, policy, run, watch, note, direction, token, opened=opened, worker=worker
        )
    return Runner(conn, state.ledger, policy, run, watch, note, direction, token)


def apply_all(
    runner: Runner, todo: Sequence[Migration], account: Account | None = None, *, settle: bool = False
) -> list[Ran]:
    """Each of `todo` in turn; the failure of one stops the rest, is written to the log and raised as DOD28x.

    `account` has what went through, also after a failure. With `settle` the tool of the history does what it does
    behind its last migration, which a run before this one may not have come to.
    """
    account = account if account is not None else Account(runner.direction)
    account.pending = list(todo)
    with runner.watch, closing(runner):
        todo = runner.planned(todo)
        account.pending = list(todo)
        for migration in todo:
            account.now = account.pending.pop(0)
            try:
                account.ran.append(runner.apply(migration))
                account.now = None
            except StoppedError as stopped:
                failed = replace(stopped.failed, partly=runner.something_done(migration))
                error = failed.error_for(account)
                _write_down(runner, failed, error)
                raise error from stopped.failed.error
            except DodaiError:
                _outcome(runner, "refused")
                raise
            except BaseException:
                _outcome(runner, "interrupted")
                raise
        runner.finish(settle=settle)
    return account.ran


def _write_down(runner: Runner, failed: Failed, error: DodaiError) -> None:
    """The failure in the log, in a transaction of its own; a server that is gone keeps what it had."""
    if runner.conn.closed:
        return
    state = sqlstate(failed.error)
    note = failed.said.replace("\0", "")
    row = ledger.log_sql(
        runner.ledger, runner.run, failed.migration, failed.direction, "failed",
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
        ledger.finish_run(runner.conn, runner.ledger, runner.run, outcome)
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
