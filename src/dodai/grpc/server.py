"""The threaded server side: one interceptor, one line per RPC, unary and streaming."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import grpc
from grpc import aio

from dodai.core.request import bind, unbind
from dodai.grpc.metadata import reply_metadata
from dodai.grpc.served import ServedCall, call_failure, decoder, readable, status_name
from dodai.runtime import Runtime

Handler = Any
Write = Callable[[Any], bytes]


class ServerInterceptor(grpc.ServerInterceptor):  # type: ignore[misc]
    """Opens the context of every RPC in its worker thread and writes its line."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def intercept_service(self, continuation: Callable[[Any], Handler | None], handler_call_details: Any) -> Handler:
        handler = continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None:
            return _unimplemented(self._runtime, method)
        return wrap_handler(self._runtime, method, handler, write=handler.response_serializer)


def wrap_handler(runtime: Runtime, method: str, handler: Handler, write: Write | None = None) -> Handler:
    """`handler` with its behaviour watched; also used for plain functions on an asyncio server.

    With `write`, its serializer, messages are written inside, so that one that cannot be is in the line.
    """
    streams_in, streams_out = handler.request_streaming, handler.response_streaming
    kind = f"{'stream' if streams_in else 'unary'}_{'stream' if streams_out else 'unary'}"
    behaviour = getattr(handler, kind)
    wrap = _wrap_iterator if streams_out and _iterates(behaviour) else _wrap_function
    build = getattr(grpc, f"{kind}_rpc_method_handler")
    read = handler.request_deserializer if streams_in else decoder(handler.request_deserializer)
    return build(
        wrap(runtime, method, behaviour, write), read, None if write is not None else handler.response_serializer
    )


def _iterates(behaviour: Any) -> bool:
    return bool(inspect.isgeneratorfunction(behaviour)) or not inspect.iscoroutinefunction(behaviour)


def _written(servicer: Any, write: Write | None, message: Any) -> Any:
    if write is None:
        return message
    try:
        return write(message)
    except Exception:
        if status_name(servicer.code(), "OK") == "OK":
            raise
        return None  # gRPC then answers with the status that was set, without a message


def _wrap_function(runtime: Runtime, method: str, behaviour: Callable[..., Any], write: Write | None) -> Any:
    def serve(request: Any, servicer: Any) -> Any:
        servicer = _with_code(servicer)
        served = ServedCall(runtime, method, servicer)
        token = bind(served.context)
        servicer.set_trailing_metadata(reply_metadata(runtime, served.context))
        try:
            readable(request)
            response = _written(servicer, write, behaviour(request, servicer))
            _finish(served, servicer)
        except BaseException as error:
            _ended(served, servicer, error)
            raise
        else:
            return response
        finally:
            unbind(token)

    return serve


def _wrap_iterator(runtime: Runtime, method: str, behaviour: Callable[..., Iterator[Any]], write: Write | None) -> Any:
    def serve(request: Any, servicer: Any) -> Iterator[Any]:
        servicer = _with_code(servicer)
        served = ServedCall(runtime, method, servicer)
        servicer.set_trailing_metadata(reply_metadata(runtime, served.context))
        try:
            readable(request)
            for message in _bound(served, lambda: behaviour(request, servicer)):
                yield _written(servicer, write, message)
            _finish(served, servicer)
        except BaseException as error:
            _ended(served, servicer, error)
            raise

    return serve


def _bound(served: ServedCall, make: Callable[[], Iterator[Any]]) -> Iterator[Any]:
    """The messages of `make()`; the RPC is current while one is made, never between two.

    A stream that is given up would leave its RPC, and its user, current in the thread for the next one to find.
    """
    messages: Iterator[Any] | None = None
    while True:
        token = bind(served.context)
        try:
            messages = iter(make()) if messages is None else messages
            message = next(messages)
        except StopIteration:
            return
        finally:
            unbind(token)
        yield message


class _Remembered:
    """The context a plain function gets on an asyncio server, which does not tell the status that was set on it."""

    def __init__(self, servicer: Any) -> None:
        self._servicer = servicer
        self._code: Any = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._servicer, name)

    def code(self) -> Any:
        return self._code

    def is_active(self) -> bool:
        remaining = self._servicer.time_remaining()
        return remaining is None or remaining > 0.0

    def set_code(self, code: Any) -> None:
        self._code = code
        self._servicer.set_code(code)

    def abort(self, code: Any, details: str = "", trailing_metadata: Any = ()) -> None:
        self._code = code
        self._servicer.abort(code, details, trailing_metadata)


def _with_code(servicer: Any) -> Any:
    return servicer if hasattr(servicer, "code") else _Remembered(servicer)


def _finish(served: ServedCall, servicer: Any) -> None:
    status = status_name(servicer.code(), "OK")
    if not servicer.is_active() and status == "OK":
        status = served.cancelled_status(servicer)
    served.finish(status)


def _ended(served: ServedCall, servicer: Any, error: BaseException) -> None:
    code = servicer.code()
    if isinstance(error, GeneratorExit) or not servicer.is_active():
        served.finish(served.cancelled_status(servicer))
    elif code is not None and code is not grpc.StatusCode.OK and _is_abort(error):
        served.finish(status_name(code, "UNKNOWN"))
    else:
        served.note(error)
        status, details = call_failure(error) or (grpc.StatusCode.INTERNAL, served.failure_message())
        served.finish(status.name)
        servicer.abort(status, details)


def _is_abort(error: BaseException) -> bool:
    """True for what `context.abort` raises: a bare `Exception`, or `AbortError` on an asyncio server."""
    return (type(error) is Exception and not error.args) or isinstance(error, aio.AbortError)


def _unimplemented(runtime: Runtime, method: str) -> Handler:
    def refuse(_: Any, servicer: Any) -> Iterator[Any]:
        served = ServedCall(runtime, method, servicer, known=False)
        servicer.set_trailing_metadata(reply_metadata(runtime, served.context))
        served.finish("UNIMPLEMENTED")
        servicer.abort(grpc.StatusCode.UNIMPLEMENTED, "Method not found!")
        yield

    return grpc.stream_stream_rpc_method_handler(refuse)
