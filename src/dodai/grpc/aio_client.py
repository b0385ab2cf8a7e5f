"""The asyncio client side: one interceptor for each of the four kinds of call, as `grpc.aio` wants it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from grpc import aio

from dodai.grpc.calling import Calling, CallRefusedError, CallTarget, status_of

Continuation = Callable[[Any, Any], Awaitable[Any]]


class _Interceptor:
    def __init__(self, target: CallTarget) -> None:
        self._target = target

    def _begin(self, details: Any) -> Calling:
        try:
            return Calling(self._target, details.method, details.timeout)
        except CallRefusedError as refused:
            raise as_aio(refused) from None

    async def _call_with_retries(self, continuation: Continuation, details: Any, request: Any) -> Any:
        calling = self._begin(details)
        while True:
            try:
                call = await continuation(_ready(calling, details), request)
                await call
            except BaseException as error:
                status = status_of(error)
                calling.done(status, error)
                if not self._target.may_retry(details.method, status, calling.attempt):
                    raise
                try:
                    calling.again()
                except CallRefusedError as refused:
                    raise as_aio(refused) from error
                continue
            calling.done("OK")
            return call

    async def _watched(self, continuation: Continuation, details: Any, request: Any) -> Any:
        """The call itself, counted when it ends: whoever waits for it here keeps its caller from writing to it."""
        calling = self._begin(details)
        try:
            call = await continuation(_ready(calling, details), request)
        except BaseException as error:
            calling.done(status_of(error), error)
            raise
        call.add_done_callback(lambda ended: count_ended(ended, calling))
        return call


def count_ended(ended: Any, calling: Calling) -> None:
    """Count a call that is over, by what it tells without waiting."""
    code = _at_once(ended.code())
    calling.done("UNKNOWN" if code is None else code.name, trailing=_at_once(ended.trailing_metadata()))


def _at_once(asked: Any) -> Any:
    """What a call that is over tells without waiting; None when it would wait after all."""
    try:
        asked.send(None)
    except StopIteration as told:
        return told.value
    except asyncio.CancelledError:
        return None
    asked.close()
    return None


def _ready(calling: Calling, details: Any) -> Any:
    return aio.ClientCallDetails(
        details.method,
        calling.timeout_s,
        tuple(calling.metadata(details.metadata)),  # `aio.Metadata` says the same and takes 10 µs more to unpack
        details.credentials,
        details.wait_for_ready,
    )


def as_aio(refused: CallRefusedError) -> aio.AioRpcError:
    """The refusal as what an asyncio caller catches."""
    return aio.AioRpcError(refused.code(), aio.Metadata(), aio.Metadata(), details=refused.details())


class UnaryUnary(_Interceptor, aio.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_unary(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        return await self._call_with_retries(continuation, client_call_details, request)


class StreamUnary(_Interceptor, aio.StreamUnaryClientInterceptor):  # type: ignore[misc]
    async def intercept_stream_unary(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._watched(continuation, client_call_details, request_iterator)


class UnaryStream(_Interceptor, aio.UnaryStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_unary_stream(self, continuation: Continuation, client_call_details: Any, request: Any) -> Any:
        return await self._watched(continuation, client_call_details, request)


class StreamStream(_Interceptor, aio.StreamStreamClientInterceptor):  # type: ignore[misc]
    async def intercept_stream_stream(
        self, continuation: Continuation, client_call_details: Any, request_iterator: Any
    ) -> Any:
        return await self._watched(continuation, client_call_details, request_iterator)


def interceptors(target: CallTarget) -> list[Any]:
    """One interceptor per kind of call: `grpc.aio` looks at the first kind an interceptor has and no further."""
    return [UnaryUnary(target), UnaryStream(target), StreamUnary(target), StreamStream(target)]
