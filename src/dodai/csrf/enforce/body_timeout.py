"""A bound on how long a body may take, for next to nothing when it is there already."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

T = TypeVar("T")


class BodyTimeout:
    """Waits for several things, together no longer than `seconds`; `TimeoutError` after that.

    The time runs from the first that has to be waited for: the body of most requests came with their headers, and
    `asyncio.timeout` costs five times as much as what happens here without one (measured).
    """

    __slots__ = ("_deadline", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline: float | None = None

    async def of(self, call: Callable[[], Awaitable[T]]) -> T:
        steps = call().__await__()
        try:
            step = next(steps)
        except StopIteration as done:
            value: T = done.value
            return value
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + self._seconds
        async with asyncio.timeout_at(self._deadline):
            return await _Begun(step, steps)


class _Begun(Awaitable[T]):
    """The rest of something that was begun by hand and has handed out `step` to wait for."""

    __slots__ = ("_step", "_steps")

    def __init__(self, step: Any, steps: Generator[Any, Any, T]) -> None:
        self._step = step
        self._steps = steps

    def __await__(self) -> Generator[Any, Any, T]:
        step = self._step
        while True:
            try:
                try:
                    sent = yield step
                except BaseException as error:  # noqa: BLE001 - a cancellation is for what is being waited for
                    step = self._steps.throw(error)
                else:
                    step = self._steps.send(sent)
            except StopIteration as done:
                value: T = done.value
                return value
