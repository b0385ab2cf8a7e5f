"""The asyncio server side: one line per RPC, unary and streaming, by an interceptor or around each handler."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any

import grpc
from grpc import aio

from dodai.core.request import bind, unbind
from dodai.grpc.metadata import reply_metadata
from dodai.grpc.served import ServedCall, call_failure, decoder, readable, status_name
from dodai.grpc.server import wrap_handler as wrap_sync_handler
from dodai.runtime import Runtime, heartbeat

Handler = Any
_CACHE_LIMIT = 1000
_ANSWERED: ContextVar[ServedCall | None] = ContextVar("dodai_grpc_answered", default=None)
"""The RPC of this task (every RPC is a task of its own), between its handler's return and its answer as bytes."""


class AioServerInterceptor(aio.ServerInterceptor):  # type: ignore[misc]
    """Opens the context of every RPC and writes its line, also for methods that do not exist."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Handler | None]], handler_call_details: Any
    ) -> Handler:
        method = _text(handler_call_details.method)
        handler = await continuation(handler_call_details)
        if handler is None:
            return _unimplemented(self._runtime, method)
        known = self._wrapped.get(method)
        if known is not None and known[0] is handler:
            return known[1]
        wrapped = _wrap_handler(self._runtime, method, handler)
        if len(self._wrapped) < _CACHE_LIMIT:
            self._wrapped[method] = (handler, wrapped)
        return wrapped


class WatchedServer:
    """A `grpc.aio.Server` around another, whose handlers are watched from when they are added.

    The same lines as with the interceptor, which costs a coroutine more for each RPC.
    """

    def __init__(self, server: aio.Server, runtime: Runtime) -> None:
        self._server = server
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[Any]) -> None:
        watched = tuple(_WatchedHandlers(self._runtime, each) for each in generic_rpc_handlers)
        self._server.add_generic_rpc_handlers(watched)

    def add_registered_method_handlers(self, service_name: str, method_handlers: Mapping[str, Handler]) -> None:
        watched = {
            name: _wrap_handler(self._runtime, f"/{service_name}/{name}", handler)
            for name, handler in method_handlers.items()
        }
        self._server.add_registered_method_handlers(service_name, watched)

    async def start(self) -> None:
        """Begin to serve; what no handler before this one takes is UNIMPLEMENTED, with a line."""
        self._server.add_generic_rpc_handlers((_WatchedHandlers(self._runtime, None),))
        await self._server.start()

    async def stop(self, grace: float | None) -> None:
        """Say that the process was asked to end, and stop serving."""
        heartbeat.stopping(self._runtime)
        await self._server.stop(grace)


class _WatchedHandlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    """The handlers of `inner`, each watched once; without one, every method is unknown."""

    def __init__(self, runtime: Runtime, inner: Any) -> None:
        self._runtime = runtime
        self._inner = inner
        self._wrapped: dict[str, tuple[Handler, Handler]] = {}

    def service(self, handler_call_details: Any) -> Handler | None:
        method = handler_call_details.method
        if self._inner is None:
            return _unimplemented(self._runtime, _text(method))
        handler = self._inner.service(handler_call_details)
        if handler is None:
            return None
        known = self._wrapped.get(method)
        if known is not None and known[0] is handler:
            return known[1]
        wrapped = _wrap_handler(self._runtime, _text(method), handler)
        if len(self._wrapped) < _CACHE_LIMIT:
            self._wrapped[method] = (handler, wrapped)
        return wrapped


def _text(method: str | bytes) -> str:
    return method.decode("utf-8", "replace") if isinstance(method, bytes) else method


def _wrap_handler(runtime: Runtime, method: str, handler: Handler) -> Handler:
    streams_in, streams_out = handler.request_streaming, handler.response_streaming
    kind = f"{'stream' if streams_in else 'unary'}_{'stream' if streams_out else 'unary'}"
    behaviour = getattr(handler, kind)
    if inspect.isasyncgenfunction(behaviour):
        wrapped: Any = _wrap_generator(runtime, method, behaviour)
    elif inspect.iscoroutinefunction(behaviour):
        wrapped = _wrap_coroutine(runtime, method, behaviour, encoded=handler.response_serializer is not None)
    else:
        return wrap_sync_handler(runtime, method, handler)
    build = getattr(grpc, f"{kind}_rpc_method_handler")
    read = handler.request_deserializer if streams_in else decoder(handler.request_deserializer)
    write = handler.response_serializer
    return build(wrapped, read, write if streams_out or write is None else _encoder(write))


def _encoder(serialize: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """`serialize`, which ends the RPC of this task: it is the last step, and it can fail."""

    def encode(response: Any) -> bytes:
        served = _ANSWERED.get()
        if served is None or served.written:
            return serialize(response)
        try:
            data = serialize(response)
        except BaseException as error:
            served.note(error)
            served.finish("UNKNOWN")  # which is what grpc answers then
            raise
        served.finish("OK")
        return data

    return encode


def _wrap_coroutine(runtime: Runtime, method: str, behaviour: Callable[..., Awaitable[Any]], *, encoded: bool) -> Any:
    async def serve(request: Any, servicer: Any) -> Any:
        served = ServedCall(runtime, method, servicer)
        token = bind(served.context)
        servicer.set_trailing_metadata(reply_metadata(runtime, served.context))
        try:
            readable(request)
            response = await behaviour(request, servicer)
            _keep_ours(servicer, served)
            status = status_name(servicer.code(), "OK")
            if status == "OK" and encoded and response is not None:
                _ANSWERED.set(served)
                asyncio.get_running_loop().call_soon(served.finish, status)  # unless `_encoder` does, which comes next
            else:
                served.finish(status)
        except BaseException as error:
            await _ended(served, servicer, error)
            raise
        else:
            return response
        finally:
            unbind(token)

    return serve


def _wrap_generator(runtime: Runtime, method: str, behaviour: Callable[..., AsyncIterator[Any]]) -> Any:
    async def serve(request: Any, servicer: Any) -> AsyncIterator[Any]:
        served = ServedCall(runtime, method, servicer)
        token = bind(served.context)
        servicer.set_trailing_metadata(reply_metadata(runtime, served.context))
        try:
            readable(request)
            async for message in behaviour(request, servicer):
                yield message
            _keep_ours(servicer, served)
            served.finish(status_name(servicer.code(), "OK"))
        except BaseException as error:
            await _ended(served, servicer, error)
            raise
        finally:
            unbind(token)

    return serve


async def _ended(served: ServedCall, servicer: Any, error: BaseException) -> None:
    """Write the line of an RPC that `error` ended; an exception of the handler becomes INTERNAL without its words."""
    if isinstance(error, aio.AbortError):
        served.finish(status_name(servicer.code(), "UNKNOWN"))
    elif isinstance(error, asyncio.CancelledError | GeneratorExit):
        served.finish(served.cancelled_status(servicer))
    elif isinstance(error, Exception):
        served.note(error)
        code, details = call_failure(error) or (grpc.StatusCode.INTERNAL, served.failure_message())
        served.finish(code.name)
        await servicer.abort(code, details)
    else:
        served.note(error)
        served.finish("UNKNOWN")


def _keep_ours(servicer: Any, served: ServedCall) -> None:
    """Add our trailing metadata again if the handler set its own."""
    own = servicer.trailing_metadata() or ()
    if not own or own[0] != ("x-request-id", served.context.request_id):
        servicer.set_trailing_metadata([*own, *reply_metadata(served.runtime, served.context)])


def _unimplemented(runtime: Runtime, method: str) -> Handler:
    async def refuse(_: Any, servicer: Any) -> None:
        served = ServedCall(runtime, method, servicer, known=False)
        servicer.set_trailing_metadata(reply_metadata(runtime, served.context))
        served.finish("UNIMPLEMENTED")
        await servicer.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")

    return grpc.stream_stream_rpc_method_handler(refuse)
