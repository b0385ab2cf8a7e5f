"""What keeps a process up: the pauses between starts after crashes, and asking a process that runs whether it works."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from dataclasses import field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.operations.ports import Liveness, ServiceProbe
from dodai.providers.local.host.child import log_path
from dodai.providers.local.host.log_file import LogFile

FIRST_S = 0.1
LONGEST_S = 10.0
"""A dependency that is back is noticed no later than this; a start each 10 s costs a machine nothing."""
LOOPING = 5
"""So many crashes in a row are called a crash loop; it goes on being started all the same."""
STABLE_S = 30.0
"""What ran for so long began anew: its next crash is the first of a row."""


@dataclass(slots=True)
class Backoff:
    """Crashes in a row, and the pause before the next start: twice as long each time, without ever giving up."""

    in_a_row: int = 0

    def pause_s(self, ran_s: float) -> float:
        """After one more crash of a process that ran for `ran_s`."""
        self.in_a_row = 1 if ran_s >= STABLE_S else self.in_a_row + 1
        return min(FIRST_S * float(2 ** min(self.in_a_row - 1, 20)), LONGEST_S)

    @property
    def looping(self) -> bool:
        return self.in_a_row >= LOOPING


async def until_hung(liveness: Liveness, ask: Callable[[], Awaitable[ServiceProbe]], boot_s: float) -> str:
    """Return, with the reason, once `liveness.failures` questions in a row had no good answer.

    An answer that is no answer to the question (no such path, a sign-in) is not held against the process, nor is
    silence before its first answer, for `boot_s`: it is starting.
    """
    failed, answered, up_at = 0, False, time.monotonic() + boot_s
    while True:
        await asyncio.sleep(liveness.interval_s)
        probe = await ask()
        good = probe.ready or probe.state == "not_served"
        answered = answered or good
        failed = 0 if good or not (answered or time.monotonic() > up_at) else failed + 1
        if failed >= liveness.failures:
            return f"it runs and does not work: {probe.detail or probe.state}, {failed} times in a row"


@dataclass(slots=True)
class Events:
    """What the Host did by itself, a line of JSON each, in `logs/events.log`."""

    folder: Path
    env: str
    _log: LogFile = field(init=False)

    def __post_init__(self) -> None:
        self._log = LogFile(log_path(self.folder, "events"))

    def tell(self, name: str, reason: str, /, **words: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"ts": time.time(), "at": now, "type": "event", "env": self.env, "name": name, **words, "reason": reason}
        self._log.write(json.dumps(line).encode() + b"\n")

    def close(self) -> None:
        self._log.close()


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
