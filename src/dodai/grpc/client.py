"""The threaded client side: one interceptor for all kinds of call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from dodai.core.dataclass import dataclass
from dodai.grpc.calling import Calling, CallTarget, status_of


@dataclass(frozen=True, slots=True)
class CallDetails(grpc.ClientCallDetails):  # type: ignore[misc]
    """What the next interceptor sees."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: Any
    wait_for_ready: bool | None
    compression: Any


class ClientInterceptor(
    grpc.UnaryUnaryClientInterceptor,  # type: ignore[misc]
    grpc.UnaryStreamClientInterceptor,  # type: ignore[misc]
    grpc.StreamUnaryClientInterceptor,  # type: ignore[misc]
    grpc.StreamStreamClientInterceptor,  # type: ignore[misc]
):
    """Sends ids, user and proof with every call and adds it to the totals of the request it belongs to."""

    def __init__(self, target: CallTarget) -> None:
        self._target = target

    def intercept_unary_unary(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        return self._intercept(continuation, client_call_details, request)

    def intercept_unary_stream(self, continuation: Callable[..., Any], client_call_details: Any, request: Any) -> Any:
        return self._intercept(continuation, client_call_details, request)

    def intercept_stream_unary(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        return self._intercept(continuation, client_call_details, request_iterator)

    def intercept_stream_stream(
        self, continuation: Callable[..., Any], client_call_details: Any, request_iterator: Any
    ) -> Any:
        return self._intercept(continuation, client_call_details, request_iterator)

    def _intercept(self, continuation: Callable[..., Any], details: Any, request: Any) -> Any:
        calling = Calling(self._target, details.method, details.timeout)
        ready = CallDetails(
            details.method,
            calling.timeout_s,
            calling.metadata(details.metadata),
            details.credentials,
            getattr(details, "wait_for_ready", None),
            getattr(details, "compression", None),
        )
        try:
            call = continuation(ready, request)
        except BaseException as error:
            calling.done(status_of(error), error)
            raise
        # A blocking call is over here and tells its status without waiting; a stream or future tells it when it ends.
        if call.done() if hasattr(call, "done") else True:
            calling.done(call.code().name, trailing=call.trailing_metadata())
        else:
            call.add_done_callback(lambda ended: calling.done(ended.code().name, trailing=ended.trailing_metadata()))
        return call
