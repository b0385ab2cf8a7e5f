"""Only our own connection ends, while Django lists its migrations or runs one: the end is coded and says what is true."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.migrations.conftest import direct
from tests.providers.django_migrations.conftest import ALL, OURS, SETTINGS, migration
from tests.providers.django_migrations.test_kill import GATE, PATIENT, WAITS, agents, waiting
from tests.providers.django_migrations.test_run import rows
from tests.support.wait import until

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.ports import MigrationTarget, SqlConnection
from dodai.providers.postgres.connection import connect

STANDS_STILL = f"""{SETTINGS}
import pathlib, time
here = pathlib.Path(__file__).parent
if (here / "gate").exists():
    (here / "reached").touch()
    while (here / "gate").exists():
        time.sleep(0.02)
"""
OURS_ALONE = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()
 AND application_name = 'dodai'
"""


class Outcome:
    """What a run in another thread came to."""

    def __init__(self, act: Callable[[], Any]) -> None:
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._do, args=(act,))
        self.thread.start()

    def _do(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    @property
    def refused(self) -> DodaiError:
        self.thread.join()
        assert isinstance(self.error, DodaiError), repr(self.error)
        return self.error


@pytest.fixture(params=[connect, direct], ids=["psycopg", "libpq"])
def through(request: pytest.FixtureRequest, database: str) -> Callable[[MigrationTarget], MigrationTarget]:
    """The target as the commands connect to it, through either of the two ways."""
    return lambda here: replace(here, connect=lambda: request.param(database))


def cut(conn: SqlConnection) -> None:
    assert conn.execute(OURS_ALONE).fetchall() == [(True,)]
    gone = OURS_ALONE.replace("pg_terminate_backend(pid)", "count(*)")
    until(lambda: conn.execute(gone).fetchone()[0] == 0)


@pytest.mark.share(2)
@pytest.mark.parametrize("act", ["up", "down"])
def test_while_the_list_is_read(target, through, conn: SqlConnection, act: str):
    """Nothing was begun; the same command again goes through."""
    if act == "down":
        run.up(target())
    here = through(target({"shop/settings.py": STANDS_STILL}))
    gate: Path = here.root / "web/shop/gate"
    gate.touch()
    outcome = Outcome(partial(run.up if act == "up" else run.down, here))
    until((gate.parent / "reached").exists)
    cut(conn)
    gate.unlink()
    assert (outcome.refused.code.id, outcome.refused.exit_code) == ("DOD282", 4)
    assert "dodai migrate status" in outcome.refused.fix
    assert applied(conn) == (set() if act == "up" else {*OURS})
    assert agents(here.root) == []
    again = run.up(here) if act == "up" else run.down(here)
    assert len(again.ran) == (ALL if act == "up" else 1)


def applied(conn: SqlConnection) -> set[str]:
    """Ours by Django's table, which is there once something was."""
    there = conn.execute("SELECT to_regclass('django_migrations')").fetchone()[0]
    return {row for row in rows(conn) if row.startswith(("quiz.", "score."))} if there else set()


def in_log(conn: SqlConnection) -> set[str]:
    query = "SELECT migration FROM dodai.migration_log WHERE event = 'applied' AND migration ~ '^(quiz|score)'"
    return {row[0] for row in conn.execute(query).fetchall()}


def more(number: int) -> dict[str, str]:
    """A migration behind the one that waits."""
    before = "0003_waits" if number == 4 else f"000{number - 1}_more"
    made = f"migrations.RunSQL('CREATE TABLE more{number} (a int)', 'DROP TABLE more{number}')"
    return {f"quiz/migrations/000{number}_more.py": migration([("quiz", before)], made)}


@pytest.mark.share(2)
def test_while_a_migration_runs(target, through, conn: SqlConnection):
    """Django's own session goes on, and nobody else begins meanwhile; what it committed is what is told."""
    run.up(target())
    conn.execute("DELETE FROM auth_permission; DELETE FROM django_content_type")
    here = through(target({"quiz/migrations/0003_waits.py": WAITS, **more(4), **more(5)}, PATIENT))
    conn.execute(f"SELECT pg_advisory_lock({GATE})")
    outcome = Outcome(lambda: run.up(here))
    until(lambda: waiting(conn))
    cut(conn)
    with pytest.raises(DodaiError) as second:
        run.up(target())
    assert (second.value.code.id, second.value.exit_code) == ("DOD250", 75)
    conn.execute(f"SELECT pg_advisory_unlock({GATE})")
    assert (outcome.refused.code.id, outcome.refused.exit_code) == ("DOD282", 4)
    told = {line.partition(": ")[0]: line.partition(": ")[2] for line in outcome.refused.details}
    done = applied(conn) - {*OURS}
    assert done == in_log(conn) - {*OURS}
    assert told["applied and recorded by this run"] == ", ".join(
        f"web/{n.replace('.', '/migrations/')}.py" for n in sorted(done)
    )
    assert agents(here.root) == []
    left = {"quiz.0003_waits", "quiz.0004_more", "quiz.0005_more"} - done
    assert {ran.migration.id for ran in run.up(here).ran} == left
    assert conn.execute("SELECT count(*) FROM django_content_type WHERE model = 'question'").fetchone() == (1,)
    assert conn.execute("SELECT count(*) FROM quiz_question").fetchone() == (1,)
    assert run.status(here).ok


@pytest.mark.share(2)
def test_while_a_migration_runs_that_fails(target, through, conn: SqlConnection):
    """What the server said of it is told, and that it was rolled back, though our log can hear of it no more."""
    run.up(target())
    fails = WAITS.replace("'SELECT 1')", "'SELECT 1'), migrations.RunSQL('SELECT nothing', 'SELECT 1')")
    here = through(target({"quiz/migrations/0003_waits.py": fails, **more(4)}, PATIENT))
    conn.execute(f"SELECT pg_advisory_lock({GATE})")
    outcome = Outcome(lambda: run.up(here))
    until(lambda: waiting(conn))
    cut(conn)
    conn.execute(f"SELECT pg_advisory_unlock({GATE})")
    refused = outcome.refused
    assert (refused.code.id, refused.exit_code, refused.data["sqlstate"]) == ("DOD280", 3, "42703")
    assert "rolled back: web/quiz/migrations/0003_waits.py" in refused.details
    assert applied(conn) == in_log(conn) == {*OURS}
    assert agents(here.root) == []
    again = through(target({"quiz/migrations/0003_waits.py": WAITS}, PATIENT))
    assert [ran.migration.id for ran in run.up(again).ran] == ["quiz.0003_waits", "quiz.0004_more"]
