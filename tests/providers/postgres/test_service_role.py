"""The role of services reads and writes rows, and of what dodai keeps it may only read, wherever that is."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from tests.migrations.conftest import FAST, make_target, up  # noqa: F401 - a fixture

from dodai.migrations import run
from dodai.migrations.ports import MigrationTarget
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.service_role import ensure_service_role, role_differs

LEDGER = "goose_db_version"
PASSWORD = "x-1"


@pytest.fixture
def role(database: str) -> Iterator[str]:
    name = f"services_{secrets.token_hex(4)}"
    yield name
    with connect(database, autocommit=True) as owner:
        owner.execute(f"DROP OWNED BY {name} CASCADE; DROP ROLE {name}")


@pytest.mark.parametrize("schema", ["dodai", "public", "ops", "shared"])
def test_services_write_rows_and_not_the_log(
    database: str,
    role: str,
    make_target: Callable[..., MigrationTarget],  # noqa: F811
    schema: str,
) -> None:
    """Also where the log stands between tables of the application, and where it was made after the role."""
    target = make_target({"1_a.sql": up("CREATE TABLE a (b int);")})
    target = replace(target, policy=replace(FAST, log_schema=schema))
    with connect(database, autocommit=True) as owner:
        owner.execute("CREATE SCHEMA shared; CREATE TABLE shared.mine (b int)")
    ensure_service_role(database, role, PASSWORD, LEDGER, schema)
    run.up(target, beside_tables=True)
    assert role_differs(database, role, PASSWORD, LEDGER)
    ensure_service_role(database, role, PASSWORD, LEDGER, schema)
    assert role_differs(database, role, PASSWORD, LEDGER) == ""
    with connect(make_conninfo(database, user=role, password=PASSWORD), autocommit=True) as services:
        services.execute("INSERT INTO a VALUES (1); INSERT INTO shared.mine VALUES (1)")
        assert services.execute(f"SELECT count(*) FROM {schema}.migration_log").fetchone() == (1,)
        for table in ("migration_log", "migration_run"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                services.execute(f"DELETE FROM {schema}.{table}")
