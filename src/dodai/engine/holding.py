"""The lock of an environment while one command works there: taken, kept alive, given back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from dodai.engine.journal import Journal
from dodai.engine.lease import Lease


@asynccontextmanager
async def holding(journal: Journal, lease: Lease) -> AsyncIterator[None]:
    """The lease, kept alive, over a journal that is whole; given back unless the caller already had it."""
    mine = not await lease.held()
    if mine:
        await lease.acquire(await journal.highest_token())
    beating = asyncio.create_task(_heartbeats(lease))
    try:
        await journal.verify_chain()
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        if mine:
            await lease.release()


async def _heartbeats(lease: Lease) -> None:
    """A failed heartbeat is tried again: `held()` is asked before every change and says what it means."""
    while True:
        await asyncio.sleep(lease.interval_s)
        with suppress(Exception):
            await lease.heartbeat()
