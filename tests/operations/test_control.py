"""Journal and lock in a control database: durable first there, copied here, and never two holders at once."""

from __future__ import annotations

import asyncio
import os
import resource
from contextlib import ExitStack
from dataclasses import replace

import psycopg
import pytest
from tests.engine.world import Spec, make_plan
from tests.operations.control_place import ControlPlace

from dodai.core.errors import DodaiError
from dodai.engine.execute import execute
from dodai.engine.journal import SqliteJournal
from dodai.providers.postgres.cluster import throw_away
from dodai.providers.postgres.control import PostgresJournal

SPECS = [Spec("a"), Spec("b", ("a",)), Spec("c")]


@pytest.fixture
def place(tmp_path, database):
    made = ControlPlace(tmp_path, database)
    yield made
    made.close()


async def refusal(work):
    with pytest.raises(DodaiError) as caught:
        await work
    return caught.value


def ask(dsn, query, *values):
    with psycopg.connect(dsn, autocommit=True) as connection:
        return connection.execute(query, values or None).fetchall()


async def append(journal, token=1, text="hello"):
    entry = (await journal.history("staging"))[0]
    return await journal.append(entry.plan_id, "note", data={"text": text}, token=token, at="2026-11-23T00:00:00Z")


async def test_plan_runs_and_both_journals_end_with_the_same_head(place):
    """Whatever PostgreSQL has, the copy has too, record by record."""
    outcome = await place.execute(SPECS)
    assert (outcome.exit_code, outcome.state) == (0, "ok")
    with place.journal() as journal:
        head = await journal.verify_chain()
        assert head == await journal.copy.verify_chain()
        assert await journal.events(outcome.plan_id) == await journal.copy.events(outcome.plan_id)
        assert (await journal.history("staging"))[0] == (await journal.copy.history("staging"))[0]


async def test_apply_never_runs_before_its_intent_is_in_postgresql(place):
    """At the moment of the effect the record `applying` can be read by everybody."""
    seen = []
    plan = make_plan([Spec("a")], place.world)
    step = plan.steps[0]

    async def apply(context):
        seen.extend(row[0] for row in ask(place.dsn, "SELECT kind FROM dodai.control_event ORDER BY seq DESC LIMIT 1"))
        await step.apply(context)

    with place.journal() as journal:
        await execute(replace(plan, steps=(replace(step, apply=apply),)), journal, place.lease())
    assert seen == ["applying"]


async def test_records_are_append_only_in_the_database_too(place):
    """Who wants to rewrite history has to break the chain visibly."""
    await place.execute(SPECS)
    with pytest.raises(psycopg.Error, match="append only"):
        ask(place.dsn, "UPDATE dodai.control_event SET kind = 'done' RETURNING seq")
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE dodai.control_event DISABLE TRIGGER ALL")
        connection.execute('UPDATE dodai.control_event SET data = \'{"text":"other"}\' WHERE seq = 3')
    with place.journal() as journal:
        error = await refusal(journal.verify_chain())
    assert (error.code.id, error.exit_code) == ("DOD353", 4)


async def test_truncated_database_is_noticed_by_the_copy_and_shows_both_heads(place):
    """A restore that forgot the last records is never overruled by the longer side."""
    await place.execute(SPECS)
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE dodai.control_event DISABLE TRIGGER ALL")
        connection.execute("DELETE FROM dodai.control_event WHERE seq > 5")
        connection.execute("UPDATE dodai.control_lease SET token = 0")
    error = await refusal(place.execute(SPECS))
    assert (error.code.id, error.exit_code) == ("DOD375", 4)
    assert "control database: record 5, head" in error.details[0]
    assert "copy on this machine: record" in error.details[1]
    assert place.world.effects() == ["+a", "+b", "+c"]


TAIL = "DELETE FROM dodai.control_event WHERE seq > 5"


async def test_tail_that_is_gone_is_noticed_on_a_machine_without_a_copy(place):
    """The head stands in the database once more; a person may still settle on what is there."""
    await place.execute(SPECS)
    with place.journal("second.sqlite") as journal:
        whole = await journal.verify_chain()
        assert ask(place.dsn, "SELECT seq, hash FROM dodai.control_head") == [(whole.seq, whole.hash)]
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE dodai.control_event DISABLE TRIGGER ALL")
        connection.execute(TAIL)
    with place.journal("third.sqlite") as journal:
        error = await refusal(journal.verify_chain())
        assert (error.code.id, error.exit_code) == ("DOD353", 4)
        assert f"record {whole.seq}, which `dodai.control_head` remembers, is not there" in error.message
        journal.trust("database")
        assert (await journal.verify_chain()).seq == 5
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        connection.execute("DELETE FROM dodai.control_head")
    with place.journal("fourth.sqlite") as journal:
        assert "forgot it" in (await refusal(journal.verify_chain())).message


async def test_control_database_of_an_older_dodai_gets_its_head(place):
    """What is there already is remembered at once."""
    await place.execute(SPECS)
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE dodai.control_head")
        connection.execute("DELETE FROM dodai.control_version")
        connection.execute("INSERT INTO dodai.control_version VALUES (1)")
    with place.journal("other.sqlite") as journal:
        head = await journal.verify_chain()
    assert ask(place.dsn, "SELECT seq, hash FROM dodai.control_head") == [(head.seq, head.hash)]


