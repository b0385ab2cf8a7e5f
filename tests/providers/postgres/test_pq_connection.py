"""A connection through libpq itself: the same answers and errors as psycopg, and what only it can tell."""

from __future__ import annotations

import os
import select
import signal
import threading
from pathlib import Path
from typing import Any

import psycopg
import pytest
from tests.support.command import dodai
from tests.support.wait import until

from dodai.core.errors import DodaiError
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Statement, send, server_message
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.libpq import LibpqError, words_of
from dodai.providers.postgres.pq_connection import PqConnection, PqError
from dodai.wiring.migration_target import _connection

QUERY = "SELECT 1, 2::bigint, 3::smallint, true, false, NULL, 'a''ü'::text, 4::oid, 'x'::name, now() IS NULL"


def test_answers_are_those_of_psycopg(database: str):
    """Numbers, truth, text and what is not there; parameters, several statements in one message, none at all."""
    mine, conn = PqConnection(database), connect(database, autocommit=True)
    for query, values in ((QUERY, None), ("SELECT %s, %s", ("it's \\ %s", 7)), ("SELECT 1 WHERE false", None)):
        assert mine.execute(query, values).fetchall() == conn.execute(query, values).fetchall()
    both = mine.execute("SELECT 1; SELECT 2"), conn.execute("SELECT 1; SELECT 2")
    for answer in both:
        assert answer.fetchone() == (1,)
        assert answer.fetchone() is None
        assert answer.nextset()
        assert answer.fetchall() == [(2,)]
        assert not answer.nextset()
    for query in ("SELECT 1", "CREATE TEMP TABLE t AS SELECT 1 AS a", "UPDATE t SET a = 2"):
        assert mine.execute(query).rowcount == conn.execute(query).rowcount
    info = conn.info
    assert (mine.host, mine.port, mine.dbname, mine.user) == (info.host, info.port, info.dbname, info.user)
    assert mine.password == info.password
    assert mine.backend_pid == mine.execute("SELECT pg_backend_pid()").fetchone()[0]
    mine.close()
    assert mine.closed
    conn.close()


@pytest.mark.parametrize(
    "query",
    ["SELECT 1 / 0", "SELECT naem FROM pg_class AS c", "DO $$BEGIN RAISE 'no' USING DETAIL = 'd', HINT = 'h'; END$$"],
)
def test_an_error_says_what_psycopgs_says(query: str, database: str):
    """State, words and position; the connection goes on."""
    mine, conn = PqConnection(database), connect(database, autocommit=True)
    with pytest.raises(PqError) as ours:
        mine.execute(f"SELECT 'é'; {query}")
    with pytest.raises(psycopg.Error) as theirs:
        conn.execute(f"SELECT 'é'; {query}")
    assert ours.value.sqlstate == theirs.value.sqlstate
    assert server_message(ours.value) == server_message(theirs.value)
    assert ours.value.diag.statement_position == theirs.value.diag.statement_position
    assert ours.value.completed == 1
    assert mine.execute("SELECT 1").fetchone() == (1,)
    mine.close()
    conn.close()


def test_a_transaction_is_seen_as_it_is(database: str):
    """Idle, open, failed; a lost connection is closed, and its error has no state or the server's last word."""
    mine = PqConnection(database)
    seen = [mine.transaction_status]
    mine.execute("BEGIN")
    seen.append(mine.transaction_status)
    with pytest.raises(PqError):
        mine.execute("SELECT 1 / 0")
    seen.append(mine.transaction_status)
    mine.execute("ROLLBACK")
    assert seen == [0, 2, 3]
    for said in ("57P01", None):
        with pytest.raises(PqError) as lost:
            mine.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        assert lost.value.sqlstate == said
        assert mine.closed
    mine.close()


