"""Random damage to the file of a journal, or to the head beside it: the answers stay what they were, or it is called broken; never something else."""

from __future__ import annotations

import os
import random
import sqlite3
import tempfile
from pathlib import Path

import pytest
from tests.engine.world import Spec, new_place
from tests.support.command import dodai

from dodai.core.errors import DodaiError
from dodai.engine.journal import SqliteJournal

DAMAGES = int(os.environ.get("DODAI_JOURNAL_DAMAGES", "2000"))
USER_VERSION = range(60, 64)
"""The one field that says by itself which dodai wrote the file: another value in it is told as that (DOD354)."""


async def answers(path):
    """Everything that a resume, `history` and `status` ask of a journal."""
    with SqliteJournal(path) as journal:
        head = await journal.verify_chain()
        plans = await journal.history("staging")
        events = [await journal.events(plan.plan_id) for plan in plans]
        return head, plans, events, await journal.unfinished("staging"), await journal.of_kind("closed")


async def original(folder):
    """A journal with finished plans, one that is not, and everything in the one file."""
    with new_place([Spec("a"), Spec("b", ("a",))]) as place:
        for number in range(6):
            await place.execute([Spec(f"step-{number}"), Spec(f"then-{number}", (f"step-{number}",))])
        path = place.folder / "staging.sqlite3"
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        db.close()
        (folder / "journal.sqlite").write_bytes(path.read_bytes())
        (folder / "journal.sqlite.head").write_bytes(path.with_name(path.name + ".head").read_bytes())
    return (folder / "journal.sqlite").read_bytes(), (folder / "journal.sqlite.head").read_bytes()


def damage(chance, data):
    """One way a file goes wrong: bits flip, a stretch is zero, old bytes stand in the wrong place, the end is missing."""
    data = bytearray(data)
    match chance.randrange(5):
        case 0 | 1:
            for _ in range(chance.choice((1, 1, 1, 2, 8))):
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        case 2:
            at = chance.randrange(len(data))
            data[at : at + chance.choice((4, 512, 4096))] = bytes(len(data[at : at + chance.choice((4, 512, 4096))]))
        case 3 if len(data) > 512:
            at, other = chance.randrange(len(data) // 512) * 512, chance.randrange(len(data) // 512) * 512
            data[at : at + 512] = data[other : other + 512]
        case _:
            del data[chance.randrange(len(data)) :]
    return bytes(data)


async def tried(folder, times, chance):
    """How often the answers stayed the same, and how often it was called damage; `wrong` has whatever else was said."""
    data, head = await original(folder)
    right = await answers(folder / "journal.sqlite")
    found, wrong = {"same": 0, "damage": 0}, []
    for number in range(times):
        harmed, beside = (data, damage(chance, head)) if chance.randrange(10) == 0 else (damage(chance, data), head)
        with tempfile.TemporaryDirectory(dir=folder) as place:
            path = Path(place) / "journal.sqlite"
            path.write_bytes(harmed)
            path.with_name("journal.sqlite.head").write_bytes(beside)
            try:
                said = await answers(path)
            except DodaiError as error:
                newer = error.code.id == "DOD354" and harmed[60:64] != data[60:64]
                if (error.code.id, error.exit_code) != ("DOD353", 4) and not newer:
                    wrong.append(f"{number}: {error}")
                found["damage"] += 1
            else:
                if said != right:
                    wrong.append(f"{number}: another answer")
                found["same"] += 1
    return found, wrong


async def test_damage_is_called_damage_or_changes_no_answer(tmp_path):
    """A flipped bit in an index hid steps from a resume, which then said that it had undone everything."""
    found, wrong = await tried(tmp_path, DAMAGES, random.Random(20261129))
    assert wrong == []
    assert min(found.values()) > 0, found


def test_journal_that_is_gone_is_damage_while_its_head_is_there(tmp_path):
    """`nothing is on record` is said of an environment that never had a record."""
    (tmp_path / "dodai.toml").write_text(
        '[project]\nname = "x"\n[env.staging]\n[service.web]\ncommand = ["web"]\npublic = true\n'
    )
    never = dodai("history", "staging", cwd=tmp_path)
    assert (never.returncode, "nothing is on record here" in never.stdout) == (1, True)
    folder = tmp_path / ".dodai" / "env" / "staging"
    folder.mkdir(parents=True)
    (folder / "journal.sqlite.head").write_text(f"66 {'a' * 64}\n")
    gone = dodai("history", "staging", cwd=tmp_path)
    assert (gone.returncode, "DOD353" in gone.stderr) == (4, True), gone.stdout
    (folder / "journal.sqlite").unlink()
    assert dodai("status", "staging", cwd=tmp_path).returncode == 4


async def test_plan_that_is_found_under_another_environment_is_damage(tmp_path):
    """It would be no unfinished plan of its own one: the name by which it is found is that of its request."""
    await original(tmp_path)
    with sqlite3.connect(tmp_path / "journal.sqlite") as db:
        db.execute("DROP TRIGGER plans_UPDATE")
        db.execute("UPDATE plans SET env = 'stawing' WHERE rowid = 1")
    db.close()
    with pytest.raises(DodaiError, match="is not the one that was recorded"):
        await answers(tmp_path / "journal.sqlite")
