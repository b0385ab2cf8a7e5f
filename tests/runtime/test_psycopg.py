"""Statements against a real PostgreSQL, counted in the request that ran them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool, PoolTimeout

import dodai.psycopg
from dodai.core.request import RequestContext, bind, unbind
from dodai.operations.ports import Fault
from dodai.providers.local.fault_proxy import FaultProxy
from dodai.runtime import Runtime, RuntimeConfig

Config = Callable[..., RuntimeConfig]


@pytest.fixture
def context(config: Config) -> Any:
    Runtime._current = Runtime(config("backend"))
    context = Runtime._current.open(trusted=False)
    token = bind(context)
    yield context
    unbind(token)


@asynccontextmanager
async def proxied(dsn: str) -> AsyncIterator[tuple[FaultProxy, str]]:
    """A fault proxy in front of the database, and the way through it."""
    address = psycopg.conninfo.conninfo_to_dict(dsn)
    proxy = FaultProxy("database")
    await proxy.listen()
    host, port = str(address["host"]), int(address["port"])
    proxy.point(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port))
    try:
        yield proxy, psycopg.conninfo.make_conninfo(dsn, host="127.0.0.1", port=proxy.port)
    finally:
        await proxy.close()


async def connect(url: str, **arguments: Any) -> Any:
    return await dodai.psycopg.AsyncConnection.connect(url, autocommit=True, **arguments)


async def test_statements_are_counted_whatever_cursor_runs_them(context: RequestContext, database: str):
    """execute, executemany, raw and server-side cursors, COPY: each statement counts once, BEGIN and COMMIT do not."""
    async with await connect(database) as connection:
        await connection.execute("CREATE TABLE t (n int)")
        await connection.execute(sql.SQL("INSERT INTO t VALUES ({})").format(1))
        async with connection.cursor() as cursor:
            await cursor.executemany("INSERT INTO t VALUES (%s)", [(2,), (3,)])
            async with cursor.copy("COPY t FROM STDIN") as copy:
                await copy.write("4\n")
        async with psycopg.AsyncRawCursor(connection, row_factory=dict_row) as cursor:
            await cursor.execute("SELECT n FROM t WHERE n = $1", (1,))
            assert await cursor.fetchall() == [{"n": 1}]
        async with connection.transaction(), connection.cursor("named") as cursor:
            await cursor.execute("SELECT n FROM t")
            assert len(await cursor.fetchall()) == 4
    assert context.db_count == 6
    assert context.db_ms > 0
    assert context.sub_lines is None


async def test_failed_statement_has_a_line_without_the_statement(context: RequestContext, database: str):
    """A constraint is an answer; a cancelled statement is a timeout; neither line has SQL or values."""
    async with await connect(database, options="-c statement_timeout=50") as connection:
        with pytest.raises(psycopg.errors.SyntaxError):
            await connection.execute("SELECT taro FROM")
        assert context.failed_dependency is None
        for statement, seconds in ("/* who */ SELECT pg_sleep(%s)", 30), ("/* who */ SELECT pg_sleep(%s)", 31):
            with pytest.raises(psycopg.errors.QueryCanceled):
                await connection.execute(statement, (seconds,))
        with pytest.raises(psycopg.errors.QueryCanceled):
            await connection.execute("SELECT 1, pg_sleep(%s)", (30,))
    assert context.failed_dependency == "database"
    line, again, other = context.sub_lines
    assert (line["type"], line["operation"], line["outcome"]) == ("sql", "SELECT", "timeout")
    assert (line["error"], line["dependency"]) == ("psycopg.errors.QueryCanceled", "database")
    assert "pg_sleep" not in str(line)
    assert re.fullmatch("[0-9a-f]{8}", line["statement"])  # by which one statement is found again, whatever its values
    assert line["statement"] == again["statement"] != other["statement"]


async def test_statement_ends_with_the_requests_deadline(context: RequestContext, database: str):
    """With 100 ms left a statement of 30 s ends as a TimeoutError, and the connection is usable afterwards."""
    async with await connect(database) as connection:
        context.deadline = time.monotonic() + 0.1
        with pytest.raises(TimeoutError):
            await connection.execute("SELECT pg_sleep(30)")
        context.deadline = None
        row = await (await connection.execute("SELECT 1")).fetchone()
    assert row == (1,)
    assert context.sub_lines[0]["outcome"] == "timeout"


async def test_statement_on_a_frozen_connection_ends_with_the_dependencys_deadline(
    config: Config,
    context: RequestContext,
    database: str,
):
    """A server that went silent is given up in good time, although psycopg would wait ten seconds for it to agree."""
    sections = {"dependency": {"database": {"deadline": 0.2}}}
    Runtime._current = Runtime(config("backend", sections=sections))
    async with proxied(database) as (proxy, through):
        connection = await connect(through)
        await proxy.stand(Fault(mode="half_open"))
        async with asyncio.timeout(5.0):
            with pytest.raises(TimeoutError):
                await connection.execute("SELECT 1")
        assert connection.closed
        assert context.sub_lines[0]["outcome"] == "timeout"


async def test_check_of_a_frozen_connection_ends_with_the_wait_for_the_pool(
    config: Config,
    context: RequestContext,
    database: str,
):
    """A pool whose connections went silent costs its own timeout, not that and the deadline of a statement as well."""
    sections = {"dependency": {"database": {"deadline": 30.0}}}
    Runtime._current = Runtime(config("backend", sections=sections))
    async with proxied(database) as (proxy, through):
        pool = AsyncConnectionPool(
            through,
            connection_class=dodai.psycopg.AsyncConnection,
            min_size=2,
            timeout=0.5,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )
        try:
            await pool.open(wait=True)
            await proxy.stand(Fault(mode="half_open"))
            async with asyncio.timeout(10.0):
                with pytest.raises((TimeoutError, PoolTimeout)):
                    async with dodai.psycopg.connection(pool):
                        pytest.fail("there is no connection to lend")
            assert (context.failed_dependency, context.sub_lines[-1]["operation"]) == ("database", "CONNECT")
        finally:
            await pool.close(timeout=0.1)


async def test_pool_uses_the_class_and_the_limits_of_the_manifest(
    config: Config,
    context: RequestContext,
    database: str,
):
    """`[dependency.database]` becomes connect and statement timeouts; a pooler gets no start-up options."""
    sections = {"dependency": {"database": {"connect_timeout": 1.0, "deadline": 5.0, "statement_timeout": 0.25}}}
    limited = config("backend", sections=sections)
    arguments = dodai.psycopg.options("database", config=limited)
    assert arguments == {"connect_timeout": 1, "tcp_user_timeout": 5000, "options": "-c statement_timeout=250"}
    assert "options" not in dodai.psycopg.options("database", pooler=True, config=limited)
    assert dodai.psycopg.options("other", config=limited) == {}
    pool = AsyncConnectionPool(
        database, connection_class=dodai.psycopg.AsyncConnection, kwargs=arguments, min_size=1, open=False
    )
    async with pool, pool.connection() as connection:
        row = await (await connection.execute("SHOW statement_timeout")).fetchone()
    assert row == ("250ms",)
    assert context.db_count == 1


@pytest.mark.parametrize("threads", [False, True])
async def test_wait_for_a_connection_is_in_the_request(context: RequestContext, database: str, threads: bool):
    """Nobody sees an empty pool otherwise: the statement itself was quick."""
    kind: Any = ConnectionPool if threads else AsyncConnectionPool
    pool = kind(
        database, connection_class=dodai.psycopg.Connection if threads else dodai.psycopg.AsyncConnection, open=False
    )
    if threads:
        with pool, dodai.psycopg.connection_sync(pool) as connection:
            connection.execute("SELECT 1")
    else:
        async with pool, dodai.psycopg.connection(pool) as connection:
            await connection.execute("SELECT 1")
    assert context.pool_wait_ms > 0.0
    assert context.db_count == 1


def test_threads_count_too(context: RequestContext, database: str):
    """The blocking connection does the same."""
    with dodai.psycopg.Connection.connect(database, autocommit=True) as connection:
        connection.execute("SELECT 1")
        with pytest.raises(psycopg.errors.UndefinedTable):
            connection.execute("SELECT * FROM nothing")
    assert context.db_count == 2


async def test_outside_a_request_nothing_is_counted(database: str):
    """Start-up queries run as with psycopg alone."""
    async with await connect(database) as connection:
        assert await (await connection.execute("SELECT 1")).fetchone() == (1,)


LIMITS = {"dependency": {"database": {"deadline": 0.4, "breaker_failures": 2, "breaker_reset": 0.3}}}


async def test_database_that_is_down_is_refused_at_once_and_served_again_when_it_is_back(
    config: Config,
    context: RequestContext,
    database: str,
):
    """Two requests wait for the pool, the next ones do not; the first after the pause that succeeds lets all through."""
    Runtime._current = Runtime(config("backend", sections=LIMITS))
    async with proxied(database) as (proxy, through):
        pool = AsyncConnectionPool(
            through,
            connection_class=dodai.psycopg.AsyncConnection,
            kwargs={"connect_timeout": 1},
            min_size=1,
            check=AsyncConnectionPool.check_connection,
            open=False,
        )

        async def ask() -> str:
            try:
                async with dodai.psycopg.connection(pool) as connection:
                    return str((await (await connection.execute("SELECT 1")).fetchone())[0])
            except (dodai.psycopg.DependencyUnavailableError, psycopg.OperationalError, TimeoutError) as error:
                return type(error).__name__

        async with pool:
            assert await ask() == "1"
            await proxy.stand(Fault(mode="refuse"))
            answers = [await ask() for _ in range(3)]
            assert answers[-1] == "DependencyUnavailableError"
            assert "1" not in answers
            began = time.perf_counter()
            assert {await ask() for _ in range(20)} == {"DependencyUnavailableError"}
            assert time.perf_counter() - began < LIMITS["dependency"]["database"]["deadline"]
            assert context.failed_dependency == "database"
            await proxy.stand(Fault())
            async with asyncio.timeout(10):
                while await ask() != "1":  # noqa: ASYNC110 - the condition is an answer of the database
                    await asyncio.sleep(0.02)
            assert {await ask() for _ in range(5)} == {"1"}


async def test_ten_connections_that_broke_keep_nobody_out_once_the_database_is_back(
    config: Config,
    context: RequestContext,
    database: str,
):
    """The one call that finds out goes through all of them; the pool alone would stop at the second for a second."""
    sections = {"dependency": {"database": {"deadline": 20.0, "breaker_failures": 2, "breaker_reset": 0.1}}}
    Runtime._current = Runtime(config("backend", sections=sections))
    async with proxied(database) as (proxy, through):
        pool = AsyncConnectionPool(
            through,
            connection_class=dodai.psycopg.AsyncConnection,
            min_size=10,
            check=AsyncConnectionPool.check_connection,
            reconnect_timeout=0.1,
            open=False,
        )
        async with pool:
            await pool.wait()
            guard = Runtime.current().guard("database")
            for _ in range(2):
                guard.leave(failed=True)
            assert guard.is_open
            await proxy.stand(Fault(mode="refuse"))  # what is open is reset
            await proxy.stand(Fault())
            answer = None
            while answer is None:  # until the breaker lets one call through, which has to be answered
                with contextlib.suppress(dodai.psycopg.DependencyUnavailableError):
                    async with dodai.psycopg.connection(pool) as connection:
                        answer = await (await connection.execute("SELECT 1")).fetchone()
                await asyncio.sleep(0.01)
            assert answer == (1,)
            assert not guard.is_open
            broken = [line for line in context.sub_lines if line["outcome"] != "ok"]
            assert len(broken) >= 10


async def test_answers_of_the_database_never_open_its_breaker(
    config: Config,
    context: RequestContext,
    database: str,
):
    """Errors in SQL, constraints and its own statement timeout come from a database that is alive."""
    Runtime._current = Runtime(config("backend", sections=LIMITS))
    async with await connect(database, options="-c statement_timeout=20") as connection:
        for _ in range(3):
            with pytest.raises(psycopg.errors.SyntaxError):
                await connection.execute("SELECT FROM WHERE")
            with pytest.raises(psycopg.errors.QueryCanceled):
                await connection.execute("SELECT pg_sleep(10)")
        assert (await (await connection.execute("SELECT 1")).fetchone()) == (1,)


def test_breaker_refuses_statements_of_threads_too(config: Config, context: RequestContext, database: str):
    """After two connections whose server died under them, a third is not even tried."""
    Runtime._current = Runtime(config("backend", sections=LIMITS))
    for _ in range(2):
        connection = dodai.psycopg.Connection.connect(database, autocommit=True)
        with connection, pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    connection = dodai.psycopg.Connection.connect(database, autocommit=True)
    with connection, pytest.raises(dodai.psycopg.DependencyUnavailableError):
        connection.execute("SELECT 1")
