"""Whether the database has the migrations this release needs, asked of a real one."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.run import MigrationTarget, required_ids, up
from dodai.operations.ports import Fault
from dodai.providers.local.fault_proxy import FaultProxy
from dodai.providers.postgres.connection import connect
from dodai.psycopg import AsyncConnection, schema_ready, schema_ready_sync
from dodai.runtime import Runtime, RuntimeConfig

Config = Callable[..., RuntimeConfig]
FIRST, SECOND = "20260101000000", "20260102000000"
SQL = "-- +goose Up\nCREATE TABLE {0} (n int);\n-- +goose Down\nDROP TABLE {0};\n"


@pytest.fixture
def target(tmp_path: Path, database: str) -> MigrationTarget:
    """A tree with one migration, and an empty database."""
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / f"{FIRST}_one.sql").write_text(SQL.format("one"))
    return MigrationTarget(tmp_path, MigrationsPolicy(folder="m"), lambda: connect(database))


@pytest.fixture
def require(config: Config, target: MigrationTarget) -> Callable[..., None]:
    """Says what the release of this process needs: what its tree holds now."""

    def now() -> None:
        Runtime._current = Runtime(config("backend", required_schema=",".join(required_ids(target))))

    return now


@pytest.fixture
async def pool(database: str) -> AsyncIterator[Any]:
    pool = AsyncConnectionPool(database, kwargs={"row_factory": dict_row}, min_size=1, open=False)
    async with pool:
        yield pool


def add_second(target: MigrationTarget) -> None:
    (target.root / "m" / f"{SECOND}_two.sql").write_text(SQL.format("two"))


async def test_release_is_ready_when_its_migrations_are_applied_and_not_before(pool, target, require):
    """An empty database has no ledger; a half migrated one names what is missing."""
    add_second(target)
    require()
    assert (await schema_ready(pool)).missing == (FIRST, SECOND)
    (target.root / "m" / f"{SECOND}_two.sql").rename(target.root / "later.sql")
    up(target)
    (target.root / "later.sql").rename(target.root / "m" / f"{SECOND}_two.sql")
    waiting = await schema_ready(pool)
    assert not waiting
    assert waiting.detail == f"DOD255 schema-not-ready: 1 migrations missing: `{SECOND}`"
    up(target)
    assert await schema_ready(pool)


async def test_newer_migrations_do_no_harm(pool, target, require):
    """The release that is about to be replaced stays ready when the next one has migrated."""
    require()
    add_second(target)
    up(target)
    assert await schema_ready(pool)


async def test_once_ready_the_database_is_asked_no_more(pool, target, require):
    """A full pool must not close the door of a service that works."""
    require()
    up(target)
    assert await schema_ready(pool)
    await pool.close()
    assert await schema_ready(pool)


async def test_without_a_requirement_nobody_is_asked(config: Config):
    """A service that needs no migration is ready without a database."""
    Runtime._current = Runtime(config("web"))
    assert await schema_ready(object())
    assert schema_ready_sync(object())


async def test_database_that_does_not_answer_is_not_ready_and_raises_nothing(require):
    """The reason names no host, user or password."""
    require()
    with socket.socket() as refusing:
        refusing.bind(("127.0.0.1", 0))
        url = f"postgresql://secret:hidden@127.0.0.1:{refusing.getsockname()[1]}/app"
        async with AsyncConnectionPool(url, min_size=1, open=False) as pool:
            said = await schema_ready(pool, timeout_s=0.2)
    assert not said
    assert re.fullmatch(r"DOD255 [a-z-]+: the database could not be asked \([\w.]*Timeout\w*\)", said.detail)
    assert said.missing == (FIRST,)


async def test_database_that_went_silent_is_given_up(database: str, target, require):
    """A half-open connection costs the time that was given, whether or not the pool knows of it."""
    require()
    up(target)
    address = psycopg.conninfo.conninfo_to_dict(database)
    host, port = str(address["host"]), int(address["port"])
    proxy = FaultProxy("database")
    await proxy.listen()
    proxy.point(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port))
    through = psycopg.conninfo.make_conninfo(database, host="127.0.0.1", port=proxy.port)
    try:
        connection = await AsyncConnection.connect(through)
        await proxy.stand(Fault(mode="half_open"))
        async with asyncio.timeout(5.0):
            said = await schema_ready(connection, timeout_s=0.2)
        assert (said.ready, said.missing) == (False, (FIRST,))
        assert connection.closed
    finally:
        await proxy.close()


@pytest.mark.parametrize("autocommit", [True, False])
async def test_connection_is_left_as_it_was(database: str, target, require, autocommit):
    """No transaction is begun, and the caller's own is not spoiled by a ledger that does not exist."""
    require()
    async with await psycopg.AsyncConnection.connect(database, autocommit=autocommit) as connection:
        assert not await schema_ready(connection)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        async with connection.transaction():
            await connection.execute("CREATE TEMPORARY TABLE mine (n int)")
            assert not await schema_ready(connection)
            await connection.execute("INSERT INTO mine VALUES (1)")
        up(target)
        assert await schema_ready(connection)


def test_threads_ask_the_same_question(database: str, target, require):
    """A synchronous pool and connection, before and after."""
    require()
    with ConnectionPool(database, min_size=1, open=True) as pool, psycopg.connect(database) as connection:
        assert schema_ready_sync(pool).missing == (FIRST,)
        assert schema_ready_sync(connection).missing == (FIRST,)
        up(target)
        assert schema_ready_sync(pool)
        assert schema_ready_sync(connection)
        connection.close()
        assert schema_ready_sync(connection), "once true it stays true"
    with psycopg.connect(database) as closed:
        closed.close()
        assert not schema_ready_sync(closed)
