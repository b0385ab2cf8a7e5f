"""What a process writes, kept on disk within bounds, its last lines at hand."""

from __future__ import annotations

from collections import deque
from pathlib import Path

LINE_BYTES = 8 * 1024
TAIL_LINES = 200


class LogFile:
    """Bytes go in, at most 2 × `limit_bytes` stay on disk (`NAME.log` and the one before, `NAME.log.1`)."""

    def __init__(self, path: Path, limit_bytes: int = 4 * 1024 * 1024) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._rest = b""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)
        self._written = self._file.tell()

    def write(self, data: bytes) -> None:
        if self._file.closed:
            return
        if self._written + len(data) > self.limit_bytes:
            self._rotate()
        self._file.write(data)
        self._written += len(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(_text(line) for line in lines)
        if len(self._rest) > LINE_BYTES:
            self._lines.append(_text(self._rest))
            self._rest = b""

    def tail(self, lines: int) -> tuple[str, ...]:
        """The last `lines` lines, an unfinished one included."""
        every = [*self._lines, *([_text(self._rest)] if self._rest else [])]
        return tuple(every[-lines:]) if lines > 0 else ()

    def close(self) -> None:
        self._file.close()

    def _rotate(self) -> None:
        self._file.close()
        self.path.replace(self.path.with_name(self.path.name + ".1"))
        self._file = self.path.open("ab", buffering=0)
        self._written = 0


def _text(line: bytes) -> str:
    return line[:LINE_BYTES].decode(errors="replace").rstrip("\r")
