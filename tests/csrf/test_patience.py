"""The bound on how long a body may take, without sockets."""

from __future__ import annotations

import asyncio

import pytest

from dodai.csrf.enforce.body_timeout import BodyTimeout


async def test_what_is_there_already_is_returned_at_once():
    """Results and errors alike, in the order of the calls."""
    patience = BodyTimeout(0.0)
    there = iter([1, 2])

    async def call():
        return next(there)

    assert [await patience.of(call), await patience.of(call)] == [1, 2]
    with pytest.raises(RuntimeError, match="StopIteration"):
        await patience.of(call)


async def test_all_waits_together_have_one_deadline():
    """Each of these waits alone is short enough."""
    patience = BodyTimeout(0.05)

    async def drip():
        for _ in range(1000):
            await patience.of(lambda: asyncio.sleep(0.001))

    with pytest.raises(TimeoutError):
        await drip()


async def test_cancellation_reaches_what_is_waited_for():
    """A request that is given up gives up its receive as well, and is not taken for a late one."""
    waiting, told = asyncio.Event(), asyncio.Event()

    async def call():
        waiting.set()
        try:
            await asyncio.Event().wait()
        finally:
            told.set()

    task = asyncio.create_task(BodyTimeout(60.0).of(call))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert told.is_set()


async def test_what_comes_in_time_is_returned():
    """After several steps of waiting, too."""

    async def call():
        for _ in range(3):
            await asyncio.sleep(0)
        return "there"

    assert await BodyTimeout(60.0).of(call) == "there"
