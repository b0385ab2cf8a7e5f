"""`kill -9` of the runner anywhere, and ten runners at once: each revision happens once, with one row in our log."""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.providers.alembic.test_check import revision
from tests.providers.alembic.test_run import conn, target  # noqa: F401 - fixtures
from tests.support.wait import until

from dodai.migrations import run
from dodai.migrations.ports import SqlConnection

SIZE = 30
MANIFEST = (
    '[project]\nname = "shop"\n[database]\nvariable = "APP_URL"\n'
    '[migrations]\nfolder = "alembic/versions"\nformat = "alembic"\nrunner_patience = "60s"\n'
)


@pytest.fixture
def history(target, tmp_path: Path, conn: SqlConnection) -> Path:  # noqa: F811 - the fixture
    """Each revision leaves a mark; nothing but the ledger keeps it from leaving two."""
    conn.execute("CREATE TABLE mark (revision text)")
    (tmp_path / "dodai.toml").write_text(
        MANIFEST.replace('name = "shop"', f'name = "shop"\npython = "{sys.executable}"')
    )
    names = [f"r{number}" for number in range(SIZE)]
    target(
        **{
            name: revision(
                name, names[number - 1] if number else None, f"op.execute(\"INSERT INTO mark VALUES ('{name}')\")"
            )
            for number, name in enumerate(names)
        }
    )
    return tmp_path


def runner(root: Path, database: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dodai", "migrate", "up", "--beside-tables"]
    environment = {"APP_URL": database, "PATH": "/usr/bin:/bin"}
    return subprocess.Popen(command, cwd=root, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def marks(conn: SqlConnection) -> int:  # noqa: F811 - the fixture
    return int(conn.execute("SELECT count(*) FROM mark").fetchone()[0])


def once_each(conn: SqlConnection) -> None:  # noqa: F811 - the fixture
    assert marks(conn) == conn.execute("SELECT count(DISTINCT revision) FROM mark").fetchone()[0] == SIZE
    logged = "SELECT count(*), count(DISTINCT migration) FROM dodai.migration_log WHERE event = 'applied'"
    assert conn.execute(logged).fetchone() == (SIZE, SIZE)
    assert conn.execute("SELECT version_num FROM alembic_version").fetchall() == [(f"r{SIZE - 1}",)]


def test_kill_9_anywhere_leaves_each_revision_with_its_row_or_without_both(
    history: Path,
    target,  # noqa: F811 - the fixture
    database: str,
    conn: SqlConnection,  # noqa: F811 - the fixture
):
    """Killed as soon as it has got a little further; what is committed and what the log says is the same each time."""
    kills = 0
    while marks(conn) < SIZE:
        further = min(marks(conn) + kills % 4, SIZE - 1)
        with runner(history, database) as process:
            until(lambda further=further, process=process: marks(conn) > further or process.poll() is not None)
            process.send_signal(signal.SIGKILL)
        kills += 1
        until(
            lambda: not conn.execute("SELECT FROM pg_stat_activity WHERE application_name ~ 'dodai-agent'").fetchall()
        )
        said = "SELECT migration FROM dodai.migration_log WHERE event = 'applied'"
        assert {r[0] for r in conn.execute(said).fetchall()} == {
            r[0] for r in conn.execute("SELECT revision FROM mark").fetchall()
        }
    assert kills > 2
    assert run.up(target()).already == SIZE
    once_each(conn)


def test_ten_runners_at_once_apply_each_revision_once(history: Path, database: str, conn: SqlConnection):  # noqa: F811 - the fixtures
    """Nine find nothing left to do."""
    with contextlib.ExitStack() as stack:
        many = [stack.enter_context(runner(history, database)) for _ in range(10)]
        assert [each.wait(120) for each in many] == [0] * 10
    once_each(conn)
