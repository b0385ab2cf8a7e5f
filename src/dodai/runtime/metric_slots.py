"""Counters of a service in shared memory: one slot for each of its processes, all of them files of a fixed size.

A slot belongs to the process that holds its lock, which ends with that process; the next one goes on counting where it
stood. So the sum is exact over workers, forks and restarts, and the number of files never grows.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from threading import Lock
from zlib import crc32

from dodai.core.dataclass import dataclass
from dodai.engine.state_folder import make_folder
from dodai.observability.buckets import bounds_us

BOUNDS = bounds_us()
SLOTS = 64
SERIES = 500
"""Of one service; what comes after these is counted as `_OTHER`."""
OTHER = "_OTHER"
_KINDS = ("http", "rpc", "ws", "task")
_ERRORS, _REFUSED, _SUM_US, _FIRST = 0, 1, 2, 3
_ROW = _FIRST + len(BOUNDS)
_ROWS = len(_KINDS) + SERIES
_BYTES = 8 * _ROW * _ROWS
_LONGEST = 180
_LAYOUT = f"{crc32(f'1 {SERIES} {BOUNDS}'.encode()):08x}"
"""In the names of the files: those of another layout are neither read nor written."""


@dataclass(slots=True)
class Counted:
    """What a series came to, in all processes together. `buckets` are requests by upper bound, as in `BOUNDS`."""

    kind: str
    name: str
    errors: int
    refused: int
    sum_s: float
    buckets: tuple[int, ...]

    @property
    def count(self) -> int:
        return sum(self.buckets)


@dataclass(slots=True)
class SlotCounter:
    """The slot of this process. `count` may be called from any thread; `None` of `opened` means that all slots are
    taken or that the disk has no room.
    """

    folder: Path
    service: str
    _slot: int
    _memory: mmap.mmap
    _cells: memoryview
    _rows: dict[tuple[str, str], int] = field(default_factory=dict)
    _full: bool = False
    _lock: Lock = field(default_factory=Lock)

    @classmethod
    def opened(cls, folder: Path, service: str) -> SlotCounter | None:
        """A slot that nobody holds. The whole file is allocated here: a mapping that the disk has no room for kills."""
        make_folder(folder)
        for number in range(SLOTS):
            descriptor = os.open(_slot(folder, service, number), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _allocate(descriptor)
                memory = mmap.mmap(descriptor, _BYTES)
            except BlockingIOError:
                os.close(descriptor)
                continue
            except OSError:
                os.close(descriptor)
                return None
            return cls(folder, service, descriptor, memory, memoryview(memory).cast("Q"))
        return None

    def close(self) -> None:
        """Let go of the slot; what it counted stays. Once: a child that is forked later closes what is still open."""
        self._cells.release()
        self._memory.close()
        if self._slot >= 0:
            os.close(self._slot)
            self._slot = -1

    def count(self, kind: str, name: str, waited_s: float, *, failed: bool, refused: bool) -> None:
        """Add a request that somebody waited for so long."""
        row = self._rows.get((kind, name))
        if row is None:
            row = self._row(kind, name)
        microseconds = int(waited_s * 1e6)
        bucket = row + _FIRST + bisect_left(BOUNDS, microseconds, hi=len(BOUNDS) - 1)
        cells = self._cells
        with self._lock:
            cells[bucket] += 1
            cells[row + _SUM_US] += microseconds
            if failed:
                cells[row + _ERRORS] += 1
            if refused:
                cells[row + _REFUSED] += 1

    def _row(self, kind: str, name: str) -> int:
        """Where a series is counted, in every process alike; each is asked for once in the life of a process."""
        other = _ROW * _KINDS.index(kind)
        if self._full:
            return other
        try:
            names, place = known_or_added(_list(self.folder, self.service), f"{kind} {name}")
        except OSError:  # no room for a name: the request counts all the same
            return other
        if place is None:  # whatever comes from now on is one of these, or the rest
            self._full = True
            found = enumerate(one.decode("utf-8", "replace").rstrip("\n").partition(" ") for one in names)
            self._rows |= {(its, known): _row_of(number) for number, (its, _, known) in found}
            return self._rows.get((kind, name), other)
        row = self._rows[kind, name] = _row_of(place)
        return row


def _row_of(place: int) -> int:
    return _ROW * (len(_KINDS) + place)


def _allocate(descriptor: int) -> None:
    """Every byte of the file, so that none of the mapping has to be found room for later."""
    missing = _BYTES - os.fstat(descriptor).st_size
    if missing > 0 and os.pwrite(descriptor, bytes(missing), _BYTES - missing) < missing:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def known_or_added(path: Path, text: str) -> tuple[list[bytes], int | None]:
    """The lines of a list and the number of `text` among them, added if it is missing; None when the list is full."""
    line = _line(text)
    with path.open("a+b") as file:  # closing it lets go of the lock
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        data = file.read()
        whole = data[: data.rfind(b"\n") + 1]  # who wrote the rest was killed in the middle of it
        lines = whole.splitlines(keepends=True)
        if line in lines:
            return lines, lines.index(line)
        if len(lines) >= SERIES:
            return lines, None
        file.truncate(len(whole))
        file.write(line)
        return lines, len(lines)


def _line(text: str) -> bytes:
    """One line of at most `_LONGEST` bytes, whatever is in a route."""
    shown = "".join(char if char.isprintable() else "?" for char in text).encode("utf-8", "replace")
    return shown[:_LONGEST].decode("utf-8", "ignore").encode() + b"\n"


def services(folder: Path) -> tuple[str, ...]:
    """The services that count below `folder`."""
    suffix = f".{_LAYOUT}.series"
    return tuple(sorted(path.name.removesuffix(suffix) for path in folder.glob(f"*{suffix}")))


def counted(folder: Path, service: str) -> Iterator[Counted]:
    """Every series of a service that counted anything, summed over its slots."""
    try:
        data = _list(folder, service).read_bytes()
    except OSError:
        return
    names = [line.decode("utf-8", "replace").partition(" ") for line in data.split(b"\n")[:-1]]
    rows = [(kind, OTHER) for kind in _KINDS] + [(kind, name) for kind, _, name in names]
    slots = [_values(_slot(folder, service, number)) for number in range(SLOTS)]
    for number, (kind, name) in enumerate(rows):
        start = number * _ROW
        sums = [sum(values) for values in zip(*(slot[start : start + _ROW] for slot in slots if slot), strict=True)]
        if any(sums):
            buckets = tuple(sums[_FIRST:])
            yield Counted(kind, name, sums[_ERRORS], sums[_REFUSED], sums[_SUM_US] / 1e6, buckets)


def _values(path: Path) -> array[int]:
    values = array("Q")
    try:
        data = path.read_bytes()
    except OSError:
        return values
    if len(data) == _BYTES:
        values.frombytes(data)
    return values


def _slot(folder: Path, service: str, number: int) -> Path:
    return folder / f"{service}.{_LAYOUT}.{number:02}.counts"


def _list(folder: Path, service: str) -> Path:
    return folder / f"{service}.{_LAYOUT}.series"
