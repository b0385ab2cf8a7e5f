"""What a process writes, kept on disk within bounds and without its secrets, its last lines at hand."""

from __future__ import annotations

import contextlib
import os
import re
from collections import deque
from collections.abc import Iterable, Mapping
from io import FileIO
from pathlib import Path
from urllib.parse import unquote, urlsplit

from dodai.engine.state_folder import make_folder

MODE = 0o640
LINE_BYTES = 8 * 1024
TAIL_LINES = 200
HIDDEN = b"[secret]"
SHORTEST_SECRET = 6  # shorter ones would blot out ordinary words
_SECRET_NAME = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|KEY|CREDENTIAL|DSN")


class LogFile:
    """Bytes go in, at most 2 × `limit_bytes` stay on disk (`NAME.log` and the one before, `NAME.log.1`).

    Lines are kept whole or not yet, so that a value of `hidden` that arrives in two pieces is recognised all the same.
    """

    def __init__(self, path: Path, hidden: Iterable[str] = (), limit_bytes: int = 4 * 1024 * 1024) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        values = sorted({value.encode() for value in hidden}, key=len, reverse=True)
        self._hidden = re.compile(b"|".join(re.escape(value) for value in values)) if values else None
        self._lines: deque[str] = deque(maxlen=TAIL_LINES)
        self._rest = b""
        make_folder(path.parent)
        self._file = _opened(path)
        self._written = self._file.tell()

    def write(self, data: bytes) -> None:
        *lines, self._rest = (self._rest + data).split(b"\n")
        if lines:
            self._keep(b"".join(line + b"\n" for line in lines))
        if len(self._rest) > LINE_BYTES:
            self.flush()

    def flush(self) -> None:
        """Keep what has been written of an unfinished line, as a line."""
        if self._rest:
            self._keep(self._rest + b"\n")
            self._rest = b""

    def tail(self, lines: int) -> tuple[str, ...]:
        """The last `lines` lines, an unfinished one included."""
        every = [*self._lines, *([_text(self._without_secrets(self._rest))] if self._rest else [])]
        return tuple(every[-lines:]) if lines > 0 else ()

    def close(self) -> None:
        self.flush()
        self._file.close()

    def _keep(self, data: bytes) -> None:
        data = self._without_secrets(data)
        self._lines.extend(_text(line) for line in data.split(b"\n")[:-1])
        with contextlib.suppress(OSError, ValueError):  # a full disk, a closed file: the process must be heard on
            if self._written + len(data) > self.limit_bytes:
                self._rotate()
            self._file.write(data)
            self._written += len(data)

    def _without_secrets(self, data: bytes) -> bytes:
        return self._hidden.sub(HIDDEN, data) if self._hidden else data

    def _rotate(self) -> None:
        self._file.close()
        self.path.replace(self.path.with_name(self.path.name + ".1"))
        self._file = _opened(self.path)
        self._written = 0


def _opened(path: Path) -> FileIO:
    """For its user and group alone: what services say is not for every account of a machine."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, MODE)
    os.fchmod(descriptor, MODE)
    return FileIO(descriptor, "ab")


def _text(line: bytes) -> str:
    return line[:LINE_BYTES].decode(errors="replace").rstrip("\r")


def secret_values(environment: Mapping[str, str]) -> set[str]:
    """What must not be written down: values under names that say so, and the passwords inside URLs."""
    found = {value for name, value in environment.items() if _SECRET_NAME.search(name) and not name.endswith("_FILE")}
    found |= {part.rpartition(":")[2] for value in found for part in value.split(",")}  # key rings: `kid:key,kid:key`
    for value in environment.values():
        password = _password(value)
        found |= {password, unquote(password)}
    return {value for value in found if len(value) >= SHORTEST_SECRET}


def _password(value: str) -> str:
    """As it stands in the URL, which may be percent-encoded."""
    try:
        return urlsplit(value).password or "" if "://" in value else ""
    except ValueError:
        return ""