async def test_trust_copy_gives_a_restored_database_its_records_back_and_tokens_go_on(place):
    """The token after a restore is higher than any that either side has seen."""
    for _ in range(3):
        await place.execute(SPECS)
    before = ask(place.dsn, "SELECT token FROM dodai.control_lease")[0][0]
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE dodai.control_event DISABLE TRIGGER ALL")
        connection.execute("DELETE FROM dodai.control_event WHERE seq > 5")
        connection.execute("UPDATE dodai.control_lease SET token = 0")
    with place.journal() as journal:
        assert "records were given back" in journal.trust("copy")
        head = await journal.verify_chain()
        assert head.seq > 5
    assert (await place.execute(SPECS)).exit_code == 0
    assert ask(place.dsn, "SELECT token FROM dodai.control_lease")[0][0] == before + 1


async def test_journals_that_went_different_ways_are_for_a_person(place):
    """The fork is refused with exit 4; `trust copy` cannot fix it, `trust database` puts the copy aside."""
    await place.execute(SPECS)
    with place.journal("mine.sqlite") as journal:
        await journal.verify_chain()
    with place.journal() as journal:
        await append(journal, token=9, text="theirs")
    lost = "DELETE FROM dodai.control_event WHERE data LIKE '%theirs%'"
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE dodai.control_event DISABLE TRIGGER ALL")
        connection.execute(lost)
    with place.journal("mine.sqlite") as journal:
        await append(journal, token=9, text="mine")
    with place.journal() as journal:
        assert (await refusal(journal.verify_chain())).exit_code == 4
        with pytest.raises(DodaiError, match="different ways"):
            journal.trust("copy")
        assert "aside" in journal.trust("database")
        await journal.verify_chain()


async def test_copy_of_another_machine_is_brought_up_to_date(place):
    """Deploying from a second machine needs nothing but the control database."""
    await place.execute(SPECS)
    with place.journal("second.sqlite") as journal:
        head = await journal.verify_chain()
        assert journal.copy.head() == head


async def test_broken_copy_is_named_and_made_anew_from_the_database(place):
    """The truth is in the database: a copy that is rubbish is kept aside, not mourned."""
    await place.execute(SPECS)
    with place.journal() as journal:
        head = await journal.verify_chain()
        with psycopg.connect(place.dsn, autocommit=True):
            journal.copy._db.execute("DROP TRIGGER events_UPDATE")
            journal.copy._db.execute("UPDATE events SET data = '{}' WHERE seq = 2")
        error = await refusal(journal.verify_chain())
        assert (error.code.id, error.exit_code) == ("DOD353", 4)
        assert "dodai resume staging --trust database" in error.fix
        assert "aside" in journal.trust("database")
        assert await journal.verify_chain() == head == await journal.copy.verify_chain()


def test_full_disk_is_refused_before_the_plan_is_on_record(place):
    """The copy cannot grow: nothing is begun in the database either, so nothing is left to resume."""
    asyncio.run(place.execute(SPECS))
    plans = ask(place.dsn, "SELECT count(*) FROM dodai.control_plan")
    pid = os.fork()
    if pid == 0:
        code = 0
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
            asyncio.run(place.execute([Spec("d")]))
        except DodaiError as error:
            code = int(error.code.id[3:]) - 300
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 52  # DOD352
    assert ask(place.dsn, "SELECT count(*) FROM dodai.control_plan") == plans
    assert place.world.effects() == ["+a", "+b", "+c"]
    asyncio.run(place.execute([Spec("d")]))


async def test_reader_beside_a_writer_never_sees_two_journals_that_differ(place):
    """The audit log is verified while a plan runs; what is written meanwhile is not taken for a loss."""
    await place.execute(SPECS)

    class Busy(SqliteJournal):
        async def verify_chain(self):
            head = await super().verify_chain()
            with place.journal() as writer:
                await append(writer, token=9)
            return head

    with Busy(place.folder / "copy.sqlite") as copy, PostgresJournal(place.session(), copy) as reader:
        assert (await reader.verify_chain()).seq == copy.head().seq


async def test_older_token_writes_nothing(place):
    """The journal itself is fenced: one statement, no window."""
    await place.execute(SPECS)
    first, second = place.lease("hana", ttl_s=0.05), place.lease("taro")
    old = await first.acquire()
    while True:
        try:
            await second.acquire()
            break
        except DodaiError as error:
            assert error.exit_code == 75
    with place.journal() as journal:
        before = await journal.verify_chain()
        error = await refusal(append(journal, token=old))
        assert (error.code.id, error.exit_code) == ("DOD351", 75)
        assert await journal.verify_chain() == before
        assert not await first.held()


