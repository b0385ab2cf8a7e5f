"""Segments: append-only files of lines, one writer each, renamed when full, sealed with a sidecar of request ids."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

OPEN_SUFFIX = ".open.jsonl"
CLOSED_SUFFIX = ".jsonl"


@dataclass(slots=True)
class SegmentWriter:
    """Appends whole lines to `folder/<service>-<instance>.open.jsonl` with one `write` each.

    Never raises: what cannot be written is counted in `dropped`. The file is locked while its writer lives, renamed to
    `…-<first ms>-<last ms>.jsonl` when it is `max_bytes` large or `max_age_s` old, and never truncated.
    """

    folder: Path
    service: str
    instance: str
    max_bytes: int = 64 * 1024 * 1024
    max_age_s: float = 600.0
    dropped: int = 0
    _descriptor: int = -1
    _size: int = 0
    _opened_ms: int = 0
    _opened_at: float = 0.0
    _torn: bool = False
    _retry_at: float = field(default=0.0)

    @property
    def path(self) -> Path:
        return self.folder / f"{self.service}-{self.instance}{OPEN_SUFFIX}"

    def write(self, line: bytes) -> bool:
        """True when `line`, which ends in a newline, is in the file as a whole."""
        if self._descriptor < 0 and not self._open():
            self.dropped += 1
            return False
        if self._torn:
            line = b"\n" + line
        try:
            written = os.write(self._descriptor, line)
        except OSError:
            self.dropped += 1
            return False
        self._size += written
        self._torn = written != len(line)
        if self._torn:
            self.dropped += 1
            return False
        if self._size >= self.max_bytes or time.monotonic() - self._opened_at >= self.max_age_s:
            self.rotate()
        return True

    def rotate(self) -> Path | None:
        """Close the open segment under its final name; returns it, or None when there was nothing to close."""
        if self._descriptor < 0:
            return None
        last_ms = max(time.time_ns() // 1_000_000, self._opened_ms)
        closed = self.folder / f"{self.service}-{self.instance}-{self._opened_ms}-{last_ms}{CLOSED_SUFFIX}"
        with contextlib.suppress(OSError):
            # rename before closing: while the lock is held, nobody else takes the open name for an orphan
            self.path.rename(closed) if self._size else self.path.unlink()
        self.close()
        return closed

    def close(self) -> None:
        """Let go of the file, without renaming it: whoever reads next finds it unlocked and seals it."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = -1

    def _open(self) -> bool:
        now = time.monotonic()
        if now < self._retry_at:
            return False
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | getattr(os, "O_NOFOLLOW", 0)
            descriptor = os.open(self.path, flags, 0o640)
        except OSError:
            self._retry_at = now + 1.0
            return False
        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._descriptor = descriptor
        self._size = os.fstat(descriptor).st_size
        self._opened_ms = time.time_ns() // 1_000_000
        self._opened_at = now
        self._torn = False
        return True
