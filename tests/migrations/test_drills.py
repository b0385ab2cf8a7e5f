"""Every database drill shows what it promises and leaves the database as it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
from tests.migrations.conftest import FAST, up

from dodai.migrations import run
from dodai.migrations.ports import MigrationTarget, SqlConnection
from dodai.migrations.snapshot import snapshot
from dodai.providers.postgres.cluster import Cluster
from dodai.rehearsal.drills.migrations import database_drills

Make = Callable[..., MigrationTarget]
NAMES = [drill.id for drill in database_drills(MigrationTarget(None, FAST, lambda: pytest.fail("not asked")))]  # type: ignore[arg-type]


@dataclass(frozen=True)
class Stage:
    """The part of a rehearsal's stage that these drills use."""

    database_url: str


@pytest.mark.parametrize("name", NAMES)
async def test_a_drill_sees_what_it_expects_and_leaves_nothing(
    name: str, make_target: Make, conn: SqlConnection, database: str, postgres: Cluster
):
    """The application's own history stays applied and unedited."""
    target = make_target({"1_a.sql": up("CREATE TABLE a (b int);")})
    run.up(target)
    before = snapshot(conn), conn.execute("SELECT count(*) FROM dodai.migration_log").fetchone()[0]
    (drill,) = (drill for drill in database_drills(target) if drill.id == name)
    url = postgres.dsn(database.partition("?")[0].rpartition("/")[2], tcp=True)
    result = await drill.run(Stage(url))  # type: ignore[arg-type]
    assert result.ok, (result.observed, result.details)
    assert (snapshot(conn), conn.execute("SELECT count(*) FROM dodai.migration_log").fetchone()[0]) == before
    assert run.status(target).ok


async def test_drills_find_the_log_in_the_schema_of_the_manifest(
    make_target: Make, conn: SqlConnection, database: str, postgres: Cluster
):
    """Also the command that one of them starts and kills; what they wrote there is gone afterwards."""
    target = make_target({"1_a.sql": up("CREATE TABLE a (b int);")}, replace(FAST, log_schema="ops"))
    run.up(target)
    url = postgres.dsn(database.partition("?")[0].rpartition("/")[2], tcp=True)
    for drill in (each for each in database_drills(target) if each.id in ("killed-migration-goes-on", "lock-storm")):
        result = await drill.run(Stage(url))  # type: ignore[arg-type]
        assert result.ok, (result.observed, result.details)
    assert conn.execute("SELECT count(*) FROM ops.migration_log").fetchone() == (1,)
    assert conn.execute("SELECT to_regnamespace('dodai')").fetchone() == (None,)
