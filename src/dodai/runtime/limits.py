"""What happens when a dependency does not answer: breaker, retry budget and deadline of `[dependency.NAME]`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import field
from typing import Any

from dodai.core.codes import DEPENDENCY_UNAVAILABLE
from dodai.core.dataclass import dataclass
from dodai.core.refusal import Refusal
from dodai.core.request import current

SAVED_RETRIES = 10.0


class DependencyUnavailableError(Exception):
    """A call refused here because its dependency keeps failing; unhandled, it becomes a 503 (DOD064)."""

    refusal = Refusal(503, DEPENDENCY_UNAVAILABLE, "breaker_open")

    def __init__(self, dependency: str) -> None:
        super().__init__(f"`{dependency}` keeps failing; calls are refused until it answers again")
        self.dependency = dependency


@dataclass(slots=True)
class CircuitBreaker:
    """The limits of one dependency in this process, safe from any thread.

    The breaker opens after `breaker_failures` failures in a row and lets one call through every `breaker_reset_s` until
    one succeeds. Every call earns `retry_budget` of a retry, at most ten are saved, so that retries never add more than
    that share to the load of a dependency in trouble.
    """

    dependency: str
    deadline_s: float | None = None
    retry_budget: float = 0.1
    breaker_failures: int = 0
    breaker_reset_s: float = 2.0
    clock: Callable[[], float] = time.monotonic
    changed: Callable[[str, str], None] | None = None
    """Called with `breaker_open` or `breaker_closed` and the name of the dependency, outside the lock."""
    _failures: int = 0
    _probe_at: float = 0.0
    _retries: float = 1.0
    _probing: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def of(cls, dependency: str, section: Mapping[str, Any]) -> CircuitBreaker:
        """The limits of a validated `[dependency.NAME]`; none without one."""
        return cls(
            dependency,
            deadline_s=section.get("deadline"),
            retry_budget=float(section.get("retry_budget", 0.0)),
            breaker_failures=int(section.get("breaker_failures", 0)),
            breaker_reset_s=float(section.get("breaker_reset", 2.0)),
        )

    def enter(self, attempt: int = 1, *, part: bool = False) -> None:
        """Begin a call, or another attempt of one; raises `DependencyUnavailableError` while the breaker is open.

        `part` is a step that may belong to a call let through to try, as a statement does on a connection from a pool:
        it goes on while that one is under way.
        """
        if not self.breaker_failures and self.retry_budget <= 0.0:
            return
        with self._lock:
            if attempt == 1:  # a retry that earned retries would make the share a ninth of it larger
                self._retries = min(SAVED_RETRIES, self._retries + self.retry_budget)
            if not self.breaker_failures or self._failures < self.breaker_failures:
                return
            now = self.clock()
            if part and self._probing:
                return
            if now < self._probe_at:
                context = current()
                if context is not None and context.failed_dependency is None:
                    context.failed_dependency = self.dependency  # the trace of a refused request names it too
                raise DependencyUnavailableError(self.dependency)
            self._probe_at = now + self.breaker_reset_s
            self._probing = True

    def leave(self, *, failed: bool | None) -> None:
        """End a call that `enter` let through; None when it was given up, which says nothing about the dependency."""
        if not self.breaker_failures:
            return
        with self._lock:
            self._probing = False
            if failed is None:
                return
            before = self.is_open
            self._failures = self._failures + 1 if failed else 0
            if not before and self.is_open:
                self._probe_at = self.clock() + self.breaker_reset_s
            after = self.is_open
        if after is not before and self.changed is not None:
            self.changed("breaker_open" if after else "breaker_closed", self.dependency)

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for the one that is let through to try."""
        return 0 < self.breaker_failures <= self._failures

    def may_retry(self) -> bool:
        """True, and one retry spent, when the budget has one and the breaker is closed."""
        with self._lock:
            is_open = self.breaker_failures and self._failures >= self.breaker_failures
            if self.retry_budget <= 0.0 or self._retries < 1.0 or is_open:
                return False
            self._retries -= 1.0
            return True
