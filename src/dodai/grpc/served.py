"""One served RPC: its context, how it ended, and its line. Shared by the asyncio and the threaded server."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any

import grpc

from dodai.core.line import RPC_STATUSES, UNMATCHED, Outcome, rpc_outcome
from dodai.core.request import RequestContext
from dodai.grpc.metadata import incoming, rpc_name
from dodai.observability.line_format import error_name, redact, stack_of
from dodai.runtime import Runtime

_MARGIN_S = 0.01
_STATUS_NAMES = {status.value[0]: status.name for status in grpc.StatusCode}


class Undecodable:
    """What a handler gets in place of a message that could not be read, so that the RPC still has a line."""

    __slots__ = ("error",)

    def __init__(self, error: Exception) -> None:
        self.error = error


def decoder(deserialize: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    """`deserialize`, which hands over what failed instead of failing before anybody knows whose RPC it is."""
    if deserialize is None:
        return None

    def decode(data: bytes) -> Any:
        try:
            return deserialize(data)
        except Exception as error:  # noqa: BLE001 - whatever the application's own reader raises
            return Undecodable(error)

    return decode


def readable(request: Any) -> None:
    """Raise what kept the message from being read."""
    if request.__class__ is Undecodable:
        raise request.error


class ServedCall:
    """Made when an RPC arrives; `finish` writes its one line, whatever happened in between."""

    __slots__ = ("context", "known", "method", "runtime", "started", "status", "written")

    def __init__(self, runtime: Runtime, method: str, servicer_context: Any, *, known: bool = True) -> None:
        self.started = perf_counter()
        if not runtime.beats:
            runtime.beat()
        self.runtime = runtime
        self.method = method
        self.known = known
        self.status = ""
        self.written = False
        metadata = servicer_context.invocation_metadata()
        self.context: RequestContext = incoming(runtime, metadata, servicer_context.time_remaining())
        runtime.in_flight += 1

    def note(self, error: BaseException) -> None:
        """Remember what went wrong inside the handler."""
        self.context.error = error_name(error)
        self.context.stack = stack_of(error)

    def failure_message(self) -> str:
        """What the caller of a failed RPC is told: never the exception's own words."""
        return f"DOD061 unhandled-error: the service failed, request id {self.context.request_id}"

    def finish(self, status: str) -> None:
        """Write the line, once; `status` is a gRPC status name."""
        if self.written:
            return
        self.written = True
        self.runtime.in_flight -= 1
        # A method that nobody has is the caller's mistake, like a 404; one that is there and not written is ours.
        outcome: Outcome = rpc_outcome(status) if self.known else "client_error"
        seconds = perf_counter() - self.started
        name, fields = rpc_name(self.method), None
        if not self.known:
            name, fields = UNMATCHED, {"path": redact(self.method)[:128]}
        self.runtime.write_served(self.context, ("rpc", outcome, status, name, ""), seconds, fields)

    def cancelled_status(self, servicer_context: Any) -> str:
        """Which of the two cancellations it was: the deadline's, or the caller's."""
        remaining = servicer_context.time_remaining()
        return "DEADLINE_EXCEEDED" if remaining is not None and remaining <= _MARGIN_S else "CANCELLED"


def status_name(code: Any, default: str) -> str:
    """The name of a status set on a servicer context, which may be a `StatusCode`, a number or nothing."""
    if code is None:
        return default
    name = getattr(code, "name", None) or _STATUS_NAMES.get(code, "")
    return name if name in RPC_STATUSES else "UNKNOWN"


def call_failure(error: BaseException) -> tuple[Any, str] | None:
    """(status code, details) to answer with when a call this handler made failed; None for any other error."""
    code = error.code() if isinstance(error, grpc.RpcError) and callable(getattr(error, "code", None)) else None
    if code is grpc.StatusCode.DEADLINE_EXCEEDED or isinstance(error, TimeoutError):
        return grpc.StatusCode.DEADLINE_EXCEEDED, "DOD065 dependency-timeout"
    if code is grpc.StatusCode.UNAVAILABLE or getattr(error, "refusal", None) is not None:
        return grpc.StatusCode.UNAVAILABLE, "DOD064 dependency-unavailable"
    return None
