"""What a failing database means to the caller, and the release in the answer: one interceptor around every call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import psycopg
import psycopg_pool

# The first row that fits decides. What is not listed is a fault of ours and stays INTERNAL.
STATUS_OF: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (psycopg_pool.PoolTimeout, grpc.StatusCode.UNAVAILABLE),
    (psycopg_pool.TooManyRequests, grpc.StatusCode.UNAVAILABLE),
    (psycopg.errors.QueryCanceled, grpc.StatusCode.DEADLINE_EXCEEDED),
    (psycopg.errors.LockNotAvailable, grpc.StatusCode.UNAVAILABLE),
    (psycopg.errors.SerializationFailure, grpc.StatusCode.ABORTED),
    (psycopg.errors.DeadlockDetected, grpc.StatusCode.ABORTED),
    (psycopg.OperationalError, grpc.StatusCode.UNAVAILABLE),
    (psycopg.errors.IntegrityError, grpc.StatusCode.FAILED_PRECONDITION),
)


class DatabaseFaults(grpc.aio.ServerInterceptor):
    """Answers UNAVAILABLE and its like for a database that fails, and says which release answered (`x-release`)."""

    def __init__(self, release: str) -> None:
        self._release = release

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        serve = handler.unary_unary

        async def guarded(request: Any, context: grpc.aio.ServicerContext) -> Any:
            context.set_trailing_metadata((("x-release", self._release),))
            try:
                return await serve(request, context)
            except (psycopg.Error, psycopg_pool.PoolTimeout, psycopg_pool.TooManyRequests) as error:
                status = next((status for kind, status in STATUS_OF if isinstance(error, kind)), None)
                if status is None:
                    raise
                await context.abort(status, f"the database: {type(error).__name__}")

        return grpc.unary_unary_rpc_method_handler(
            guarded,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )
