"""A line every few seconds from a process that serves: a process that hangs is then a signal and not silence."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import sys
import threading
import weakref
from dataclasses import field
from time import perf_counter
from typing import Any, Protocol

from dodai.core.dataclass import dataclass
from dodai.observability.policy import STOPPING, loop_patience_s
from dodai.runtime.config import RuntimeConfig
from dodai.runtime.limits import CircuitBreaker

_MOST_CHARS = 512


class Beating(Protocol):
    """What is asked of the runtime of a process."""

    config: RuntimeConfig
    in_flight: int
    guards: dict[str, CircuitBreaker]
    pools: weakref.WeakKeyDictionary[Any, str]

    @property
    def dropped(self) -> int: ...

    def event(self, name: str, **fields: Any) -> None: ...


def start(runtime: Beating) -> threading.Thread | None:
    """Begin the heartbeat of this process, from the thread whose event loop is to be watched; None where it is off."""
    period_s = runtime.config.policy.heartbeat_s
    if period_s <= 0.0:
        return None
    try:
        loop: asyncio.AbstractEventLoop | None = asyncio.get_running_loop()
    except RuntimeError:
        loop = None
    thread = threading.Thread(
        target=_beat, args=(weakref.ref(runtime), loop, period_s), name="dodai-heartbeat", daemon=True
    )
    thread.start()
    return thread


def stopping(runtime: Beating) -> None:
    """Say that this process was asked to end, where it also says that it lives."""
    if runtime.config.policy.heartbeat_s > 0.0:
        runtime.event(STOPPING)


def end_is_told(runtime: Beating) -> None:
    """At the exit of this process say that it was asked to end, for a server without an end of its own, such as a WSGI
    worker. One that is killed, ends by an error, or in the middle of a request (as a worker that hung is) was not.
    """
    atexit.register(_ended, weakref.ref(runtime), os.getpid())


def _ended(alive: weakref.ref[Beating], pid: int) -> None:
    runtime = alive()
    failed = getattr(sys, "last_type", None) is not None  # set by what ended the main thread, not by `SystemExit`
    if runtime is not None and os.getpid() == pid and not failed and not runtime.in_flight:
        stopping(runtime)


def _beat(alive: weakref.ref[Beating], loop: asyncio.AbstractEventLoop | None, period_s: float) -> None:
    pause, question = threading.Event(), None if loop is None else LoopQuestion(loop)
    while not pause.wait(period_s):
        lag_s = None if question is None else question.lag_s(loop_patience_s(period_s))
        runtime = alive()
        if runtime is None or (loop is not None and loop.is_closed()):
            return
        fields: dict[str, Any] = {"inFlight": runtime.in_flight, "dropped": runtime.dropped}
        if lag_s is not None:
            fields["loopLagMs"] = round(lag_s * 1000.0, 1)
        if refused := [name for name, guard in sorted(runtime.guards.copy().items()) if guard.is_open]:
            fields["breakersOpen"] = ",".join(refused)[:_MOST_CHARS]
        if pools := _pools(runtime):
            fields["pools"] = pools
        runtime.event("heartbeat", **fields)
        del runtime


def _pools(runtime: Beating) -> str:
    """`database 3 10 0`: in use, the most there may be, and requests that wait; of each pool that was ever asked."""
    told = []
    for pool, dependency in list(runtime.pools.items()):
        # A pool of another kind, or one that is being closed: the heartbeat goes on.
        with contextlib.suppress(Exception):
            stats = pool.get_stats()
            used = stats["pool_size"] - stats["pool_available"]
            told.append(f"{dependency} {used} {stats['pool_max']} {stats.get('requests_waiting', 0)}")
    return ";".join(sorted(told))[:_MOST_CHARS]


@dataclass(slots=True)
class LoopQuestion:
    """What the loop is asked to run. A question that it left unanswered goes on: the next heartbeat is not late for it,
    and says for how long the loop has not answered by then.
    """

    loop: asyncio.AbstractEventLoop
    _ran: threading.Event = field(default_factory=threading.Event)
    _asked_s: float | None = None

    def lag_s(self, patience_s: float) -> float | None:
        """How long the loop took to run something, or has not run it so far; None when it is closed."""
        if self._asked_s is None:
            self._asked_s = perf_counter()
            self._ran.clear()
            try:
                self.loop.call_soon_threadsafe(self._ran.set)
            except RuntimeError:  # closed
                return None
        answered = self._ran.wait(patience_s)
        lag_s = perf_counter() - self._asked_s
        if answered:
            self._asked_s = None
        return lag_s
