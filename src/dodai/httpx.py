"""HTTP calls in the request's line, with ids, deadline, retries and breaker; for `httpx` and `httpx2` alike.

`httpx.AsyncClient(transport=dodai.httpx.AsyncTransport(httpx.AsyncHTTPTransport(), dependency="identity"))`
"""

from __future__ import annotations

import time
from time import perf_counter
from typing import Any, Self

from dodai.core.line import Outcome, http_outcome
from dodai.core.request import DEADLINE_HEADER, RequestContext, current, format_deadline, format_traceparent
from dodai.observability.line_format import error_name
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.calls import record_call
from dodai.runtime.limits import DependencyUnavailableError

__all__ = ["AsyncTransport", "DependencyUnavailableError", "Transport"]

_IDEMPOTENT = frozenset({"GET", "HEAD", "PUT", "DELETE", "OPTIONS"})
_UNAVAILABLE = frozenset({502, 503})
_FAILED = frozenset({502, 503, 504})
"""What counts for the breaker: a 500 is a defect in one page, not a service that is down."""
_MAX_ATTEMPTS = 3


class _Transport:
    """What both transports share. `inner` is any transport of `httpx` or `httpx2`; neither is imported here.

    `dependency` names the `[dependency.NAME]` whose deadline, retry budget and breaker hold. With `audience`, the name
    of a service of ours, the call carries the request id, the user and their proof; without it, a foreign service gets
    none of them.
    """

    def __init__(self, inner: Any, *, dependency: str, audience: str = "", config: RuntimeConfig | None = None) -> None:
        self._inner = inner
        self._runtime = Runtime.of(config)
        self._guard = self._runtime.guard(dependency)
        self._audience = audience

    def _prepare(self, request: Any, context: RequestContext, attempt: int) -> str:
        span_id = context.next_span_id()
        if self._audience:
            request.headers["traceparent"] = format_traceparent(context.trace_id, span_id, context.trace_flags)
            request.headers["x-request-id"] = context.request_id
            for name, value in self._runtime.identity_headers(context, self._audience):
                request.headers[name] = value
            if attempt > 1:
                request.headers["x-attempt"] = str(attempt)
        return span_id

    def _bound(self, request: Any, context: RequestContext, started: float) -> None:
        """Cut every timeout of the call to what is left of its own deadline and of the request's, and say so."""
        bounds = []
        if self._guard.deadline_s is not None:
            bounds.append(self._guard.deadline_s - (perf_counter() - started))
        if context.deadline is not None:
            bounds.append(context.deadline - time.monotonic())
        if not bounds:
            return
        left = max(0.001, min(bounds))
        if self._audience:
            request.headers[DEADLINE_HEADER] = format_deadline(left)
        given = request.extensions.get("timeout") or {}
        cut = {name: left if given.get(name) is None else min(left, given[name]) for name in _TIMEOUTS}
        request.extensions = {**request.extensions, "timeout": cut}

    def _record(self, request: Any, context: RequestContext, span_id: str, started: float, answer: Any) -> bool:
        """Count the call; True when it says that the dependency is down."""
        fields: dict[str, Any] = {"method": request.method}
        if isinstance(answer, BaseException):
            outcome: Outcome = "timeout" if "Timeout" in type(answer).__name__ else "server_error"
            fields |= {"status": 0, "error": error_name(answer)}
        else:
            outcome = http_outcome(answer.status_code)
            fields["status"] = answer.status_code
        record_call(
            self._runtime,
            context,
            "http_client",
            dependency=self._guard.dependency,
            span_id=span_id,
            seconds=perf_counter() - started,
            outcome=outcome,
            **fields,
        )
        return isinstance(answer, BaseException) or answer.status_code in _FAILED

    def _again(self, request: Any, attempt: int, answer: Any) -> bool:
        """True when the call may be tried again: idempotent, not reached or unavailable, and within the budget."""
        if request.method not in _IDEMPOTENT or attempt >= _MAX_ATTEMPTS:
            return False
        not_reached = isinstance(answer, BaseException) and "Connect" in type(answer).__name__
        unavailable = getattr(answer, "status_code", 0) in _UNAVAILABLE
        return (not_reached or unavailable) and self._guard.may_retry()

    def _context(self) -> RequestContext:
        return current() or self._runtime.open(trusted=False)


_TIMEOUTS = ("connect", "read", "write", "pool")


class AsyncTransport(_Transport):
    """For `AsyncClient(transport=…)`."""

    async def handle_async_request(self, request: Any) -> Any:
        context = self._context()
        begun = perf_counter()
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            self._guard.enter(attempt)
            span_id = self._prepare(request, context, attempt)
            self._bound(request, context, begun)
            started = perf_counter()
            try:
                response = await self._inner.handle_async_request(request)
            except Exception as error:
                self._guard.leave(failed=self._record(request, context, span_id, started, error))
                if not self._again(request, attempt, error):
                    raise
                continue
            except BaseException:
                self._guard.leave(failed=None)
                raise
            self._guard.leave(failed=self._record(request, context, span_id, started, response))
            if not self._again(request, attempt, response):
                return response
            await response.aclose()
        raise AssertionError("the last attempt returns or raises")

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exception: object) -> None:
        await self._inner.__aexit__(*exception)


class Transport(_Transport):
    """For `Client(transport=…)`."""

    def handle_request(self, request: Any) -> Any:
        context = self._context()
        begun = perf_counter()
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            self._guard.enter(attempt)
            span_id = self._prepare(request, context, attempt)
            self._bound(request, context, begun)
            started = perf_counter()
            try:
                response = self._inner.handle_request(request)
            except Exception as error:
                self._guard.leave(failed=self._record(request, context, span_id, started, error))
                if not self._again(request, attempt, error):
                    raise
                continue
            except BaseException:
                self._guard.leave(failed=None)
                raise
            self._guard.leave(failed=self._record(request, context, span_id, started, response))
            if not self._again(request, attempt, response):
                return response
            response.close()
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._inner.__exit__(*exception)
