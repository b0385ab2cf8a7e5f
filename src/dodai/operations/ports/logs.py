"""What the parts of an environment wrote to their output: the port of `dodai logs`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from dodai.core.dataclass import dataclass


@dataclass(frozen=True, slots=True, order=True)
class LogLine:
    """A line of output. `at` is when it was written, to the second, in seconds since 1970; 0 where nobody noted it.

    `part` is a service, or a process without releases (`postgres`); `release` is `""` for the latter.
    """

    at: float
    part: str
    release: str
    text: str


class Logs(Protocol):
    """The output of one environment, whether it runs or not; secrets are not in it."""

    def parts(self) -> tuple[str, ...]:
        """Every part that ever wrote something which is still there."""
        ...

    def read(self, part: str = "", /, since_s: float = 0.0) -> Iterator[LogLine]:
        """What is there of `part`, of all where it is `""`, the oldest first; before `since_s` some or none of it.

        Without `since_s` a platform may give the most recent lines only.
        """
        ...

    def follow(self, part: str = "", /, since_s: float = 0.0) -> Iterator[LogLine | None]:
        """The same, then what is written from now on, whatever becomes of the files; None each time there is no more
        at the moment.
        """
        ...
