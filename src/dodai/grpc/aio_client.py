"""The asyncio client side: one interceptor for each of the four kinds of call, as `grpc.aio` wants it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from grpc import aio

from dodai.grpc.calling import Calling, Target, status_of

Continuation = Callable[[Any, Any], Awaitable[Any]]


class _Interceptor:
    def __init__(self, target: Target) -> None:
        self._target = target

    def _begin(self, details: Any) -> tuple[Calling, Any]:
        calling = Calling(self._target, details.method, details.timeout)
        ready = aio.ClientCallDetails(
            details.method,
            calling.timeout_s,
            aio.Metadata(*calling.metadata(details.metadata)),
            details.credentials,
            details.wait_for_ready,
        )
        return calling, ready

    async def _single(self, continuation: Continuation, details: Any, request: Any) -> Any:
        calling, ready = self._begin(details)
        try:
            call = await continuation(ready, request)
            await call
        except BaseException as error:
            calling.done(status_of(error), error)
            raise
        calling.done("OK")
        return call

    async def _stream(self, continuation: Continuation, details: Any, request: Any) -> Any:
        calling, ready = self._begin(details)
        try:
            call = await continuation(ready, request)
        except BaseException as error:
            calling.done(status_of(error), error)
            raise
        return _counted(call, calling)


class UnaryUnary(_Interceptor, aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_unary(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        return await self._single(continuation, client_call_details, request)


class StreamUnary(_Interceptor, aio.StreamUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_stream_unary(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._single(continuation, client_call_details, request_iterator)


class UnaryStream(_Interceptor, aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_stream(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        return await self._stream(continuation, client_call_details, request)


class StreamStream(_Interceptor, aio.StreamStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_stream_stream(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._stream(continuation, client_call_details, request_iterator)


async def _counted(call: Any, calling: Calling) -> AsyncIterator[Any]:
    try:
        async for message in call:
            yield message
    except BaseException as error:
        calling.done(status_of(error), error)
        raise
    calling.done((await call.code()).name)


def interceptors(target: Target) -> list[Any]:
    """One interceptor per kind of call: `grpc.aio` looks at the first kind an interceptor has and no further."""
    return [UnaryUnary(target), UnaryStream(target), StreamUnary(target), StreamStream(target)]