async def test_many_writers_make_one_chain(place):
    """Handles that append at the same time, each with its own idea of the head, lose nothing."""
    await place.execute(SPECS)
    with ExitStack() as stack:
        journals = [stack.enter_context(place.journal()) for _ in range(4)]
        before = await journals[0].verify_chain()
        await asyncio.gather(*(append(journal, token=9, text=str(n)) for n in range(6) for journal in journals))
        assert (await journals[0].verify_chain()).seq == before.seq + 24


async def test_second_operator_is_told_who_holds_the_lock_and_until_when(place):
    """Exit 75 with holder, command, age, and when silence would end it."""
    first = place.lease("hana")
    await first.acquire()
    error = await refusal(place.lease("taro").acquire())
    assert (error.code.id, error.exit_code) == ("DOD350", 75)
    assert "`hana`" in error.message
    assert "`dodai deploy staging`" in error.message
    assert "taken over in" in error.message
    await first.release()
    assert await place.lease("taro").acquire() == 2


def test_dead_holder_on_this_machine_is_replaced_at_once(place):
    """A killed deploy blocks nobody: its process is gone, so its lock is."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            asyncio.run(place.lease("hana").acquire())
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert asyncio.run(place.lease("taro").acquire()) == 2


async def test_silent_holder_elsewhere_is_replaced_after_its_time_and_not_before(place):
    """Another machine's holder cannot be looked at: only the database's clock decides."""
    first = place.lease("hana", ttl_s=600)
    await first.acquire()
    other_boot = 'UPDATE dodai.control_lease SET holder = replace(holder, \'"boot": "\', \'"boot": "elsewhere\')'
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        connection.execute(other_boot)
        assert (await refusal(place.lease("taro").acquire())).exit_code == 75
        connection.execute("UPDATE dodai.control_lease SET expires_at = clock_timestamp()")
    assert await place.lease("taro").acquire() == 2
    assert not await first.held()


async def test_heartbeat_of_a_replaced_holder_does_not_bring_it_back(place):
    """It wakes up, beats, and is still out."""
    first = place.lease("hana", ttl_s=0.01)
    await first.acquire()
    second = place.lease("taro")
    while not second.token:
        try:
            await second.acquire()
        except DodaiError:
            continue
    await first.heartbeat()
    assert (await first.held(), await second.held()) == (False, True)


async def test_target_hears_of_a_token_before_anybody_holds_it(place):
    """A fence that fails grants nothing."""
    seen = []

    async def fence(token):
        seen.append((token, ask(place.dsn, "SELECT token FROM dodai.control_lease")[0][0]))

    assert await place.lease(fence=fence, least=41).acquire() == 42
    assert seen == [(42, 0)]

    async def broken(token):
        raise OSError("the host is gone")

    await asyncio.sleep(0)
    with psycopg.connect(place.dsn, autocommit=True) as connection:
        connection.execute("UPDATE dodai.control_lease SET expires_at = clock_timestamp()")
    with pytest.raises(OSError, match="gone"):
        await place.lease(fence=broken).acquire()
    assert ask(place.dsn, "SELECT token FROM dodai.control_lease") == [(42,)]


async def test_unreachable_control_database_is_refused_before_any_change(tmp_path):
    """Nothing is journalled, nothing is changed, the address is named and its password is not."""
    place = ControlPlace(tmp_path, "postgresql://hana:s3cret@127.0.0.1:1/dodai", patience_s=0.1)
    error = await refusal(place.execute(SPECS))
    assert (error.code.id, error.exit_code) == ("DOD376", 1)
    assert "127.0.0.1:1" in error.message
    assert "s3cret" not in repr(error)
    assert place.world.effects() == []


async def test_control_database_lost_in_the_middle_stops_the_plan_and_resume_finishes_it(tmp_path):
    """No step runs without its record; after a restart of the server nothing happens twice."""
    with ExitStack() as server:
        cluster = server.enter_context(throw_away(tcp=True))
        place = ControlPlace(tmp_path, cluster.dsn(), patience_s=0.2)
        plan = make_plan(SPECS, place.world)
        step = plan.steps[1]

        async def lose(context):
            await step.apply(context)
            await asyncio.to_thread(server.close)

        with place.journal() as journal:
            steps = (plan.steps[0], replace(step, apply=lose), plan.steps[2])
            outcome = await execute(replace(plan, steps=steps), journal, place.lease())
    assert (outcome.state, outcome.exit_code, outcome.closed) == ("needs_person", 4, False)
    assert outcome.error().code.id == "DOD376"
    assert outcome.next_command == "dodai resume staging"
    assert place.world.effects() == ["+a", "+b"]


async def test_ended_session_is_opened_again_and_the_plan_goes_on(place):
    """A restart or a failover of the control database costs a moment, not the deploy."""
    plan = make_plan(SPECS, place.world)
    step = plan.steps[1]

    async def cut(context):
        ask(
            place.dsn,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name LIKE 'dodai control%'",
        )
        await step.apply(context)

    with place.journal() as journal:
        steps = (plan.steps[0], replace(step, apply=cut), plan.steps[2])
        outcome = await execute(replace(plan, steps=steps), journal, place.lease())
    assert outcome.exit_code == 0
    assert place.world.effects() == ["+a", "+b", "+c"]
