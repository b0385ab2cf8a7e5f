"""A restore point goes back into the environment it came from, and nothing is lost on the way."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from dodai.core.errors import DodaiError
from dodai.providers.postgres.backup import base_backup
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.durable import durable
from dodai.providers.postgres.restore_data import restore


@pytest.fixture
def folder():
    with tempfile.TemporaryDirectory(prefix="d-", dir="/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def rows(dsn: str) -> list[tuple[int]]:
    with connect(dsn) as connection:
        return connection.execute("SELECT n FROM t ORDER BY n").fetchall()


def test_restored_environment_has_the_rows_of_then_and_the_same_url(folder):
    """Rows written after the restore point are gone from the database, and still in the folder kept beside it."""
    home = folder / "postgres"
    with durable(home) as cluster:
        url = cluster.dsn(tcp=True)
        with connect(url) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS n")
        point = base_backup(url, folder / "before", sync=False)
        with connect(url) as connection:
            connection.execute("INSERT INTO t VALUES (2)")
        with pytest.raises(DodaiError) as caught:
            restore(point, home)
        assert caught.value.exit_code == 75
        assert rows(url) == [(1,), (2,)]
    kept = restore(point, home)
    with durable(home):
        assert rows(url) == [(1,)]
    assert (kept / "PG_VERSION").exists()


def test_restore_interrupted_between_its_renames_is_finished_by_the_next_start(folder):
    """For a moment no data directory is there: the next start takes the restored one and makes no empty one."""
    home = folder / "postgres"
    with durable(home) as cluster:
        with connect(cluster.dsn()) as connection:
            connection.execute("CREATE TABLE t AS SELECT 1 AS n")
        point = base_backup(cluster.dsn(), folder / "before", sync=False)
        url = cluster.dsn(tcp=True)
    with durable(home), connect(url) as connection:
        connection.execute("INSERT INTO t VALUES (2)")
    restore(point, home)
    (home / "data").rename(home / "data.restored")
    with durable(home):
        assert rows(url) == [(1,)]
