"""The same engine on the PostgreSQL that Debian ships, which is an older major version than the wheel's."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.migrations.conftest import FAST, NO_TX, up

from dodai.migrations import run
from dodai.migrations.lock_probe import probe, tables
from dodai.migrations.migration import Statement
from dodai.migrations.ports import MigrationTarget
from dodai.migrations.snapshot import snapshot
from dodai.providers.postgres.binaries import search
from dodai.providers.postgres.cluster import throw_away
from dodai.providers.postgres.connection import connect

FILES = {
    "1_a.sql": up("CREATE TABLE a (b int);", down=("DROP TABLE a;",)),
    "2_i.sql": up("CREATE INDEX CONCURRENTLY i ON a (b);", down=("DROP INDEX CONCURRENTLY i;",), head=NO_TX),
}


@pytest.mark.optional_part("debian-postgres")
def test_up_down_snapshot_and_probe_work_on_the_systems_postgresql(tmp_path: Path):
    """Catalog queries are the part that could differ between versions."""
    folder = tmp_path / "db" / "migrations"
    folder.mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    system = next(each for each in search()[0] if each.source == "system")
    with throw_away(system) as cluster, cluster.fresh_database("old") as dsn:
        target = MigrationTarget(tmp_path, FAST, lambda: connect(dsn))
        conn = connect(dsn, autocommit=True)
        empty = snapshot(conn)
        assert len(run.up(target).ran) == 2
        assert any("CREATE INDEX i" in line for line in snapshot(conn).lines)
        conn.execute("BEGIN")
        before = tables(conn)
        seen, _ = probe(conn, Statement("ALTER TABLE a ALTER COLUMN b TYPE bigint;", 1), before, set(before))
        conn.execute("ROLLBACK")
        assert [(e.table, e.lock, e.rewritten) for e in seen.effects if e.rewritten] == [
            ("public.a", "AccessExclusiveLock", True)
        ]
        run.down(target, count=2)
        assert snapshot(conn) == empty
        conn.close()
