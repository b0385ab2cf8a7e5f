"""Waiting for a condition, with a deadline that asserts nothing about time: it only ends a wait in vain."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

WITHIN_S = 60.0
"""Long, because a busy machine is slow; a condition that never comes true is the exception."""
T = TypeVar("T")


def until(
    condition: Callable[[], T],
    what: str | Callable[[], str] = "",
    process: subprocess.Popen[Any] | None = None,
    within_s: float = WITHIN_S,
) -> T:
    """The first true value of `condition`; fails with `what` was waited for when there is none in time.

    Nothing more is expected of a `process` that has ended.
    """
    end = time.monotonic() + within_s
    while not (found := condition()):
        assert process is None or process.poll() is None, f"the process ended with {process.poll()}: {said(what)}"
        assert time.monotonic() < end, f"waited {within_s:g} s in vain: {said(what)}"
        time.sleep(0.02)
    return found


async def until_async(
    condition: Callable[[], T | Awaitable[T]], what: str | Callable[[], str] = "", within_s: float = WITHIN_S
) -> T:
    """The same without blocking the event loop; what `condition` returns may have to be awaited."""
    end = time.monotonic() + within_s
    while True:
        answer = condition()
        found = await answer if inspect.isawaitable(answer) else answer
        if found:
            return found
        assert time.monotonic() < end, f"waited {within_s:g} s in vain: {said(what)}"
        await asyncio.sleep(0.01)


def said(what: str | Callable[[], str]) -> str:
    return (what() if callable(what) else what) or "the condition did not come true"
