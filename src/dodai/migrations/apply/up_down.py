"""`up` and `down`: the whole run on one connection. What a run without work does not need is loaded behind it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.migrations import codes, ledger
from dodai.migrations.apply.applied import Applied
from dodai.migrations.apply.pending_files import Pending, pending, up_to
from dodai.migrations.apply.preconditions import check_connection, only_runner, readable, refuse_unmanaged
from dodai.migrations.migration import Migration
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Author, Connect, Process, SqlConnection, Tool, Worker, is_database_error

if TYPE_CHECKING:
    from dodai.migrations.apply.failure_report import Account

Note = Callable[[str], None]
SchemaHash = Callable[[SqlConnection], str]


def up(
    conn: SqlConnection,
    migrations: Sequence[Migration],
    policy: MigrationsPolicy,
    *,
    run: str,
    author: Callable[[], Author] = Author,
    connect: Connect | None = None,
    schema_hash: SchemaHash | None = None,
    token: int | None = None,
    allow_missing: bool = False,
    beside_tables: bool = False,
    to: str = "",
    note: Note = lambda _: None,
    tool: Tool | None = None,
    opened: Callable[[Process], None] = lambda _: None,
    worker: Worker | None = None,
) -> Applied:
    """Apply what is pending, in order, and say what was done; a second call does nothing.

    `run` is a new id for the log. `connect` opens a second connection to the same database, for naming who blocks.
    `beside_tables` says that tables which no ledger accounts for are somebody else's. `to` is the last version to
    apply. `token` is that of the lease this runs under: each transaction proves in itself that none newer was granted.
    `tool` runs the migrations that are not SQL files; `opened` gets each process of it but `worker`, which runs.
    Raises DOD067, DOD066, DOD250, DOD252-254, DOD259, DOD265-266 (refused, nothing changed), DOD280-283 (failed;
    details say what was done), DOD351 (exit 75) under a token that was replaced.
    """
    conn.autocommit = True
    check_connection(conn, policy, connect, note)
    before = readable(lambda: ledger.read(conn, policy, tool))
    first = up_to(pending(migrations, before, allow_missing=allow_missing), to, before)
    if not first.migrations and not first.unrecorded and not _unsettled(conn, before):
        return Applied(run, already=len(before.ids), notes=_notes(first))
    from dodai.migrations.apply.batch import apply_all, runner_of
    from dodai.migrations.apply.failure_report import Account

    if token is not None:
        from dodai.migrations import fence

        readable(lambda: fence.enter(conn, before.ledger.side, before.ledger.name, token))
    account = Account("up")
    with _coded(conn, account, policy, tool), only_runner(conn, policy, note):
        # Under the lock: another runner may just have made ledger and tables.
        state = _prepared(conn, policy, tool, token, refuse=() if beside_tables else (refuse_unmanaged,))
        todo = up_to(pending(migrations, state, allow_missing=allow_missing), to, state)
        unsettled = bool(todo.unrecorded) or _unsettled(conn, state)
        if not todo.migrations and not unsettled:
            return Applied(run, already=len(state.ids), notes=_notes(todo))
        hashes = schema_hash or (lambda _: "")
        ledger.begin_run(conn, run, "up", state.ledger, author(), hashes(conn))
        runner = runner_of(conn, state, policy, run, connect, note, "up", token, opened, worker)
        if tool is None:
            _record_known(conn, state, run, todo.unrecorded)
        ran = apply_all(runner, todo.migrations, account, settle=unsettled and not todo.migrations)
        if tool is not None:
            _record_known(conn, state, run, todo.unrecorded)
        conn.execute("RESET ALL; RESET ROLE")
        after = hashes(conn)
        ledger.finish_run(conn, state.ledger, run, "done", after)
        return Applied(run, tuple(ran), len(state.ids), (*_notes(todo), *runner.notes), schema_after=after)


def down(
    conn: SqlConnection,
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
    tool: Tool | None = None,
) -> Applied:
    """Undo the last `count` applied migrations, newest first, or all after version `to`; refused without a Down.

    Raises DOD256 when one of them has no way down (nothing is undone then), DOD285 when one fails.
    """
    from dodai.migrations.apply.batch import apply_all, runner_of
    from dodai.migrations.apply.failure_report import Account

    conn.autocommit = True
    check_connection(conn, policy, connect, note)
    account = Account("down")
    with _coded(conn, account, policy, tool), only_runner(conn, policy, note):
        state = _prepared(conn, policy, tool)
        chosen = _chosen(migrations, state, count, to)
        if not chosen:
            return Applied(run, already=len(state.ids), direction="down")
        hashes = schema_hash or (lambda _: "")
        ledger.begin_run(conn, run, "down", state.ledger, author(), hashes(conn))
        runner = runner_of(conn, state, policy, run, connect, note, "down")
        ran = apply_all(runner, chosen, account)
        conn.execute("RESET ALL; RESET ROLE")
        after = hashes(conn)
        ledger.finish_run(conn, state.ledger, run, "done", after)
        return Applied(run, tuple(ran), len(state.ids), tuple(runner.notes), direction="down", schema_after=after)


def _unsettled(conn: SqlConnection, state: ledger.State) -> bool:
    """Whether there is work without a pending file: tables to make, or what a tool does behind its last migration.

    A run that was killed may have left that undone.
    """
    if not state.ledger.present or not state.ledger.side_present:
        return True
    return state.ledger.tool is not None and readable(lambda: ledger.left_open(conn, state.ledger))


@contextmanager
def _coded(conn: SqlConnection, account: Account, policy: MigrationsPolicy, tool: Tool | None) -> Iterator[None]:
    """What no statement of a file is to blame for becomes a coded error: the database between two files, a signal."""
    try:
        yield
    except KeyboardInterrupt as stop:
        from dodai.migrations.apply.failure_report import interrupted

        raise interrupted(stop, account, _recorded(conn, policy, tool)) from None
    except Exception as error:
        if not is_database_error(error):
            raise
        from dodai.migrations.apply.failure_report import between_files

        raise between_files(error, account, lost=conn.closed) from error


def _recorded(conn: SqlConnection, policy: MigrationsPolicy, tool: Tool | None) -> tuple[str, ...] | None:
    """What is applied by the ledger; None when it does not answer any more."""
    try:
        return ledger.read(conn, policy, tool).ids
    except Exception as error:
        if not is_database_error(error):
            raise
        return None


def _prepared(
    conn: SqlConnection,
    policy: MigrationsPolicy,
    tool: Tool | None,
    token: int | None = None,
    refuse: Sequence[Callable[[SqlConnection], None]] = (),
) -> ledger.State:
    """The state under the lock, ledger and side tables made where they were missing (DOD284 when they cannot be).

    `refuse` looks at a database that has neither, and may raise.
    """

    def make() -> ledger.State:
        place = ledger.locate(conn, policy, tool)
        if not place.present and not place.side_present:
            for look in refuse:
                look(conn)
        if not place.present or not place.side_present:
            ledger.create(conn, place, _guard(place, token))
        return ledger.read(conn, policy, tool)

    return readable(make)


def _guard(place: ledger.Ledger, token: int | None) -> str:
    if token is None:
        return ""
    from dodai.migrations import fence

    return fence.check_sql(place, token, until_commit=True)


def _record_known(conn: SqlConnection, state: ledger.State, run: str, known: Sequence[Migration]) -> None:
    """Files that goose applied before us: what they say now is what later edits are measured against."""
    rows = [ledger.log_sql(state.ledger, run, migration, "up", "recorded") for migration in known]
    if rows:
        conn.execute("BEGIN;" + "".join(rows) + "COMMIT;")


def _chosen(migrations: Sequence[Migration], state: ledger.State, count: int, to: str) -> list[Migration]:
    files = {m.id: m for m in migrations}
    applied = list(reversed(state.ids))
    if to and to != "0" and to not in applied:
        message = f"`{to}` is not an applied version"
        raise DodaiError(codes.DOWN_REFUSED, message, f"see `{proposal.MIGRATE_STATUS()}`", exit_code=1)
    ids = applied[: applied.index(to) if to in applied else len(applied)] if to else applied[:count]
    for id_ in ids:
        if id_ not in files:
            message = f"`{id_}` is applied, but its file is not there"
            raise DodaiError(codes.REFUSED_MISSING, message, codes.REFUSED_MISSING.fix.en, exit_code=1)
        if not files[id_].reversible:
            reason = files[id_].irreversible or "it has no way down"
            message = f"`{files[id_].path}` cannot be undone: {reason}"
            raise DodaiError(codes.DOWN_REFUSED, message, "write a new migration instead", exit_code=1)
    return [files[id_] for id_ in ids]


def _notes(todo: Pending) -> tuple[str, ...]:
    if not todo.newer:
        return ()
    named = ", ".join(todo.newer[:5])
    return (f"the database is ahead of these files: {named} applied by a newer release",)
