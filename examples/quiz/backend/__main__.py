"""`python -m backend`: serves the quiz on 127.0.0.1:$PORT until SIGTERM, then finishes what it began and leaves."""

from __future__ import annotations

import asyncio
import os
import signal

import grpc
from grpc_health.v1 import health_pb2_grpc
from psycopg_pool import AsyncConnectionPool

import dodai.grpc
import dodai.psycopg
from backend.faults import DatabaseFaults
from backend.health import Health
from backend.service import Quiz
from backend.settings import Settings
from backend.store import Pool, Store
from contract.quiz_pb2_grpc import add_QuizServicer_to_server
from dodai.runtime import RuntimeConfig, stopping

POOL_SIZE = 10
POOL_WAIT_S = 2.0
# A pool that lost every connection waits 1, 2, 4, 8 … s between its attempts, for as long as this. Once it gave up, the
# next request connects at once.
RECONNECT_S = 2.0
LOCK_TIMEOUT_MS = 2000
# Below the deadline in dodai.toml: the kernel notices a connection that went silent up to half a second late.
SILENCE_MS = 3000
DRAIN_S = 8.0


def make_pool(settings: Settings) -> Pool:
    """A pool in which nothing waits for ever: not for a connection, a lock or a statement."""
    limits = dodai.psycopg.options("database")
    size = int(RuntimeConfig.from_environment().dependency("database").get("pool_size", POOL_SIZE))
    return AsyncConnectionPool(
        settings.database_url,
        connection_class=dodai.psycopg.AsyncConnection,
        kwargs={
            **limits,
            "tcp_user_timeout": SILENCE_MS,
            "application_name": "quiz-backend",
            # A pooler in transaction mode gives the next statement another server, where nothing was prepared.
            "prepare_threshold": None,
            "options": f"{limits.get('options', '')} -c lock_timeout={LOCK_TIMEOUT_MS}",
        },
        min_size=2,
        max_size=size,
        timeout=POOL_WAIT_S,
        max_waiting=size * 10,
        reconnect_timeout=RECONNECT_S,
        check=AsyncConnectionPool.check_connection,
        open=False,
    )


async def main() -> None:
    settings = Settings.of(os.environ)
    pool = make_pool(settings)
    await pool.open(wait=False)
    store = Store(pool)
    health = Health(store, pool)
    server = grpc.aio.server(interceptors=[*dodai.grpc.aio_server_interceptors(), DatabaseFaults()])
    add_QuizServicer_to_server(Quiz(store), server)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    server.add_insecure_port(f"127.0.0.1:{settings.port}")
    await server.start()
    await stop_signal()
    stopping()
    health.leave()
    await server.stop(DRAIN_S)
    await pool.close()


async def stop_signal() -> None:
    """Returns at SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()


if __name__ == "__main__":
    asyncio.run(main())
