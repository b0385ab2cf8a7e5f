"""A copy of every line on standard output that can never block the application."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from dataclasses import field

from dodai.core.dataclass import dataclass
from dodai.core.line import MAX_LINE_BYTES

_LINGER_S = 0.02


@dataclass(slots=True)
class StdoutCopy:
    """A bounded queue and one daemon thread; a full pipe fills the queue, a full queue drops and counts.

    The thread waits a moment after the first line and writes what has gathered in pieces of at most 4,096 bytes, the
    size a pipe takes in one piece, so that processes sharing a pipe do not tear each other's lines.
    """

    descriptor: int = 1
    capacity: int = 10_000
    dropped: int = 0
    _queue: deque[bytes] = field(default_factory=deque)
    _wake: threading.Event = field(default_factory=threading.Event)
    _idle: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def put(self, line: bytes) -> None:
        """Hand `line` over; returns at once whatever state standard output is in."""
        if len(self._queue) >= self.capacity:
            self.dropped += 1
            return
        self._queue.append(line)
        if not self._wake.is_set():
            self._wake.set()
            if self._thread is None:
                self._start()

    def flush(self, timeout_s: float) -> bool:
        """True when everything handed over is written; gives up after `timeout_s`."""
        until = time.monotonic() + timeout_s
        while self._queue or not self._idle.is_set():
            if self._thread is None or not self._thread.is_alive() or time.monotonic() >= until:
                return not self._queue and self._idle.is_set()
            time.sleep(0.002)
        return True

    def _start(self) -> None:
        self._idle.clear()
        self._thread = threading.Thread(target=self._run, name="dodai-stdout", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(_LINGER_S)
            self._wake.clear()
            self._idle.clear()
            while piece := self._piece():
                self._write(piece)
            if not self._queue:
                self._idle.set()

    def _piece(self) -> bytes:
        lines: list[bytes] = []
        size = 0
        while self._queue and size + len(self._queue[0]) <= MAX_LINE_BYTES:
            line = self._queue.popleft()
            lines.append(line)
            size += len(line)
        return b"".join(lines)

    def _write(self, piece: bytes) -> None:
        view = memoryview(piece)
        while view:
            try:
                view = view[os.write(self.descriptor, view) :]
            except BlockingIOError:
                time.sleep(_LINGER_S)
            except OSError:
                self.dropped += bytes(view).count(b"\n")
                return
