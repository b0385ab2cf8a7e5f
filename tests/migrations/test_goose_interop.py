"""The real goose takes over a database that dodai migrated, and is taken over from."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable

import pytest
from tests.migrations.conftest import NO_TX, up
from tests.optional_parts import find

from dodai.migrations import run
from dodai.migrations.ports import MigrationTarget, SqlConnection
from dodai.migrations.snapshot import snapshot
from dodai.providers.postgres.cluster import Cluster

pytestmark = pytest.mark.optional_part("goose")
Make = Callable[..., MigrationTarget]
FILES = {
    "00001_a.sql": up("CREATE TABLE a (b int);", down=("DROP TABLE a;",)),
    "00002_f.sql": "-- +goose Up\n-- +goose StatementBegin\nCREATE FUNCTION f() RETURNS int LANGUAGE plpgsql AS $$\nBEGIN\n"
    "  RETURN 1;\nEND $$;\n-- +goose StatementEnd\n-- +goose Down\nDROP FUNCTION f();\n",
    "00003_i.sql": up("CREATE INDEX CONCURRENTLY i ON a (b);", down=("DROP INDEX CONCURRENTLY i;",), head=NO_TX),
}
NEXT = {"00004_c.sql": up("CREATE TABLE c (d int);", down=("DROP TABLE c;",))}


def goose(target: MigrationTarget, dsn: str, *words: str) -> str:
    folder = str(target.root / target.policy.folder)
    command = [find("goose"), "-dir", folder, "postgres", dsn, *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def status(target: MigrationTarget, dsn: str) -> list[tuple[bool, str]]:
    """Applied or pending, and the file, as `goose status` prints it; times differ from run to run."""
    lines = goose(target, dsn, "status").splitlines()
    rows = [re.search(r"(\S.*\S)\s+-- (\S+\.sql)", line) for line in lines]
    return [("Pending" not in row[1], row[2]) for row in rows if row]


@pytest.fixture
def dsn(postgres: Cluster, database: str) -> str:
    """goose speaks TCP."""
    return postgres.dsn(database.partition("?")[0].rpartition("/")[2], tcp=True)


def test_goose_takes_over_and_is_taken_over_from(make_target: Make, dsn: str, conn: SqlConnection):
    """Each applies the next file; both agree on what is applied at every point."""
    target = make_target(FILES)
    run.up(target)
    assert status(target, dsn) == [(True, name) for name in FILES]
    assert "no migrations to run" in goose(target, dsn, "up")
    make_target(NEXT)
    goose(target, dsn, "up")
    assert run.status(target).ok
    assert run.applied_ids(target) == ("1", "2", "3", "4")
    assert not run.up(target).changed
    make_target({"00005_e.sql": up("SELECT 1;", down=("SELECT 1;",))})
    run.up(target)
    assert [applied for applied, _ in status(target, dsn)] == [True] * 5


def test_status_and_schema_are_those_of_a_goose_only_database(
    make_target: Make, dsn: str, conn: SqlConnection, postgres: Cluster
):
    """`goose status` is identical, the ledger has the same rows and the same shape."""
    target = make_target({**FILES, **NEXT})
    run.up(target)
    ledger = "SELECT id, version_id, is_applied FROM goose_db_version ORDER BY id"
    shape = "SELECT column_name, data_type, is_nullable, column_default, is_identity FROM information_schema.columns WHERE table_name = 'goose_db_version' ORDER BY 1"
    mine = (snapshot(conn), conn.execute(ledger).fetchall(), conn.execute(shape).fetchall(), status(target, dsn))
    conn.execute("DROP SCHEMA dodai CASCADE; DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    goose(target, dsn, "up")
    theirs = (snapshot(conn), conn.execute(ledger).fetchall(), conn.execute(shape).fetchall(), status(target, dsn))
    assert mine == theirs


def test_dodai_takes_over_from_goose_and_then_notices_edits(make_target: Make, dsn: str):
    """The first contact records what goose applied; a later edit is refused."""
    target = make_target(FILES)
    goose(target, dsn, "up")
    assert run.status(target).ok
    assert not run.up(target).changed
    make_target({"00001_a.sql": FILES["00001_a.sql"].replace("b int", "b bigint")})
    assert run.status(target).refusal is not None


def test_a_way_down_by_one_is_seen_by_the_other(make_target: Make, dsn: str):
    """Down deletes the row in both."""
    target = make_target(FILES)
    run.up(target)
    goose(target, dsn, "down")
    assert run.applied_ids(target) == ("1", "2")
    run.down(target)
    assert status(target, dsn) == [(True, "00001_a.sql"), (False, "00002_f.sql"), (False, "00003_i.sql")]
    goose(target, dsn, "up")
    assert run.status(target).ok
