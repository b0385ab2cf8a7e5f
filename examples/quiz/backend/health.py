"""grpc.health.v1, asked rather than told: each check looks at the database, so the answer is true when it is given."""

from __future__ import annotations

import asyncio
import logging

import grpc
import psycopg
import psycopg_pool
from grpc_health.v1 import health_pb2, health_pb2_grpc

import dodai.psycopg
from backend.store import Pool, Store

LOOK_TIMEOUT_S = 1.0
SILENT = (
    TimeoutError,
    psycopg.Error,
    psycopg_pool.PoolTimeout,
    psycopg_pool.TooManyRequests,
    dodai.psycopg.DependencyUnavailableError,
)
log = logging.getLogger("quiz.health")
Reply = health_pb2.HealthCheckResponse


class Health(health_pb2_grpc.HealthServicer):
    """SERVING while the database answers, has the schema of this release, and the process is not about to leave."""

    def __init__(self, store: Store, pool: Pool) -> None:
        self._store = store
        self._pool = pool
        self._leaving = False
        self._said = ""

    def leave(self) -> None:
        """From now on: NOT_SERVING, so that nobody new is sent here while the last calls are finished."""
        self._leaving = True

    async def Check(  # noqa: N802
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext
    ) -> health_pb2.HealthCheckResponse:
        if request.service not in ("", "quiz.v1.Quiz"):
            await context.abort(grpc.StatusCode.NOT_FOUND, f"no service named `{request.service}`")
        serving = not self._leaving and await self._database_answers() and await self._schema_fits()
        return Reply(status=Reply.SERVING if serving else Reply.NOT_SERVING)

    async def _database_answers(self) -> bool:
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                await self._store.ping()
        except SILENT:
            return False
        return True

    async def _schema_fits(self) -> bool:
        fits = await dodai.psycopg.schema_ready(self._pool, timeout_s=LOOK_TIMEOUT_S)
        if not fits and fits.detail != self._said:
            log.warning("%s", fits.detail)  # a deploy shows the last output of what never became ready
            self._said = fits.detail
        return bool(fits)
