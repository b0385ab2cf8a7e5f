"""`host.log`: what the Host itself says, within bounds however much that is, and still there when the file was removed.

The Host's own descriptors stay on the file, so that what the interpreter says when it dies is in it as well.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from io import TextIOBase
from pathlib import Path

from dodai.providers.local.host.log_file import opened

LIMIT_BYTES = 4 * 1024 * 1024
BURST_BYTES = 64 * 1024
"""Of one second no more than this is kept: an error that repeats itself must not push out its cause."""


class HostLog(TextIOBase):
    """Stands in for `sys.stderr`."""

    def __init__(self, path: Path, limit_bytes: int = LIMIT_BYTES) -> None:
        self.path = path
        self.limit_bytes = limit_bytes
        self._second, self._written, self._left_out = 0, 0, 0

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        data = text.encode(errors="backslashreplace")
        if (second := int(time.monotonic())) != self._second:
            said = f"[dodai] {self._left_out} bytes of the second before were left out\n" if self._left_out else ""
            self._second, self._written, self._left_out = second, 0, 0
            data = said.encode() + data
        if self._written + len(data) > BURST_BYTES:
            self._left_out += len(data)
            return len(text)
        self._written += len(data)
        with contextlib.suppress(OSError):  # a full disk does not end the Host
            self._settle(len(data))
            os.write(2, data)
        return len(text)

    def _settle(self, coming: int) -> None:
        """Lead descriptors 1 and 2 to the file that the path names, moved away when it is full."""
        try:
            named = self.path.stat()
            if not os.path.samestat(named, os.fstat(2)):
                self._lead()
            elif named.st_size and named.st_size + coming > self.limit_bytes:
                self.path.replace(self.path.with_name(f"{self.path.name}.1"))
                self._lead()
        except FileNotFoundError:
            self._lead()

    def _lead(self) -> None:
        with opened(self.path) as file:
            for descriptor in (1, 2):
                os.dup2(file.fileno(), descriptor)


def keep_within_bounds(path: Path) -> None:
    """From now on what this process says on `sys.stderr` goes through a `HostLog`."""
    sys.stderr = HostLog(path)
