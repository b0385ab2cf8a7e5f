"""The journal is durable, append-only, and notices when it was cut, edited, replaced or cannot be written."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable

import pytest
from tests.engine.world import Place, Spec, make_plan, new_place

from dodai.core.errors import DodaiError
from dodai.engine.execute import resume
from dodai.engine.journal import SqliteJournal

SPECS = [Spec("a"), Spec("b", ("a",))]


@pytest.fixture
def place():
    with new_place(SPECS) as place:
        yield place


def database(place: Place):
    return place.folder / "staging.sqlite3"


def head(place: Place):
    return place.folder / "staging.sqlite3.head"


async def refused(place: Place) -> DodaiError:
    """What a second run of the plan is refused with; the world must not have changed."""
    before = place.world.effects()
    with pytest.raises(DodaiError) as caught:
        await place.execute([Spec("c")])
    assert place.world.effects() == before
    return caught.value


async def test_request_is_written_before_the_first_event(place):
    """The first record is the request, with manifest bytes and everything a rebuild needs."""
    outcome = await place.execute(SPECS)
    with place.journal() as journal:
        entry = (await journal.history("staging"))[0]
        events = await journal.events(outcome.plan_id)
    assert events[0].kind == "requested"
    assert entry.request == make_plan(SPECS, place.world).request
    assert entry.plan_hash == outcome.plan.hash
    assert (entry.state, entry.exit_code, entry.closed, entry.steps) == ("ok", 0, True, ("a", "b"))


async def test_events_of_a_step_are_in_the_order_intent_applying_applied_done(place):
    """What is about to happen is written before it happens."""
    outcome = await place.execute(SPECS)
    with place.journal() as journal:
        kinds = [event.kind for event in await journal.events(outcome.plan_id) if event.step_id == "b"]
    assert kinds == ["intent", "applying", "applied", "done"]


async def test_environments_in_one_journal_do_not_see_each_other(place):
    """`unfinished` and `history` answer for one environment."""
    await place.execute(SPECS)
    with place.journal() as journal:
        assert await journal.history("production") == ()
        assert await journal.unfinished("staging") is None


def edit(place: Place, *statements: str) -> None:
    with sqlite3.connect(database(place)) as db:
        for trigger in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {trigger[0]}")
        for statement in statements:
            db.execute(statement)
    db.close()


TAMPERINGS = {
    "an edited event": 'UPDATE events SET data = \'{"message":"all fine"}\' WHERE seq = 4',
    "an edited time": "UPDATE events SET at = '2020-01-01T00:00:00+00:00' WHERE seq = 4",
    "an edited actor": "UPDATE plans SET request = replace(request, 'hana', 'taro')",
    "an edited manifest": "UPDATE plans SET manifest = x'00'",
    "an edited hash": "UPDATE plans SET plan_hash = 'f'",
    "an event taken out": "DELETE FROM events WHERE seq = 4",
    "the last event cut off": "DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)",
    "everything deleted": "DELETE FROM events",
    "an event made up": "INSERT INTO events SELECT max(seq) + 1, plan_id, step_id, kind, at, token, data, hash, hash FROM events",
}


@pytest.mark.parametrize("name", TAMPERINGS)
async def test_tampering_is_refused_with_dod353_before_the_first_change(place, name):
    """Whoever edits the file around the append-only triggers is found out by the chain or the remembered head."""
    await place.execute(SPECS)
    edit(place, TAMPERINGS[name])
    error = await refused(place)
    assert (error.code.id, error.exit_code) == ("DOD353", 4)
    assert "staging.sqlite3" in error.message


async def test_older_copy_of_the_journal_is_refused(place):
    """A journal restored from before the last plan lost records, however whole its chain is."""
    await place.execute(SPECS)
    with place.journal():
        pass  # the last one out folds the write-ahead log into the file
    shutil.copy(database(place), place.folder / "old")
    await place.execute([Spec("c")])
    with place.journal():
        pass
    shutil.copy(place.folder / "old", database(place))
    error = await refused(place)
    assert error.code.id == "DOD353"
    assert "remembers" in error.message


def write_garbage(place: Place) -> None:
    database(place).write_bytes(b"\x00garbage\xff" * 1000)


def cut_in_half(place: Place) -> None:
    content = database(place).read_bytes()
    database(place).write_bytes(content[: len(content) // 2])


def delete_file(place: Place) -> None:
    database(place).unlink()


def empty_file(place: Place) -> None:
    database(place).write_bytes(b"")


def delete_head(place: Place) -> None:
    head(place).unlink()


def garble_head(place: Place) -> None:
    head(place).write_text("nonsense")


@pytest.mark.parametrize("damage", [write_garbage, cut_in_half, delete_file, empty_file, delete_head, garble_head])
async def test_damaged_files_are_refused_with_dod353(place: Place, damage: Callable[[Place], None]):
    """Garbage, half a file, no file, an empty file, a lost or garbled head: never taken for a fresh start."""
    await place.execute(SPECS)
    damage(place)
    error = await refused(place)
    assert (error.code.id, error.exit_code) == ("DOD353", 4)
    assert error.fix


async def test_journal_of_a_newer_dodai_is_refused_with_dod354(place):
    """An old program must not guess at a new format."""
    await place.execute(SPECS)
    edit(place, "PRAGMA user_version = 99")
    assert (await refused(place)).code.id == "DOD354"


async def test_events_cannot_be_updated_or_deleted_by_accident(place):
    """The database itself refuses what the program never does."""
    await place.execute(SPECS)
    db = sqlite3.connect(database(place))
    for statement in ("UPDATE events SET kind = 'done'", "DELETE FROM events", "DELETE FROM plans"):
        with pytest.raises(sqlite3.IntegrityError, match="append only"):
            db.execute(statement)
    db.close()


async def test_folder_that_cannot_hold_a_journal_is_refused_with_dod352(tmp_path):
    """Where nothing can be written nothing is changed."""
    (tmp_path / "state").write_text("a file where a folder should be")
    with pytest.raises(DodaiError) as caught:
        SqliteJournal(tmp_path / "state" / "staging.sqlite3")
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD352", 1)


async def test_stale_token_cannot_write(place):
    """A holder that was paused while another took over is stopped by the journal itself."""
    plan = make_plan(SPECS, place.world)
    with place.journal() as journal:
        await journal.begin("p1", plan, token=7, at="t")
        with pytest.raises(DodaiError) as caught:
            await journal.append("p1", "applying", step_id="a", token=6, at="t")
        assert (caught.value.code.id, caught.value.exit_code) == ("DOD351", 75)
        assert await journal.highest_token() == 7
        assert [event.kind for event in await journal.events("p1")] == ["requested"]


async def test_second_plan_waits_for_the_first_to_end(place):
    """DOD355 names the unfinished plan, who began it and both ways out."""
    plan = make_plan(SPECS, place.world)
    with place.journal() as journal:
        await journal.begin("deploy-1", plan, token=1, at="2026-11-23T20:00:00.000+00:00")
    error = await refused(place)
    assert (error.code.id, error.exit_code) == ("DOD355", 1)
    assert "deploy-1" in error.message
    assert "hana" in error.message
    assert "dodai resume staging --undo" in error.fix


async def test_rebuilt_plan_that_differs_is_refused_with_dod356(place):
    """A resume never continues with other steps than were begun."""
    with place.journal() as journal:
        await journal.begin("deploy-1", make_plan(SPECS, place.world), token=1, at="t")
        other = make_plan([Spec("a"), Spec("z")], place.world)
        with pytest.raises(DodaiError) as caught:
            await resume(journal, place.lease(), "staging", lambda _: other)
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD356", 4)
    assert place.world.effects() == []


async def test_resume_builds_from_the_journalled_request(place):
    """The builder gets the manifest bytes of then, not the files of now."""
    seen = []
    with place.journal() as journal:
        await journal.begin("deploy-1", make_plan(SPECS, place.world), token=1, at="t")

        def build(request):
            seen.append(request)
            return make_plan(SPECS, place.world)

        outcome = await resume(journal, place.lease(), "staging", build)
    assert outcome.state == "ok"
    assert seen == [make_plan(SPECS, place.world).request]
    assert seen[0].manifest == b"[project]\n"


async def test_nothing_to_resume_is_exit_1(place):
    """`resume` of an environment without unfinished plan says so."""
    with pytest.raises(DodaiError) as caught:
        await place.resume(SPECS)
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD357", 1)


def test_full_disk_in_the_middle_stops_the_plan_and_a_resume_finishes_it(place):
    """The write that fails ends the attempt with exit 4, without another change; with space again resume goes on."""
    program = """
        import asyncio, resource, signal, sys
        from pathlib import Path
        from tests.engine.world import Place, Spec
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        place = Place(Path(sys.argv[1]))
        class Filling:
            def step_started(self, step, number, total, *, undoing):
                if step.id == "c":
                    size = max(path.stat().st_size for path in place.folder.iterdir())
                    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
            def noted(self, step, text): ...
            def step_finished(self, step, record): ...
        outcome = asyncio.run(place.execute([Spec("a"), Spec("b"), Spec("c"), Spec("d")], sink=Filling()))
        print("\\n".join([*outcome.lines(), outcome.error().code.id, *outcome.ids("done")]))
        sys.exit(outcome.exit_code)
    """
    argv = [sys.executable, "-c", textwrap.dedent(program), str(place.folder)]
    ended = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 4, ended.stderr
    assert "next: `dodai resume staging`" in ended.stdout
    assert "DOD352" in ended.stdout
    assert place.world.present() >= {"a", "b"}
    assert "d" not in place.world.present()
    outcome = asyncio.run(place.resume([Spec("a"), Spec("b"), Spec("c"), Spec("d")]))
    assert outcome.state == "ok"
    assert place.world.effects() == ["+a", "+b", "+c", "+d"]


def test_every_write_is_synced_before_it_counts(place):
    """WAL with synchronous=FULL: a record that was acknowledged survives a power cut; the file is its owner's alone."""
    with place.journal() as journal:
        assert journal._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert journal._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert database(place).stat().st_mode & 0o777 == 0o600
