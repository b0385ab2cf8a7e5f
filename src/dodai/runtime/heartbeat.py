"""A line every few seconds from a process that serves: a process that hangs is then a signal and not silence."""

from __future__ import annotations

import asyncio
import threading
import weakref
from time import perf_counter
from typing import Any, Protocol

from dodai.runtime.config import RuntimeConfig


class Beating(Protocol):
    """What is asked of the runtime of a process."""

    config: RuntimeConfig
    in_flight: int

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


def _beat(alive: weakref.ref[Beating], loop: asyncio.AbstractEventLoop | None, period_s: float) -> None:
    pause = threading.Event()
    while not pause.wait(period_s):
        lag_s = _lag_s(loop, period_s)
        runtime = alive()
        if runtime is None or (loop is not None and loop.is_closed()):
            return
        fields: dict[str, Any] = {"inFlight": runtime.in_flight, "dropped": runtime.dropped}
        if lag_s is not None:
            fields["loopLagMs"] = round(lag_s * 1000.0, 1)
        runtime.event("heartbeat", **fields)
        del runtime


def _lag_s(loop: asyncio.AbstractEventLoop | None, patience_s: float) -> float | None:
    """How long the loop took to run something; at least `patience_s` for one that has not yet."""
    if loop is None:
        return None
    ran, asked = threading.Event(), perf_counter()
    try:
        loop.call_soon_threadsafe(ran.set)
    except RuntimeError:  # closed
        return None
    ran.wait(patience_s)
    return perf_counter() - asked
