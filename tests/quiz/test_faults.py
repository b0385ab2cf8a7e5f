"""A dependency that refuses, hears nothing or says nothing: an answer in time, the rest unharmed, back soon after."""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg_pool import PoolTimeout
from psycopg_pool.base import AttemptWithBackoff
from tests.quiz.stack import QUIZ, Stack, running_quiz
from tests.support.wait import until_async

from backend.__main__ import make_pool
from backend.settings import Settings
from dodai.operations.ports import Fault
from dodai.providers.local.fault_proxy import FaultProxy
from dodai.runtime import Runtime, RuntimeConfig

# The manifest's own deadlines are longer; a test waits for them in full, so it brings a manifest with short ones.
DEADLINE_S = 1.5
MARGIN_S = 0.5
RECOVERY_S = 5.0


@asynccontextmanager
async def proxy_to(host: str, port: int) -> AsyncIterator[FaultProxy]:
    proxy = FaultProxy("test")
    await proxy.listen()
    proxy.point((host, port))
    try:
        yield proxy
    finally:
        await proxy.close()


async def start(stack: Stack, name: str, **environment: str) -> None:
    await asyncio.to_thread(stack.start, name, **environment)


@pytest.fixture
def impatient(tmp_path: Path) -> str:
    """The path of the quiz's manifest with `DEADLINE_S` in the place of every deadline."""
    text = re.sub('deadline = "[0-9]+s"', f'deadline = "{DEADLINE_S}s"', (QUIZ / "dodai.toml").read_text("utf-8"))
    manifest = tmp_path / "dodai.toml"
    manifest.write_text(text, "utf-8")
    return str(manifest)


async def check_fault(stack: Stack, proxy: FaultProxy, fault: Fault) -> None:
    async with httpx2.AsyncClient(base_url=stack.url, timeout=15) as client:
        assert (await client.get("/")).status_code == 200
        await proxy.stand(fault)
        started = time.monotonic()
        answers = await asyncio.gather(*(client.get("/") for _ in range(3)), client.get("/static/quiz.css"))
        took = time.monotonic() - started
        assert [answer.status_code in (503, 504) for answer in answers[:3]] == [True] * 3, answers
        assert all(answer.headers["x-request-id"] in answer.text for answer in answers[:3])
        assert took <= DEADLINE_S + MARGIN_S
        assert answers[3].status_code == 200
        assert (await client.get("/healthz")).status_code == 200
        await proxy.stand(Fault())
        await recovered(client)


async def recovered(client: httpx2.AsyncClient) -> None:
    """Returns when pages come again; the breaker lets a call through from time to time to find out."""
    end = time.monotonic() + RECOVERY_S
    while (await client.get("/")).status_code != 200:
        assert time.monotonic() < end, "not back in time"
        await asyncio.sleep(0.05)


async def test_pool_that_lost_every_connection_connects_for_the_next_who_asks(
    postgres, database, tmp_path, monkeypatch
):
    """However long the database was away: nobody waits for the pause between two attempts to end."""
    monkeypatch.setenv("DODAI_MANIFEST", str(QUIZ / "dodai.toml"))
    monkeypatch.setattr(Runtime, "_current", Runtime(RuntimeConfig(state=tmp_path)))
    monkeypatch.setattr(AttemptWithBackoff, "INITIAL_DELAY", 600.0)  # pauses double: so long after ten minutes
    direct = conninfo_to_dict(postgres.dsn(conninfo_to_dict(database)["dbname"], tcp=True))
    async with proxy_to("127.0.0.1", int(direct["port"])) as proxy:
        url = make_conninfo(**{**direct, "host": "127.0.0.1", "port": str(proxy.port)})
        async with make_pool(Settings(port=0, database_url=url)) as pool:
            lent = [await pool.getconn() for _ in range(pool.max_size)]
            for connection in lent:
                await pool.putconn(connection)
            await proxy.stand(Fault(mode="refuse"))
            await pool.check()
            await until_async(lambda: pool.get_stats().get("connections_errors", 0) >= pool.max_size)
            await proxy.stand(Fault())

            async def lends() -> bool:
                with contextlib.suppress(PoolTimeout):
                    await pool.putconn(await pool.getconn(1.0))
                    return True
                return False

            await until_async(lends, "the pool lends a connection", within_s=30.0)


@pytest.mark.parametrize("mode", ["refuse", "half_open"])
async def test_fault_in_front_of_the_backend(quiz_database, tmp_path, impatient, mode):
    """Callers get 503 or 504 with the request id within the deadline; five seconds later all is well."""
    with running_quiz(quiz_database, tmp_path, "backend", manifest=impatient) as stack:
        host, port = stack.addresses["backend"].split(":")
        async with proxy_to(host, int(port)) as proxy:
            await start(stack, "web", BACKEND_ADDR=proxy.address)
            await check_fault(stack, proxy, Fault(mode=mode))


@pytest.mark.parametrize("mode", ["half_open"])
async def test_fault_in_front_of_the_database(postgres, quiz_database, tmp_path, impatient, mode):
    """The backend stays up and says so in time; its pool finds the database again by itself."""
    direct = conninfo_to_dict(postgres.dsn(conninfo_to_dict(quiz_database)["dbname"], tcp=True))
    async with proxy_to("127.0.0.1", int(direct["port"])) as proxy:
        url = make_conninfo(**{**direct, "host": "127.0.0.1", "port": str(proxy.port)})
        with running_quiz(url, tmp_path, "backend", manifest=impatient) as stack:
            await start(stack, "web")
            await check_fault(stack, proxy, Fault(mode=mode))


async def test_pool_that_is_used_up_is_told_in_time(quiz_database, tmp_path, impatient):
    """Every connection waits for a lock: who comes then hears 503 or 504, and is served once the lock is gone."""
    with running_quiz(quiz_database, tmp_path, "backend", "web", manifest=impatient) as stack:
        async with httpx2.AsyncClient(base_url=stack.url, timeout=15) as client:
            with psycopg.connect(quiz_database) as connection:
                connection.execute("LOCK TABLE questions IN ACCESS EXCLUSIVE MODE")
                started = time.monotonic()
                answers = await asyncio.gather(*(client.get("/") for _ in range(30)))
                assert time.monotonic() - started <= DEADLINE_S + MARGIN_S
                assert {answer.status_code for answer in answers} <= {503, 504}
            await recovered(client)
