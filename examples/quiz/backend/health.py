"""grpc.health.v1, asked rather than told: each check looks at the database, so the answer is true when it is given."""

from __future__ import annotations

import asyncio

import grpc
import psycopg
import psycopg_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc

from backend.store import Store

LOOK_TIMEOUT_S = 1.0
Reply = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """SERVING while the database answers and the process is not about to leave."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._leaving = False

    def leave(self) -> None:
        """From now on: NOT_SERVING, so that nobody new is sent here while the last calls are finished."""
        self._leaving = True

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in ("", "quiz.v1.Quiz"):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service named `{request.service}`")
        serving = not self._leaving and await self._database_answers()
        return Reply(status=Reply.SERVING if serving else Reply.NOT_SERVING)

    async def _database_answers(self) -> bool:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                await self._store.ping()
        except (TimeoutError, psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests):
            return False
        return True
