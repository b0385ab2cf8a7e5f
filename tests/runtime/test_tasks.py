"""Work beside a request keeps its id and says how it ended."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from dodai.core.request import bind, current, unbind
from dodai.runtime import ContextExecutor, ContextThread, Runtime, RuntimeConfig, spawn

Config = Callable[..., RuntimeConfig]
Lines = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def runtime(config: Config) -> Any:
    runtime = Runtime(config())
    token = bind(runtime.open(trusted=False))
    current().user_id = "u-1"
    yield runtime
    unbind(token)


async def test_spawned_task_has_a_line_below_its_request(runtime: Runtime, lines: Lines):
    """Same id and user, a span of its own, its totals, its name."""

    async def work() -> str:
        current().db_count += 2
        return current().request_id

    above = current()
    above.deadline = 1.0
    assert await spawn(work(), name="send-mail", runtime=runtime) == above.request_id
    (line,) = lines("web", "task")
    assert (line["name"], line["outcome"], line["dbCount"]) == ("send-mail", "ok", 2)
    assert (line["requestId"], line["userId"], line["parentSpanId"]) == (above.request_id, "u-1", above.span_id)
    assert above.db_count == 0


async def test_failed_task_is_written_and_not_printed(runtime: Runtime, lines: Lines, caplog: Any):
    """Nobody awaits it: the line has error and stack, asyncio prints nothing, the words stay out."""

    async def work() -> None:
        raise ValueError("taro@example.com")

    task = spawn(work(), name="mail", runtime=runtime)
    await asyncio.wait([task])
    del task
    (line,) = lines("web", "task")
    assert (line["error"], line["outcome"]) == ("ValueError", "server_error")
    assert "taro" not in str(line) + caplog.text


async def test_cancelled_task_is_aborted(runtime: Runtime, lines: Lines):
    """A task cut at shutdown says so."""
    started = asyncio.Event()

    async def work() -> None:
        started.set()
        await asyncio.Event().wait()

    task = spawn(work(), name="long", runtime=runtime)
    await started.wait()
    task.cancel()
    await asyncio.wait([task])
    assert lines("web", "task")[0]["outcome"] == "aborted"


async def test_executor_and_thread_see_the_request(runtime: Runtime):
    """`run_in_executor`, `submit` and a thread; each sees the request it came from."""
    seen: list[str] = []
    with ContextExecutor(2) as executor:
        in_loop = await asyncio.get_running_loop().run_in_executor(executor, lambda: current().request_id)
        submitted = executor.submit(lambda suffix: current().request_id + suffix, "!").result()
    thread = ContextThread(target=lambda: seen.append(current().request_id))
    thread.start()
    thread.join()
    request_id = current().request_id
    assert (in_loop, submitted, seen) == (request_id, request_id + "!", [request_id])
