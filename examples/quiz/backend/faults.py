"""What a failing database means to the caller: one table, one interceptor around every call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import psycopg
import psycopg_pool

from dodai.core.request import current

# The first row that fits decides. What is not listed is a fault of ours and stays INTERNAL.
STATUS_OF: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (TimeoutError, grpc.StatusCode.DEADLINE_EXCEEDED),
    (psycopg_pool.PoolTimeout, grpc.StatusCode.UNAVAILABLE),
    (psycopg_pool.TooManyRequests, grpc.StatusCode.UNAVAILABLE),
    (psycopg.errors.QueryCanceled, grpc.StatusCode.DEADLINE_EXCEEDED),
    (psycopg.errors.LockNotAvailable, grpc.StatusCode.UNAVAILABLE),
    (psycopg.errors.SerializationFailure, grpc.StatusCode.ABORTED),
    (psycopg.errors.DeadlockDetected, grpc.StatusCode.ABORTED),
    (psycopg.OperationalError, grpc.StatusCode.UNAVAILABLE),
    (psycopg.errors.IntegrityError, grpc.StatusCode.FAILED_PRECONDITION),
    # What no column can hold: a NUL in a text, say.
    (psycopg.DataError, grpc.StatusCode.INVALID_ARGUMENT),
)


class DatabaseFaults(grpc.aio.ServerInterceptor):
    """Answers UNAVAILABLE and its like when it is the database that failed; the caller may try again or say so."""

    def __init__(self) -> None:
        self._guarded: dict[str, grpc.RpcMethodHandler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        handler = await continuation(handler_call_details)
        if handler is None or handler.unary_unary is None:
            return handler
        return self._guarded.setdefault(handler_call_details.method, _guard(handler))


def _guard(handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
    serve = handler.unary_unary

    async def guarded(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await serve(request, context)
        except tuple(kind for kind, _ in STATUS_OF) as error:
            status = next(status for kind, status in STATUS_OF if isinstance(error, kind))
            note(error)
            await context.abort(status, f"the database: {type(error).__name__}")

    return grpc.unary_unary_rpc_method_handler(guarded, handler.request_deserializer, handler.response_serializer)


def note(error: Exception) -> None:
    """Into the line of this call: the kind of error, never its words, which may quote what somebody typed."""
    request = current()
    if request is not None:
        request.error = type(error).__name__
