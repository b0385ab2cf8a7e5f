"""Limiter: how long the next request has to wait so that all callers together keep the rates a vendor documents."""

from __future__ import annotations

import threading
from collections.abc import Callable

from dodai.core.dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Rate:
    """So many requests per second on average, and `burst` at once after a pause."""

    per_s: float
    burst: int = 1


class Limiter:
    """One queue per key, shared by threads (generic cell rate algorithm).

    One request of a burst is kept back: the vendor counts when requests arrive, and one that was late on its way comes
    close before the next.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._due: dict[str, float] = {}

    def reserve(self, key: str, rate: Rate, most_s: float) -> float | None:
        """Seconds until this request may be sent, its place taken; None (no place taken) when that is over `most_s`."""
        with self._lock:
            now, interval = self._clock(), 1 / rate.per_s
            due = max(self._due.get(key, now), now)
            wait = max(0.0, due - _ahead(rate) - now)
            if wait > most_s:
                return None
            self._due[key] = due + interval
            return wait

    def hold(self, key: str, rate: Rate, for_s: float) -> None:
        """Nobody sends under this key for `for_s`: the vendor said so."""
        with self._lock:
            until = self._clock() + for_s + _ahead(rate)
            self._due[key] = max(self._due.get(key, until), until)


def _ahead(rate: Rate) -> float:
    """How many seconds' worth of requests may be sent at once."""
    return max(0, rate.burst - 2) / rate.per_s
