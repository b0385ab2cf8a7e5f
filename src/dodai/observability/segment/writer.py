"""The writer of one segment: whole lines, one `write` each, never an exception."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from dataclasses import field
from os import write as os_write
from pathlib import Path
from time import monotonic

from dodai.core.dataclass import dataclass
from dodai.engine.state_folder import make_folder
from dodai.observability.segment.seal import CLOSED_SUFFIX, OPEN_SUFFIX, prune

_RETRY_S = 1.0


@dataclass(slots=True)
class SegmentWriter:
    """Appends whole lines to `folder/<service>-<instance>-<pid>-<ms>.open.jsonl` with one `write` each.

    Never raises: what cannot be written is counted in `dropped`. The file is locked while its writer lives, renamed to
    `…-<first ms>-<last ms>.jsonl` when it is `max_bytes` large or `max_age_s` old, and never truncated. With
    `keep_bytes` every new segment first makes room in the folder, so that a machine without a Host keeps its disk.
    """

    folder: Path
    service: str
    instance: str
    max_bytes: int = 64 * 1024 * 1024
    max_age_s: float = 600.0
    keep_age_s: float = 0.0
    keep_bytes: int = 0
    dropped: int = 0
    path: Path | None = None
    _descriptor: int = -1
    _size: int = 0
    _opened_ms: int = 0
    _until: float = 0.0
    _torn: bool = False
    _retry_at: float = 0.0
    _lock: threading.RLock = field(default_factory=threading.RLock)
    """Of the re-entrant kind: a signal handler may write a line while its own thread is writing one."""

    def write(self, line: bytes) -> bool:
        """True when `line`, which ends in a newline, is in the file as a whole. Safe from any thread."""
        with self._lock:
            if self._descriptor < 0 and not self._open():
                self.dropped += 1
                return False
            if self._torn:
                line = b"\n" + line
            try:
                written = os_write(self._descriptor, line)
            except OSError:
                self.dropped += 1
                return False
            self._size = size = self._size + written
            self._torn = written != len(line)
            if self._torn:
                self.dropped += 1
                return False
            if size >= self.max_bytes or monotonic() >= self._until:
                self._rotate()
            return True

    def rotate(self) -> Path | None:
        """Close the open segment under its final name; returns it, or None when there was nothing to close."""
        with self._lock:
            return self._rotate()

    def _rotate(self) -> Path | None:
        path, closed = self.path, None
        if self._descriptor < 0 or path is None:
            return None
        last_ms = max(time.time_ns() // 1_000_000, self._opened_ms)
        with contextlib.suppress(OSError):
            # rename before closing: while the lock is held, nobody takes the open name for an orphan
            if self._size:
                stem = path.name.removesuffix(OPEN_SUFFIX)
                closed = path.rename(self.folder / f"{stem}-{last_ms:013d}{CLOSED_SUFFIX}")
            else:
                path.unlink()
        self.close()
        return closed

    def close(self) -> None:
        """Let go of the file without renaming it: whoever reads next finds it unlocked and seals it."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        self._descriptor = -1
        self.path = None

    def _open(self) -> bool:
        now = monotonic()
        if now < self._retry_at:
            return False
        try:
            self._create()
        except OSError:
            self._retry_at = now + _RETRY_S
            return False
        self._until = now + self.max_age_s
        if self.keep_bytes:
            self._make_room()
        self._size = 0
        self._torn = False
        return True

    def _make_room(self) -> None:
        """Remove what is too old or too much, in a thread: among thousands of files that takes a tenth of a second."""
        limits = {"max_age_s": self.keep_age_s, "max_bytes": self.keep_bytes, "now_s": time.time()}
        with contextlib.suppress(RuntimeError):  # no new threads while the interpreter ends
            threading.Thread(
                target=prune, args=(str(self.folder),), kwargs=limits, name="dodai-retention", daemon=True
            ).start()

    def _create(self) -> None:
        """Make the file, lock it, then give it its name: a sealer never sees an open segment without its lock."""
        make_folder(self.folder)
        self._opened_ms = max(time.time_ns() // 1_000_000, self._opened_ms + 1)
        stem = f"{self.service}-{self.instance}-{os.getpid()}-{self._opened_ms:013d}"
        unnamed, path = self.folder / f".{stem}.new", self.folder / f"{stem}{OPEN_SUFFIX}"
        descriptor = os.open(unnamed, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            unnamed.rename(path)
        except OSError:
            os.close(descriptor)
            unnamed.unlink(missing_ok=True)
            raise
        self._descriptor, self.path = descriptor, path
