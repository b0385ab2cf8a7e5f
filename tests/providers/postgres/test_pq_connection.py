"""A look through libpq itself: the same answers as psycopg, and nothing said where it does not come to its end."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import pytest
from tests.support.command import dodai
from tests.support.wait import until

from dodai.core.errors import DodaiError
from dodai.migrations.policy import MigrationsPolicy
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.look import Look, LookError, words_of
from dodai.wiring.migration_target import _look as look_or_none

QUERY = "SELECT 1, 2::bigint, 3::smallint, true, false, NULL, 'a''ü'::text, 4::oid, 'x'::name, now() IS NULL"


def test_answers_are_those_of_psycopg(database: str):
    """Numbers, truth, text and what is not there; parameters, several statements in one message, none at all."""
    look, conn = Look(database), connect(database, autocommit=True)
    for query, values in ((QUERY, ()), ("SELECT %s, %s", ("it's \\ %", 7)), ("SELECT 1 WHERE false", ())):
        assert look.execute(query, values).fetchall() == conn.execute(query, values or None).fetchall()
    assert look.execute("SELECT 1; SELECT 2").fetchone() == (2,)
    assert look.execute("SET lock_timeout = '1s'").fetchone() is None
    info = conn.info
    assert (look.host, look.port, look.dbname) == (info.host, info.port, info.dbname)
    assert look.backend_pid == look.execute("SELECT pg_backend_pid()").fetchone()[0]
    look.close()
    assert look.closed
    conn.close()


def test_words_of_a_url_are_those_that_libpq_reads():
    """Without the password, which nobody needs to see."""
    found = words_of("postgresql://u:secret@a:1,b:2/x?hostaddr=127.0.0.1,::1&sslmode=verify-full")
    assert (found["host"], found["port"], found["sslmode"]) == ("a,b", "1,2", "verify-full")
    assert (found["hostaddr"], "password" in found) == ("127.0.0.1,::1", False)


@pytest.mark.parametrize("url", ["postgresql://localhost:1/x", "postgresql://[broken", "nonsense"])
def test_an_address_where_nothing_answers_is_left_to_psycopg(url: str):
    """The look gives none, so that the error comes from where it is coded."""
    with pytest.raises(LookError):
        Look(url)
    with look_or_none(url, MigrationsPolicy(), None) as look:
        assert look is None


def test_an_error_ends_the_look_and_says_nothing(database: str):
    """A password or a statement in the server's words is never shown from here."""
    reached = False
    with look_or_none(database, MigrationsPolicy(), None) as look:
        assert look is not None
        look.execute("SELECT 1/0")
        reached = True
    assert not reached


def test_an_address_that_is_unfit_is_refused_before_anything_is_sent():
    """As `connect` refuses it."""
    with pytest.raises(DodaiError) as caught, look_or_none("postgresql://u:p@db.example/x", MigrationsPolicy(), None):
        pass
    assert caught.value.code.id == "DOD066"


def test_a_signal_ends_a_look_that_waits(database: str):
    """It waits outside of libpq, where Python hears of signals."""
    look, other = Look(database), connect(database, autocommit=True)
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"

    def interrupt() -> None:
        until(lambda: other.execute(busy).fetchone() == (1,))
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        look.execute("SELECT pg_sleep(600)")
    sender.join()
    look.close()
    other.close()


def test_nothing_to_do_is_said_of_what_the_database_has(tmp_path: Path, database: str):
    """Whole commands: applied, nothing to do, a row of the ledger gone, and applied again."""
    (tmp_path / "dodai.toml").write_text('[project]\nname = "shop"\n[migrations]\n')
    folder = tmp_path / "db/migrations"
    folder.mkdir(parents=True)
    (folder / "1_a.sql").write_text("-- +goose Up\nCREATE TABLE IF NOT EXISTS a (b int);\n")
    said = []
    for _ in range(2):
        said += [dodai("migrate", "up", cwd=tmp_path, DATABASE_URL=database).stdout.split()[0] for _ in range(2)]
        conn = connect(database, autocommit=True)
        conn.execute("DELETE FROM goose_db_version WHERE version_id = 1")
        conn.close()
    assert said == ["applied", "already", "applied", "already"]
