"""Work beside a request that keeps the request's id: tasks, threads, executors.

`asyncio.create_task` and `asyncio.to_thread` keep the context by themselves; `loop.run_in_executor`,
`ThreadPoolExecutor.submit` and `Thread` lose it (measured).
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, ParamSpec, TypeVar

from dodai.core.line import Outcome
from dodai.core.request import RequestContext, bind, current
from dodai.observability.line_format import error_name, stack_of
from dodai.runtime.process import Runtime

_P = ParamSpec("_P")
_T = TypeVar("_T")
_RUNNING: set[asyncio.Task[Any]] = set()
"""The loop keeps weak references only; without this a task may vanish half-way (Python documentation)."""


def spawn(work: Coroutine[Any, Any, _T], *, name: str, runtime: Runtime | None = None) -> asyncio.Task[_T]:
    """A running task that outlives its request and writes one `task` line when it ends, below the request's.

    The task has the ids and the user of the request it was spawned in, but neither its deadline nor its totals. An
    exception is in the line; awaiting the task raises it as usual.
    """
    task = asyncio.create_task(_watched(work, name, runtime or Runtime.current(), current()), name=name)
    _RUNNING.add(task)
    task.add_done_callback(_forget)
    return task


class ContextExecutor(ThreadPoolExecutor):
    """A thread pool whose work sees the request that submitted it, also through `loop.run_in_executor`."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        context = contextvars.copy_context()
        return super().submit(lambda: context.run(fn, *args, **kwargs))


class ContextThread(threading.Thread):
    """A thread that sees the request it was made in."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._context = contextvars.copy_context()

    def run(self) -> None:
        self._context.run(super().run)


async def _watched(work: Coroutine[Any, Any, _T], name: str, runtime: Runtime, above: RequestContext | None) -> _T:
    context = _below(runtime, above)
    bind(context)  # the task has a copy of its spawner's variables to itself; nobody is to unbind it
    started = time.perf_counter()
    error: BaseException | None = None
    try:
        return await work
    except BaseException as caught:
        error = caught
        raise
    finally:
        seconds = time.perf_counter() - started
        line = runtime.line(context, "task", status="", outcome=_outcome(error), latency_s=seconds)
        del line["status"]
        line["name"] = name[:128]
        if error is not None:
            line |= {"error": error_name(error), "stack": stack_of(error)}
        runtime.write_request(line, context)


def _below(runtime: Runtime, above: RequestContext | None) -> RequestContext:
    context = runtime.open(trusted=False)
    if above is not None:
        context.request_id = above.request_id
        context.trace_id = above.trace_id
        context.trace_flags = above.trace_flags
        context.trace_state = above.trace_state
        context.parent_span_id = above.span_id
        context.user_id = above.user_id
        context.user_claimed = above.user_claimed
        context.sampled = above.sampled
        if (judged := vars(above).get("csrf")) is not None:
            vars(context)["csrf"] = judged  # what the task leads into the application is that request's
    return context


def _outcome(error: BaseException | None) -> Outcome:
    if error is None:
        return "ok"
    if isinstance(error, asyncio.CancelledError):
        return "aborted"
    return "timeout" if isinstance(error, TimeoutError) else "server_error"


def _forget(task: asyncio.Task[Any]) -> None:
    _RUNNING.discard(task)
    if not task.cancelled():
        task.exception()  # it is in the line; asyncio need not print it at garbage collection
