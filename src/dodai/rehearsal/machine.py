"""How much this machine is slowed down by others, so that a drill on a busy one judges the system alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import field
from pathlib import Path

from dodai.core.dataclass import dataclass

TASKS = Path("/proc/self/task")
MOST = 8.0
"""No machine is so busy that it excuses more than this."""
ENOUGH_NS = 20_000_000
"""Of less processor time nothing can be said."""


def scheduled() -> tuple[int, int]:
    """Nanoseconds that the threads of this process ran, and that they were ready and waited for a processor.

    (0, 0) where the kernel does not tell: then no machine is slow.
    """
    ran = waited = 0
    for task in TASKS.glob("*/schedstat"):
        try:
            numbers = task.read_text().split()
        except OSError:
            continue  # a thread that has just ended
        ran, waited = ran + int(numbers[0]), waited + int(numbers[1])
    return ran, waited


@dataclass(slots=True)
class Slowdown:
    """Counts from its making. A visitor waits for a processor as the services do that answer it."""

    read: Callable[[], tuple[int, int]] = scheduled
    _before: tuple[int, int] = field(init=False)

    def __post_init__(self) -> None:
        self._before = self.read()

    def factor(self) -> float:
        """1 when we got a processor whenever we could run; 3 when we waited twice as long as we ran."""
        after = self.read()
        ran, waited = after[0] - self._before[0], after[1] - self._before[1]
        return min(MOST, 1.0 + max(0, waited) / ran) if ran >= ENOUGH_NS else 1.0
