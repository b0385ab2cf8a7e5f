"""People who ask for the front page all the time, without waiting for each other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from dodai.core.dataclass import dataclass
from dodai.rehearsal.ports import Stage

_ASK_EVERY_S = 0.1


@dataclass(slots=True)
class Crowd:
    """`good` counts answers in a row; `answered_s` is when the newest request that had one was asked (monotonic)."""

    good: int = 0
    since_s: float = 0.0
    answered_s: float = 0.0

    def ask_anew(self) -> None:
        """Only what is asked from now on counts as good."""
        self.since_s, self.good = time.monotonic(), 0

    def answered(self, *, well: bool, began_s: float) -> None:
        if well:
            self.answered_s = max(self.answered_s, began_s)
        if began_s >= self.since_s:
            self.good = self.good + 1 if well else 0


@asynccontextmanager
async def crowd(stage: Stage) -> AsyncIterator[Crowd]:
    """They come until the block ends."""
    people, asking = Crowd(), set[asyncio.Task[None]]()

    async def ask() -> None:
        began, well = time.monotonic(), False
        with suppress(OSError):
            well = (await stage.request("GET", "/")).status_code < 500
        people.answered(well=well, began_s=began)

    async def come() -> None:
        while True:
            task = asyncio.create_task(ask())
            asking.add(task)
            task.add_done_callback(asking.discard)
            await asyncio.sleep(_ASK_EVERY_S)

    coming = asyncio.create_task(come())
    try:
        yield people
    finally:
        for task in (coming, *asking):
            task.cancel()
        await asyncio.gather(coming, *asking, return_exceptions=True)
