"""A signal during `migrate up`: the statement ends on the server, the message tells the truth, the next run goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from tests.migrations.conftest import up
from tests.support.wait import until

from dodai.migrations.ports import SqlConnection

MANIFEST = '[project]\nname = "shop"\n\n[migrations]\n'
DEADLINE_S = 60.0
CASES = [
    pytest.param(signal.SIGTERM, "", 143, "rolled back: db/migrations/2_b.sql", id="SIGTERM"),
    pytest.param(signal.SIGINT, "", 130, "rolled back: db/migrations/2_b.sql", id="SIGINT"),
    pytest.param(
        signal.SIGTERM, "-- +goose NO TRANSACTION\n", 143, "its finished statements stay in effect", id="no transaction"
    ),
]


@pytest.fixture
def project(tmp_path: Path) -> Callable[[str], Path]:
    """A repository whose second file waits, in its second statement, as long as nobody lets it go."""

    def make(head: str) -> Path:
        folder = tmp_path / "db" / "migrations"
        folder.mkdir(parents=True)
        (tmp_path / "dodai.toml").write_text(MANIFEST)
        (folder / "1_a.sql").write_text(up("CREATE TABLE a (b int);", down=("DROP TABLE a;",)))
        waits = ("CREATE TABLE b (c int);", "SELECT pg_advisory_lock_shared(7), pg_advisory_unlock_shared(7);")
        (folder / "2_b.sql").write_text(head + up(*waits, down=("DROP TABLE b;",)))
        (folder / "3_c.sql").write_text(up("CREATE TABLE c (d int);", down=("DROP TABLE c;",)))
        return tmp_path

    return make


def migrate(root: Path, dsn: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "dodai", "migrate", "up"],
        cwd=root,
        env={**os.environ, "DATABASE_URL": dsn},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def kept_waiting(dsn: str) -> Iterator[None]:
    """Hold the lock that the second file asks for."""
    with psycopg.connect(dsn, autocommit=True) as holder:
        holder.execute("SELECT pg_advisory_lock(7)")
        yield


def waiting(conn: SqlConnection) -> bool:
    row = conn.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted").fetchone()
    return bool(row and row[0])


@pytest.mark.parametrize(("number", "head", "code", "left"), CASES)
def test_a_signal_ends_the_statement_and_says_what_was_done(project, database, number, head, code, left):
    """Exit 143 or 130; nothing runs on in the server, the log has the outcome, and a second run finishes."""
    root = project(head)
    with psycopg.connect(database, autocommit=True) as conn, kept_waiting(database):
        process = migrate(root, database)
        until(lambda: waiting(conn))
        process.send_signal(number)
        said, _ = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == code, said
        assert "DOD287 migration-interrupted" in said
        assert "applied and recorded by this run: db/migrations/1_a.sql" in said
        assert left in said
        assert "not touched: db/migrations/3_c.sql" in said
        assert not waiting(conn), "the statement runs on without its client"
        assert conn.execute("SELECT outcome FROM dodai.migration_run").fetchall() == [("interrupted",)]
    again = migrate(root, database)
    said, _ = again.communicate(timeout=DEADLINE_S)
    assert again.returncode == 0, said
    with psycopg.connect(database) as conn:
        versions = conn.execute("SELECT version_id FROM goose_db_version WHERE version_id > 0 ORDER BY id").fetchall()
    assert versions == [(1,), (2,), (3,)]
