"""What a process writes, kept on disk within bounds and without its secrets, its last lines at hand.

Beside `NAME.log` stands `NAME.log.times`: when what follows an offset was written, so that the file itself stays what
the process wrote. Whoever removes or moves the file loses what was in it, and nothing that is written afterwards.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Iterable
from io import FileIO
from pathlib import Path

from dodai.engine.state_folder import make_folder
from dodai.providers.local.host.hidden import Mask

MODE = 0o640
LINE_BYTES = 8 * 1024
TAIL_LINES = 200
TIMES = ".times"
TIME_EACH_S = 0.1
TIME_EACH_BYTES = 2048
"""A time is kept at most this often, and once a second where little is written."""


class LogFile:
    """Bytes go in, at most 2 × `limit_bytes` stay on disk (`NAME.log` and the one before, `NAME.log.1`).

    Lines are kept whole or not yet, so that a value of `hidden` that arrives in two pieces is recognised all the same.
    """

    def __init__(self, path: Path, hidden: Iterable[str] = (), limit_bytes: int = 4 * 1024 * 1024) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self._mask = Mask(hidden)
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._rest = b""
        self._lost = 0
        self._closed = False
        self._told_at, self._told_to = 0.0, -1
        self._file = self._open()

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self._keep(b"".join(line + b"\n" for line in lines))
        if len(self._rest) > LINE_BYTES:  # a part of a line, but never a part of a secret
            part = self._mask.feed(self._rest)
            self._rest = self._mask.rest()
            self._keep(part + b"\n")

    def flush(self) -> None:
        """Keep what has been written of an unfinished line, as a line."""
        if self._rest:
            self._keep(self._rest + b"\n")
            self._rest = b""

    def tail(self, lines: int) -> tuple[str, ...]:
        """The last `lines` lines, an unfinished one included."""
        every = [*self._lines, *([_text(self._mask.of(self._rest))] if self._rest else [])]
        return tuple(every[-lines:]) if lines > 0 else ()

    def close(self) -> None:
        self.flush()
        self._closed = True
        self._file.close()

    def _keep(self, data: bytes) -> None:
        data = self._mask.of(data)
        self._lines.extend(_text(line) for line in data.split(b"\n")[:-1])
        if self._closed:
            return
        lost = f"[dodai] {self._lost} lines that belong here could not be written\n".encode() if self._lost else b""
        try:
            self._write(lost + data)
            self._lost = 0
        except OSError:  # a full disk: the process must be heard on
            self._lost += data.count(b"\n")

    def _write(self, data: bytes) -> None:
        at = self._ready(len(data))
        self._note_time(at)
        while data:
            data = data[self._file.write(data) :]

    def _ready(self, coming: int) -> int:
        """The size of the file that `path` names: made again when somebody removed or moved it, rotated when full."""
        size = self._size()
        if size is None:
            self._file.close()
            self._file = self._open()
            size = 0
        elif size and size + coming > self.limit_bytes:
            self._file.close()
            for suffix in ("", TIMES):
                with contextlib.suppress(FileNotFoundError):
                    self.path.with_name(f"{self.path.name}{suffix}").replace(
                        self.path.with_name(f"{self.path.name}.1{suffix}")
                    )
            self._file = self._open()
            size = 0
        return size

    def _size(self) -> int | None:
        """None when the file that is open is not the one that the path names."""
        try:
            named = self.path.stat()
        except FileNotFoundError:
            return None
        return named.st_size if os.path.samestat(named, os.fstat(self._file.fileno())) else None

    def _open(self) -> FileIO:
        make_folder(self.path.parent)
        file = opened(self.path)
        if not file.tell():
            times_of(self.path).unlink(missing_ok=True)
        self._told_to = -1
        return file

    def _note_time(self, offset: int) -> None:
        now = time.time()
        quiet_s, written = now - self._told_at, offset - self._told_to
        often = quiet_s >= 1.0 or (quiet_s >= TIME_EACH_S and written >= TIME_EACH_BYTES)
        if written < 0:  # somebody emptied the file
            times_of(self.path).unlink(missing_ok=True)
        if self._told_to < 0 or written < 0 or often:
            with opened(times_of(self.path)) as times:
                times.write(f"{offset} {now:.3f}\n".encode())
            self._told_at, self._told_to = now, offset


def times_of(path: Path) -> Path:
    """The file beside a log that says when it was written."""
    return path.with_name(path.name + TIMES)


def opened(path: Path) -> FileIO:
    """For its user and group alone: what services say is not for every account of a machine."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, MODE)
    os.fchmod(descriptor, MODE)
    return FileIO(descriptor, "ab")


def _text(line: bytes) -> str:
    return line[:LINE_BYTES].decode(errors="replace").rstrip("\r")
