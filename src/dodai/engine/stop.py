"""How a running plan is asked to stop: politely once, firmly twice, and a third time to leave at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field

from dodai.core.dataclass import dataclass

FINISH_STEP = 1
CUT_STEP = 2
LEAVE = 3


@dataclass(slots=True)
class Stop:
    """Counts requests to stop.

    First: finish the current step, then take back what was done. Second: cut the current step short, then take back.
    Third: leave even the undoing; the journal knows and `dodai resume` goes on.
    """

    count: int = 0
    signum: int = 0
    _cut: Callable[[], None] | None = None
    _tell: Callable[[str], None] | None = None
    _cut_at: int = 0
    installed: list[tuple[asyncio.AbstractEventLoop, int]] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """130 after SIGINT, 143 after anything else."""
        return 130 if self.signum == signal.SIGINT else 143

    def request(self, signum: int = signal.SIGTERM) -> None:
        self.count += 1
        self.signum = self.signum or signum
        left = self._cut_at - self.count
        if self._tell:
            how = "cut short" if left <= 0 else f"finished first; {left} more to cut it short"
            self._tell(f"asked to stop: this step is {how}")
        if self._cut and left <= 0:
            self._cut()

    @contextmanager
    def cutting(self, deadline: asyncio.Timeout, at: int, tell: Callable[[str], None]) -> Iterator[None]:
        """While inside, the request number `at` makes `deadline` end now; each is answered through `tell`."""

        def cut() -> None:
            if not deadline.expired():
                deadline.reschedule(asyncio.get_running_loop().time())

        self._cut, self._cut_at, self._tell = cut, at, tell
        try:
            if self.count >= at:
                cut()
            yield
        finally:
            self._cut = self._tell = None

    def uninstall(self) -> None:
        """Give the signals back."""
        while self.installed:
            loop, signum = self.installed.pop()
            loop.remove_signal_handler(signum)


def install_signal_stop(loop: asyncio.AbstractEventLoop) -> Stop:
    """A `Stop` fed by SIGINT, SIGTERM and SIGHUP (a lost terminal must not kill a plan in the middle of a step)."""
    stop = Stop()
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(signum, stop.request, signum)
        stop.installed.append((loop, signum))
    return stop
