"""A holder that was replaced changes nothing in the database any more, wherever it was paused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import psycopg
import pytest
from psycopg import conninfo
from psycopg.conninfo import make_conninfo
from tests.migrations.conftest import NO_TX, direct, up

from dodai.core.errors import DodaiError
from dodai.migrations import fence, run
from dodai.migrations.ports import MigrationTarget, url_of
from dodai.migrations.snapshot import snapshot
from dodai.providers.postgres.cluster import Cluster, throw_away
from dodai.providers.postgres.control import ControlConnection, PostgresLease

Make = Callable[..., MigrationTarget]
LEDGER = '"public"."goose_db_version"'
ONE = {
    "1_a.sql": up("CREATE TABLE event (who text);", "INSERT INTO event VALUES ('1');", "CREATE TABLE a (b int);"),
    "2_b.sql": up("INSERT INTO event VALUES ('2');", "ALTER TABLE a ADD COLUMN c int;"),
}
PIECES = {
    "1_a.sql": up("CREATE TABLE event (who text);"),
    "2_no.sql": up(
        "INSERT INTO event VALUES ('2');", "CREATE INDEX CONCURRENTLY event_who ON event (who);",
        "INSERT INTO event VALUES ('3');", head=NO_TX,
    ),
}  # fmt: skip


@dataclass
class Pausing:
    """A connection that stops before it sends its nth statement, until it is woken."""

    inner: Any
    stop_at: int
    sent: list[str] = field(default_factory=list)
    reached: threading.Event = field(default_factory=threading.Event)
    wake: threading.Event = field(default_factory=threading.Event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "autocommit":
            self.inner.autocommit = value
        else:
            object.__setattr__(self, name, value)

    def execute(self, query: str, params: Any = None, **options: Any) -> Any:
        self.sent.append(query)
        if len(self.sent) == self.stop_at:
            self.reached.set()
            assert self.wake.wait(60)
        return self.inner.execute(query, params, **options)


@dataclass
class Holder:
    """A run of `up` under a token, in a thread, stopped before statement `stop_at`."""

    target: MigrationTarget
    token: int
    stop_at: int
    ended: Any = None
    conn: Pausing = field(init=False)

    def __post_init__(self) -> None:
        self.conn = Pausing(self.target.connect(), self.stop_at)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            # Only the first connection is paused: the one that names blockers is not of interest.
            conns = iter([self.conn])
            connect = self.target.connect
            self.ended = run.up(replace(self.target, connect=lambda: next(conns, None) or connect()), token=self.token)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what the holder ended with
            self.ended = error
        finally:
            self.conn.reached.set()

    def paused(self) -> bool:
        """False when it got to its end before."""
        assert self.conn.reached.wait(60)
        return self.ended is None and len(self.conn.sent) == self.stop_at

    def wakes(self) -> Any:
        self.conn.wake.set()
        self.thread.join(60)
        assert not self.thread.is_alive()
        return self.ended


@pytest.fixture
def fresh(postgres: Cluster, make_target: Make) -> Callable[[dict[str, str], int], MigrationTarget]:
    """The same files over a new empty database each time."""

    def make(files: dict[str, str], number: int) -> MigrationTarget:
        name = f"fence_{number}_{id(make)}"
        dsn = postgres.create_database(name)
        names.append(name)
        return replace(make_target(files), connect=lambda: direct(dsn))

    names: list[str] = []
    yield make
    for name in names:
        postgres.drop_database(name)


def state(target: MigrationTarget) -> dict[str, Any]:
    """The schema, the rows and the ledger; and under which runs the log says that files were applied."""
    conn = target.connect()
    try:
        conn.autocommit = True
        there = conn.execute("SELECT to_regclass('event') IS NOT NULL, to_regclass('goose_db_version') IS NOT NULL")
        event, ledger = there.fetchone()
        return {
            "schema": snapshot(conn).lines,
            "rows": conn.execute("SELECT who FROM event ORDER BY who").fetchall() if event else [],
            "versions": conn.execute(
                "SELECT version_id FROM goose_db_version WHERE version_id > 0 ORDER BY id"
            ).fetchall() if ledger else [],
        }  # fmt: skip
    finally:
        conn.close()


def refuse_older(target: MigrationTarget, token: int) -> None:
    """The grant of `token` to a role that may not end the sessions of others: only the check is left."""
    conn = target.connect()
    try:
        conn.autocommit = True
        conn.execute("DROP ROLE IF EXISTS newcomer; CREATE ROLE newcomer; GRANT USAGE ON SCHEMA dodai TO newcomer")
        conn.execute("GRANT ALL ON dodai.migration_fence TO newcomer; SET ROLE newcomer")
        fence.advance(conn, "dodai", LEDGER, token)
        conn.execute("RESET ROLE; REVOKE ALL ON dodai.migration_fence FROM newcomer")
        conn.execute("REVOKE ALL ON SCHEMA dodai FROM newcomer; DROP ROLE newcomer")
    finally:
        conn.close()


def sent_by(fresh: Any, files: dict[str, str]) -> list[str]:
    """What a run that nobody disturbs sends, one by one."""
    target = fresh(files, 0)
    run.announce(target, 7)
    holder = Holder(target, 7, 0)
    holder.wakes()
    assert holder.ended.changed
    return holder.conn.sent


def points(fresh: Any, files: dict[str, str]) -> range:
    """The numbers of the statements from the one that takes the migration lock on."""
    sent = sent_by(fresh, files)
    return range(1 + next(n for n, query in enumerate(sent) if "pg_try_advisory_lock" in query), len(sent) + 1)


def test_a_replaced_holder_paused_before_any_statement_commits_nothing_more(fresh: Any):
    """Before BEGIN, between statements and before COMMIT: what was committed by then stays, and nothing is added."""
    seen = list[int]()
    for number in points(fresh, ONE):
        target = fresh(ONE, number)
        run.announce(target, 7)
        holder = Holder(target, 7, number)
        assert holder.paused(), number
        refuse_older(target, 8)
        before = state(target)
        ended = holder.wakes()
        if isinstance(ended, DodaiError):
            assert (ended.code.id, ended.exit_code) == ("DOD351", 75), (number, ended)
            assert state(target) == before, number
            seen.append(number)
        else:  # the last file was committed, only the record of the run was left to write
            assert [ran.migration.id for ran in ended.ran] == ["1", "2"]
            assert state(target) == before, number
    assert len(seen) > 8


def test_a_replaced_holder_says_what_it_had_done_and_what_it_undid(fresh: Any):
    """The first file stays, the second is rolled back at its commit, and the journal of the log says so."""
    sent = sent_by(fresh, ONE)
    target = fresh(ONE, 1)
    run.announce(target, 7)
    commit = max(number for number, query in enumerate(sent, start=1) if "COMMIT" in query)
    holder = Holder(target, 7, commit)
    assert holder.paused()
    refuse_older(target, 8)
    error = holder.wakes()
    assert "2_b.sql, at its commit: fencing token 7 was replaced" in error.message
    assert "applied and recorded by this run: db/migrations/1_a.sql" in error.details
    assert "rolled back: db/migrations/2_b.sql" in error.details


def test_outside_a_transaction_the_window_is_one_statement(fresh: Any):
    """A holder paused between the proof and CREATE INDEX CONCURRENTLY builds that index; the ledger never says so."""
    late = list[int]()
    for number in points(fresh, PIECES):
        target = fresh(PIECES, number)
        run.announce(target, 7)
        holder = Holder(target, 7, number)
        assert holder.paused(), number
        refuse_older(target, 8)
        before = state(target)
        ended = holder.wakes()
        after = state(target)
        assert (after["rows"], after["versions"]) == (before["rows"], before["versions"]), number
        if after != before:
            late.append(number)
            assert set(after["schema"]) - set(before["schema"]) == {
                "index CREATE INDEX event_who ON public.event USING btree (who)"
            }
            assert ended.code.id == "DOD351"
    assert len(late) == 1


def test_a_new_holder_ends_the_session_of_the_one_it_replaces(fresh: Any):
    """So that no statement at all is sent late, and the migration lock is free at once."""
    sent = sent_by(fresh, PIECES)
    window = next(n for n, query in enumerate(sent, start=1) if query.startswith("CREATE INDEX CONCURRENTLY"))
    for number in (window, window + 3):
        target = fresh(PIECES, number)
        run.announce(target, 7)
        holder = Holder(target, 7, number)
        assert holder.paused()
        run.announce(target, 8)
        before = state(target)
        assert isinstance(holder.wakes(), DodaiError)
        assert state(target) == before
        assert run.up(target, token=8).changed
        assert state(target)["rows"] == [("2",), ("3",)]


@pytest.fixture(scope="module")
def control() -> Iterator[str]:
    """A control database in a cluster of its own."""
    with throw_away() as cluster:
        yield cluster.dsn()


def test_a_taken_over_lease_of_another_cluster_fences_the_migration(fresh: Any, control: str):
    """The lease runs out, the second operator is granted, migrates, and then the first one wakes up anywhere."""

    def lease(env: str, target: MigrationTarget) -> PostgresLease:
        async def tell(token: int) -> None:
            await asyncio.to_thread(run.announce, target, token)

        return PostgresLease(ControlConnection(control, env), "hana", fence=tell, least=run.newest_token(target))

    wanted = None
    for number in points(fresh, ONE):
        target, env = fresh(ONE, number), f"env{number}"
        first, second = lease(env, target), lease(env, target)
        token = asyncio.run(first.acquire())
        holder = Holder(target, token, number)
        assert holder.paused(), number
        with psycopg.connect(control, autocommit=True) as conn:
            conn.execute("UPDATE dodai.control_lease SET expires_at = clock_timestamp() WHERE env = %s", [env])
        newer = asyncio.run(second.acquire())
        assert newer > token
        run.up(target, token=newer)
        done = state(target)
        wanted = wanted or done
        holder.wakes()
        assert state(target) == done == wanted, number
        for each in (first, second):
            each.session.close()
    assert wanted is not None
    assert wanted["rows"] == [("1",), ("2",)]


def test_tokens_stay_ahead_when_either_database_was_restored(fresh: Any, control: str):
    """The newest of both sides and one more, whichever of them forgot."""
    target = fresh(ONE, 1)
    run.up(target, token=7)
    forgetful = PostgresLease(ControlConnection(control, "restored"), "hana", least=run.newest_token(target))
    assert asyncio.run(forgetful.acquire()) == 8
    conn = target.connect()
    conn.autocommit = True
    conn.execute("DELETE FROM dodai.migration_fence")
    conn.close()
    assert run.newest_token(target) == 0
    asyncio.run(forgetful.release())
    again = PostgresLease(ControlConnection(control, "restored"), "hana", least=run.newest_token(target))
    assert asyncio.run(again.acquire()) == 9
    run.announce(target, 9)
    with pytest.raises(DodaiError) as caught:
        run.announce(target, 8)
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD351", 75)
    for each in (forgetful, again):
        each.session.close()


def test_a_database_restored_below_a_running_holder_is_not_migrated_by_it(fresh: Any):
    """After the restore it knows neither token: the transaction under way proves nothing and is refused."""
    target = fresh(ONE, 1)
    run.announce(target, 7)
    commit = max(n for n, query in enumerate(sent_by(fresh, ONE), start=1) if "COMMIT" in query)
    holder = Holder(target, 7, commit)
    assert holder.paused()
    conn = target.connect()
    conn.autocommit = True
    conn.execute("DELETE FROM dodai.migration_fence")
    conn.close()
    assert holder.wakes().code.id == "DOD351"


def test_a_run_without_a_lease_asks_nothing_of_the_fence(make_target: Make, database: str):
    """`migrate up` by hand holds the migration lock and has no token."""
    run.up(make_target(ONE))
    with psycopg.connect(conninfo.make_conninfo(database)) as conn:
        assert conn.execute("SELECT to_regclass('dodai.migration_fence')").fetchone() == (None,)


def test_a_role_that_may_not_write_the_fence_is_a_coded_error(fresh: Any):
    """Whoever is granted the lock hears DOD284 from the database, not a traceback."""
    target = fresh(ONE, 1)
    conn = target.connect()
    conn.autocommit = True
    conn.execute("DROP ROLE IF EXISTS outsider; CREATE ROLE outsider LOGIN")
    dsn = make_conninfo(url_of(conn), user="outsider", password="")
    outsider = replace(target, connect=lambda: direct(dsn))
    with pytest.raises(DodaiError) as caught:
        run.announce(outsider, 3)
    assert caught.value.code.id == "DOD284"
    conn.execute("DROP ROLE outsider")
    conn.close()


def test_the_table_is_made_once_when_two_grants_meet(fresh: Any):
    """Two first grants at the same time: neither fails on what the other just made."""
    target = fresh(ONE, 1)
    errors: list[Exception] = []
    start = threading.Barrier(6)

    def grant(token: int) -> None:
        start.wait()
        try:
            run.announce(target, token)
        except DodaiError as error:
            if error.code.id != "DOD351":
                errors.append(error)

    threads = [threading.Thread(target=grant, args=(token,)) for token in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert errors == []
    assert run.newest_token(target) == 6
