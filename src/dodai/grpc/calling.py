"""One outgoing RPC: its span, its metadata, its timeout, and its entry in the caller's totals."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from time import perf_counter
from typing import Any

import grpc

from dodai.core.line import rpc_outcome
from dodai.core.request import current
from dodai.grpc.metadata import outgoing, remaining_of, rpc_name
from dodai.observability.line_format import error_name
from dodai.runtime import Runtime
from dodai.runtime.calls import record_call
from dodai.runtime.limits import DependencyUnavailableError

_MAX_ATTEMPTS = 3
_DOWN = frozenset({"UNAVAILABLE", "DEADLINE_EXCEEDED"})
"""What may count for the breaker: INTERNAL is a defect in one method, not a service that is down."""


class CallRefusedError(grpc.RpcError):  # type: ignore[misc]
    """A call refused here because its dependency keeps failing; to the application it is UNAVAILABLE."""

    def code(self) -> Any:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return str(self)

    def initial_metadata(self) -> tuple[()]:
        return ()

    def trailing_metadata(self) -> tuple[()]:
        return ()


class CallTarget:
    """What a channel calls: the dependency's name in lines and limits, and the service its proofs are for.

    `idempotent` are patterns of RPCs that may be tried again, such as `quiz.Quiz/Get*`.
    """

    __slots__ = ("audience", "dependency", "guard", "idempotent", "runtime", "slow_s")

    def __init__(self, runtime: Runtime, dependency: str, audience: str, idempotent: tuple[str, ...] = ()) -> None:
        self.runtime = runtime
        self.dependency = dependency
        self.audience = audience
        self.idempotent = idempotent
        self.guard = runtime.guard(dependency)
        self.slow_s = runtime.config.policy.slow_call_s

    def may_retry(self, method: str | bytes, status: str, attempt: int) -> bool:
        """True, and one retry spent, for an idempotent RPC that was not answered, within the budget."""
        if status != "UNAVAILABLE" or attempt >= _MAX_ATTEMPTS or not self.idempotent:
            return False
        name = rpc_name(method)
        return any(fnmatchcase(name, pattern) for pattern in self.idempotent) and self.guard.may_retry()


class Calling:
    """Made when an RPC leaves; `done` adds it to the request it belongs to.

    `until` is the end of the whole call on the monotonic clock, retries included; None for no limit. Raises
    `CallRefusedError` while the breaker is open.
    """

    __slots__ = ("_finished", "attempt", "context", "method", "span_id", "started", "target", "until")

    def __init__(self, target: CallTarget, method: str | bytes, timeout_s: float | None) -> None:
        self.target = target
        self.method = method
        # A call outside any request (at start, say) still gets ids, so that the callee's line can be found.
        context = self.context = current() or target.runtime.fresh()
        deadline_s = target.guard.deadline_s
        if timeout_s is None and deadline_s is None and context.deadline is None:
            self.until: float | None = None
        else:
            self.until = time.monotonic() + (remaining_of(context, timeout_s, deadline_s) or 0.0)
        self.attempt = 0
        self.again()

    def again(self) -> None:
        """Begin the first attempt, or another one, with a span of its own."""
        self.attempt += 1
        self.span_id = self.context.next_span_id()
        self.started = perf_counter()
        self._finished = False
        try:
            self.target.guard.enter(self.attempt)
        except DependencyUnavailableError as refused:
            self._record("UNAVAILABLE", None, reason="breaker_open")
            raise CallRefusedError(str(refused)) from None

    @property
    def timeout_s(self) -> float | None:
        """What is left for this attempt."""
        return None if self.until is None else max(0.0, self.until - time.monotonic())

    def metadata(self, given: Any) -> list[tuple[str, Any]]:
        pairs = outgoing(self.target.runtime, self.context, self.target.audience, self.span_id, given)
        return pairs if self.attempt == 1 else [*pairs, ("x-attempt", str(self.attempt))]

    def done(self, status: str, error: BaseException | None = None, trailing: Any = None) -> None:
        """Count the call, once. `status` is a gRPC status name, `trailing` the metadata that came with it.

        An answer with our request id in it says that the tier is up, whatever it could not do.
        """
        if self._finished:
            return
        down = status in _DOWN and not _answered(trailing if error is None else _trailing(error))
        self.target.guard.leave(failed=None if status == "CANCELLED" else down)
        context, seconds = self.context, perf_counter() - self.started
        if status == "OK" and not context.sampled and seconds < self.target.slow_s:
            # What `record_call` would do with it, for the call that nobody will look at again.
            self._finished = True
            context.rpc_count += 1
            context.rpc_ms += seconds * 1000.0
            context.count_call(self.target.dependency, seconds * 1000.0, failed=False)
        else:
            self._record(status, error)

    def _record(self, status: str, error: BaseException | None, **fields: Any) -> None:
        self._finished = True
        fields |= {"rpc": rpc_name(self.method), "status": status}
        if error is not None and not isinstance(error, grpc.RpcError):
            fields["error"] = error_name(error)
        if self.attempt > 1:
            fields["attempt"] = self.attempt
        record_call(
            self.target.runtime,
            self.context,
            "rpc_client",
            dependency=self.target.dependency,
            span_id=self.span_id,
            seconds=perf_counter() - self.started,
            outcome=rpc_outcome(status),
            **fields,
        )


def _trailing(error: BaseException) -> Any:
    ask = getattr(error, "trailing_metadata", None)
    return ask() if isinstance(error, grpc.RpcError) and callable(ask) else None


def _answered(trailing: Any) -> bool:
    return any(pair[0] == "x-request-id" for pair in trailing or ())


def status_of(error: BaseException) -> str:
    """The gRPC status name that `error` means for the caller."""
    code = getattr(error, "code", None)
    name = getattr(code(), "name", "") if isinstance(error, grpc.RpcError) and callable(code) else ""
    if name:
        return str(name)
    if isinstance(error, TimeoutError):
        return "DEADLINE_EXCEEDED"
    # A fault of our own, such as a message that cannot be written, is not somebody who gave up.
    return "INTERNAL" if isinstance(error, Exception) else "CANCELLED"
