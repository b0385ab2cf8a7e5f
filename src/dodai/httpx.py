"""HTTP calls in the request's line, with ids, deadline, retries and breaker; for `httpx` and `httpx2` alike.

`httpx.AsyncClient(transport=dodai.httpx.AsyncTransport(httpx.AsyncHTTPTransport(), dependency="identity"))`
"""

from __future__ import annotations

import asyncio
import functools
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
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

    def _until(self, context: RequestContext, begun: float) -> float | None:
        """When the call ends at the latest, body included, on the clock of `perf_counter`; None for no bound."""
        bounds = []
        if self._guard.deadline_s is not None:
            bounds.append(begun + self._guard.deadline_s)
        if context.deadline is not None:
            bounds.append(perf_counter() + context.deadline - time.monotonic())
        return min(bounds) if bounds else None

    def _end(self, request: Any, context: RequestContext, span_id: str, started: float, answer: Any) -> None:
        """The call is over, its body included or given up: count it, and tell the breaker."""
        self._guard.leave(failed=self._record(request, context, span_id, started, answer))

    def _record(self, request: Any, context: RequestContext, span_id: str, started: float, answer: Any) -> bool:
        """Count the call; True when it says that the dependency is down: nobody answered, or somebody in its place."""
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
        if isinstance(answer, BaseException):
            return True
        # A tier of ours that puts its request id on a 503 is up; what it calls is not.
        ours = bool(self._audience) and "x-request-id" in answer.headers
        return answer.status_code in _FAILED and not ours

    def _refused(self, request: Any, context: RequestContext) -> None:
        """Count a call that the breaker kept from being made."""
        record_call(
            self._runtime,
            context,
            "http_client",
            dependency=self._guard.dependency,
            span_id=context.next_span_id(),
            seconds=0.0,
            outcome="server_error",
            method=request.method,
            status=0,
            reason="breaker_open",
        )

    def _enter(self, request: Any, context: RequestContext, attempt: int) -> None:
        try:
            self._guard.enter(attempt)
        except DependencyUnavailableError:
            self._refused(request, context)
            raise

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


class _TimedBody:
    """The body of an answer: read within the deadline of its call, which is counted when it ends or is given up."""

    def __init__(self, inner: Any, request: Any, until: float | None, end: Callable[[Any], None], answer: Any) -> None:
        self._inner = inner
        self._request = request
        self._until = until
        self._end = end
        self._answer = answer
        self._over = False

    def _finish(self, answer: Any) -> None:
        if not self._over:
            self._over = True
            self._end(answer)

    def _left(self) -> float | None:
        return None if self._until is None else self._until - perf_counter()

    def __iter__(self) -> Iterator[bytes]:
        try:
            for piece in self._inner:
                left = self._left()
                if left is not None and left <= 0.0:
                    raise _timed_out(self._request)  # noqa: TRY301 - ends here like any other failure of the body
                yield piece
        except Exception as error:
            self._finish(error)
            raise

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = aiter(self._inner)
        try:
            while True:
                try:
                    async with _bound(self._left()):
                        piece = await anext(pieces)
                except TimeoutError:
                    raise _timed_out(self._request) from None
                except StopAsyncIteration:
                    return
                yield piece
        except Exception as error:
            self._finish(error)
            raise
        finally:
            if hasattr(pieces, "aclose"):
                await pieces.aclose()

    def close(self) -> None:
        try:
            self._inner.close()
        finally:
            self._finish(self._answer)

    async def aclose(self) -> None:
        try:
            await self._inner.aclose()
        finally:
            self._finish(self._answer)


def _with_body(response: Any, body: _TimedBody, base: str) -> Any:
    """`response` with `body`, as the kind of stream that its own library accepts."""
    if getattr(response, "is_closed", False):
        body._finish(response)  # noqa: SLF001 - made whole, by a transport that answers without a network
        return response
    kind = next((kind for kind in type(response.stream).__mro__ if kind.__name__ == base), None)
    if kind is None:
        body._finish(response)  # noqa: SLF001 - a stream of another kind, which nobody can stand in for
        return response
    body.__class__ = _kinds(kind)
    response.stream = body
    return response


@functools.cache
def _kinds(kind: type) -> Any:
    return type("CountedBody", (_TimedBody, kind), {})


def _bound(left: float | None) -> AbstractAsyncContextManager[Any]:
    """At most `left` seconds, where that is asyncio's to say."""
    if left is None or "asyncio" not in sys.modules:
        return nullcontext()
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return nullcontext()
    return asyncio.timeout(left)


def _timed_out(request: Any) -> Exception:
    """The library's own `ReadTimeout`, which callers know how to handle."""
    library = sys.modules[type(request).__module__.partition(".")[0]]
    error: Exception = library.ReadTimeout("the deadline of the call has passed", request=request)
    return error


class AsyncTransport(_Transport):
    """For `AsyncClient(transport=…)`."""

    async def handle_async_request(self, request: Any) -> Any:
        context = self._context()
        begun = perf_counter()
        for attempt in range(1, _MAX_ATTEMPTS + 1):
            self._enter(request, context, attempt)
            span_id = self._prepare(request, context, attempt)
            self._bound(request, context, begun)
            started = perf_counter()
            until = self._until(context, begun)
            try:
                async with _bound(None if until is None else until - started):
                    response = await self._inner.handle_async_request(request)
            except Exception as error:
                end = functools.partial(self._end, request, context, span_id, started)
                if isinstance(error, TimeoutError):
                    error = _timed_out(request)
                end(error)
                if not self._again(request, attempt, error):
                    raise error from None
                continue
            except BaseException:
                self._guard.leave(failed=None)
                raise
            end = functools.partial(self._end, request, context, span_id, started)
            if not self._again(request, attempt, response):
                body = _TimedBody(response.stream, request, until, end, response)
                return _with_body(response, body, "AsyncByteStream")
            end(response)
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
            self._enter(request, context, attempt)
            span_id = self._prepare(request, context, attempt)
            self._bound(request, context, begun)
            started = perf_counter()
            until = self._until(context, begun)
            end = functools.partial(self._end, request, context, span_id, started)
            try:
                response = self._inner.handle_request(request)
            except Exception as error:
                end(error)
                if not self._again(request, attempt, error):
                    raise
                continue
            except BaseException:
                self._guard.leave(failed=None)
                raise
            if not self._again(request, attempt, response):
                body = _TimedBody(response.stream, request, until, end, response)
                return _with_body(response, body, "SyncByteStream")
            end(response)
            response.close()
        raise AssertionError("the last attempt returns or raises")

    def close(self) -> None:
        self._inner.close()

    def __enter__(self) -> Self:
        self._inner.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self._inner.__exit__(*exception)
