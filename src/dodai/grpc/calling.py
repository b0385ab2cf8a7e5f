"""One outgoing RPC: its span, its metadata, its timeout, and its entry in the caller's totals."""

from __future__ import annotations

from time import perf_counter
from typing import Any

import grpc

from dodai.core.line import rpc_outcome
from dodai.core.request import RequestContext, current
from dodai.grpc.metadata import outgoing, remaining_of, rpc_name
from dodai.observability.line_format import error_name
from dodai.runtime import Runtime
from dodai.runtime.calls import record_call


class Target:
    """What a channel calls: the dependency's name in lines and limits, and the service its proofs are for."""

    __slots__ = ("audience", "deadline_s", "dependency", "runtime")

    def __init__(self, runtime: Runtime, dependency: str, audience: str) -> None:
        self.runtime = runtime
        self.dependency = dependency
        self.audience = audience
        self.deadline_s: float | None = runtime.config.dependency(dependency).get("deadline")


class Calling:
    """Made when an RPC leaves; `done` adds it to the request it belongs to."""

    __slots__ = ("_finished", "context", "method", "span_id", "started", "target", "timeout_s")

    def __init__(self, target: Target, method: str | bytes, timeout_s: float | None) -> None:
        self.target = target
        self.method = method
        # A call outside any request (at start, say) still gets ids, so that the callee's line can be found.
        self.context: RequestContext = current() or target.runtime.open(trusted=False)
        self.timeout_s = remaining_of(self.context, timeout_s, target.deadline_s)
        self.span_id = self.context.next_span_id()
        self.started = perf_counter()
        self._finished = False

    def metadata(self, given: Any) -> list[tuple[str, Any]]:
        return outgoing(self.target.runtime, self.context, self.target.audience, self.span_id, given)

    def done(self, status: str, error: BaseException | None = None) -> None:
        """Count the call, once. `status` is a gRPC status name."""
        if self._finished:
            return
        self._finished = True
        # UNIMPLEMENTED, INTERNAL and so on are the callee's; a call the caller gave up is nobody's failure.
        outcome = rpc_outcome(status)
        fields: dict[str, Any] = {"rpc": rpc_name(self.method), "status": status}
        if error is not None and not isinstance(error, grpc.RpcError):
            fields["error"] = error_name(error)
        record_call(
            self.target.runtime,
            self.context,
            "rpc_client",
            dependency=self.target.dependency,
            span_id=self.span_id,
            seconds=perf_counter() - self.started,
            outcome=outcome,
            **fields,
        )


def status_of(error: BaseException) -> str:
    """The gRPC status name that `error` means for the caller."""
    code = getattr(error, "code", None)
    name = getattr(code(), "name", "") if isinstance(error, grpc.RpcError) and callable(code) else ""
    if name:
        return str(name)
    return "DEADLINE_EXCEEDED" if isinstance(error, TimeoutError) else "CANCELLED"
