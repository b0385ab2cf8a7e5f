"""Following the files of lines: each byte once, through renames, restarts and files that appear or go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.observability.segment.seal import CLOSED_SUFFIX, times_in_name

_CHUNK_BYTES = 1024 * 1024
_LONGEST_BYTES = 64 * 1024
"""A line has at most 4,096 bytes; what goes on longer than this without a newline is not lines."""
_MARK_BYTES = 48


@dataclass(slots=True)
class TailPosition:
    """How far a file was read. `mark` is how it begins: another file may get the number of one that is gone."""

    offset: int
    mark: bytes = b""


@dataclass(slots=True)
class Tail:
    """`places` by inode survive a restart in the store. A file that ended before `since_s` is stepped over."""

    folders: tuple[Path, ...]
    places: dict[int, TailPosition] = field(default_factory=dict)
    since_s: float = 0.0
    _seen: set[int] = field(default_factory=set)

    def read(self, until: float = float("inf")) -> Iterator[tuple[bytes, bool]]:
        """Each new line, and whether it was written since the last time; stops at `until` on the monotonic clock."""
        present: set[int] = set()
        for path, status in self._files():
            present.add(status.st_ino)
            place = self._place(path, status)
            live = status.st_ino in self._seen
            if status.st_size > place.offset and time.monotonic() < until:
                yield from ((line, live) for line in _lines(path, place, until))
            if place.offset >= status.st_size - _LONGEST_BYTES:
                self._seen.add(status.st_ino)
        for gone in self.places.keys() - present:
            del self.places[gone]
        self._seen &= present

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        for folder in self.folders:
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError:
                continue
            for entry in entries:
                if entry.name.endswith(CLOSED_SUFFIX) and not entry.name.startswith("."):
                    try:
                        yield entry.path, entry.stat()
                    except OSError:
                        continue

    def _place(self, path: str, status: os.stat_result) -> TailPosition:
        place = self.places.get(status.st_ino)
        if place is not None and status.st_size == place.offset:
            return place
        mark = _mark(path)
        if place is None or status.st_size < place.offset or not mark.startswith(place.mark):
            times = times_in_name(Path(path).name)
            ended = times[1] if times else status.st_mtime
            place = self.places[status.st_ino] = TailPosition(status.st_size if ended < self.since_s else 0)
            self._seen.discard(status.st_ino)
        place.mark = mark
        return place


def _mark(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(_MARK_BYTES)
    except OSError:
        return b""


def _lines(path: str, place: TailPosition, until: float) -> Iterator[bytes]:
    """Whole lines from `place` on, which moves behind each chunk; a last line without its newline is still written."""
    try:
        with Path(path).open("rb") as file:
            file.seek(place.offset)
            while time.monotonic() < until and (data := file.read(_CHUNK_BYTES)):
                end = data.rfind(b"\n") + 1
                if not end and len(data) < _LONGEST_BYTES:
                    return
                end = end or len(data)
                yield from data[:end].splitlines()
                place.offset += end
                file.seek(place.offset)
    except OSError:
        return