def test_data_of_a_copy_arrive_and_a_bad_line_is_told(database: str):
    """In pieces; a COPY without data and one to nowhere end by themselves."""
    mine: Any = PqConnection(database)
    mine.execute("CREATE TEMP TABLE t (a int, b text)")
    send(mine, Statement("COPY t FROM stdin;", 1, "".join(f"{n}\té{n}\n" for n in range(20_000))))
    assert mine.execute("SELECT count(*), max(b) FROM t").fetchone() == (20_000, "é9999")
    for copy, said in (("COPY t FROM stdin;", "x\ty\n"), ("COPY nowhere FROM stdin;", "")):
        with pytest.raises(PqError) as caught:
            send(mine, Statement(copy, 1, said))
        assert caught.value.sqlstate in ("22P02", "42P01")
    with pytest.raises(PqError):
        mine.execute("COPY t FROM stdin")
    assert mine.execute("COPY t TO stdout; SELECT 1").tags == ("COPY 20000", "SELECT 1")
    mine.close()


def test_notices_are_not_printed(database: str, capfd: pytest.CaptureFixture[str]):
    """libpq writes them to standard error by itself."""
    mine = PqConnection(database)
    mine.execute("DROP TABLE IF EXISTS nothing; DO $$BEGIN RAISE WARNING 'loud'; END$$")
    mine.close()
    assert capfd.readouterr() == ("", "")


def test_words_of_a_url_are_those_that_libpq_reads():
    """Without the password, which nobody needs to see."""
    found = words_of("postgresql://u:secret@a:1,b:2/x?hostaddr=127.0.0.1,::1&sslmode=verify-full")
    assert (found["host"], found["port"], found["sslmode"]) == ("a,b", "1,2", "verify-full")
    assert (found["hostaddr"], "password" in found) == ("127.0.0.1,::1", False)


@pytest.mark.parametrize(
    "url", ["postgresql://localhost:1/x", "postgresql://[broken", "nonsense", "postgresql://u:a@b@c/d"]
)
def test_an_address_where_nothing_answers_is_left_to_psycopg(url: str):
    """So that the error comes from where it is coded."""
    with pytest.raises(LibpqError):
        words_of(url) and PqConnection(url)
    with pytest.raises(DodaiError) as caught:
        _connection(url, MigrationsPolicy())
    assert caught.value.code.id in ("DOD784", "DOD785")
    assert "a@b" not in caught.value.message


def test_an_address_that_is_unfit_is_refused_before_anything_is_sent():
    """As `connect` refuses it."""
    with pytest.raises(DodaiError) as caught:
        _connection("postgresql://u:p@db.example/x", MigrationsPolicy())
    assert caught.value.code.id == "DOD066"


def test_a_signal_ends_the_statement_on_the_server(database: str):
    """It waits outside of libpq, where Python hears of signals; the connection can be used again."""
    mine, other = PqConnection(database), connect(database, autocommit=True)
    busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'"

    def interrupt() -> None:
        until(lambda: other.execute(busy).fetchone() == (1,))
        os.kill(os.getpid(), signal.SIGINT)

    sender = threading.Thread(target=interrupt)
    sender.start()
    with pytest.raises(KeyboardInterrupt):
        mine.execute("SELECT pg_sleep(600)")
    sender.join()
    assert other.execute(busy).fetchone() == (0,)
    assert mine.execute("SELECT 1").fetchone() == (1,)
    mine.close()
    other.close()


def test_a_signal_that_comes_just_before_the_wait_ends_it_too(database: str, monkeypatch: pytest.MonkeyPatch):
    """On a busy machine it arrives between the message and the wait, and then nothing wakes the wait up."""
    mine, came = PqConnection(database), threading.Event()

    class Late:
        """A `poll` in front of which the handler of the signal has to run, and which no signal ends."""

        def __init__(self) -> None:
            self.real = real()

        def register(self, *words: Any) -> None:
            self.real.register(*words)

        def poll(self, milliseconds: float | None) -> Any:
            if came.is_set():
                raise KeyboardInterrupt
            came.set()
            assert milliseconds is not None, "it would wait for ever"
            return self.real.poll(milliseconds)

    real = select.poll
    monkeypatch.setattr(select, "poll", Late)
    with pytest.raises(KeyboardInterrupt):
        mine.execute("SELECT pg_sleep(600)")
    monkeypatch.undo()
    mine.close()


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
