"""The heartbeat of a process: words in its output that it writes again and again as long as it works."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from dodai.operations.ports import ServiceProbe

LOOK_S = 0.2


class Heartbeat:
    """When the words were heard the last time, of the process that runs now."""

    def __init__(self, words: str) -> None:
        self.words = words
        self._wanted = words.encode()
        self._end = b""
        self._began = self._heard = 0.0

    def begin(self) -> None:
        """A new process starts: what its predecessor said says nothing about it."""
        self._end, self._began, self._heard = b"", time.monotonic(), 0.0

    def hear(self, data: bytes) -> None:
        """Words that come in two pieces count."""
        if self._wanted:
            data = self._end + data
            if self._wanted in data:
                self._heard = time.monotonic()
            self._end = data[-len(self._wanted) + 1 :] if len(self._wanted) > 1 else b""

    def probe(self, age_s: float) -> ServiceProbe:
        if not self._heard:
            return ServiceProbe(state="not_ready", detail=f"no line with `{self.words}` yet")
        old_s = time.monotonic() - self._heard
        if old_s > age_s:
            return ServiceProbe(state="not_ready", detail=self._silence(old_s))
        return ServiceProbe(state="ready", detail=f"`{self.words}` {old_s:.0f} s ago")

    async def silent(self, age_s: float, boot_s: float, asked: Callable[[], bool]) -> str:
        """Return, with the reason, once it is silent for too long; before its first words it has `boot_s` as well.

        Nothing is held against a process while `asked` says no.
        """
        while True:
            await asyncio.sleep(min(LOOK_S, age_s))
            silent_s = time.monotonic() - (self._heard or self._began)
            if asked() and silent_s > age_s + (0.0 if self._heard else boot_s):
                return f"it runs and does not work: {self._silence(silent_s)}"

    def _silence(self, silent_s: float) -> str:
        return f"no line with `{self.words}` for {silent_s:.0f} s"
