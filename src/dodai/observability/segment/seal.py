# ruff: noqa: PTH104, PTH108, PTH110, PTH116, PTH118, PTH208
"""Sealing: a closed segment gets a sidecar, by which any request id is found in microseconds.

Standard library only and light to import: `dodai trace` is a fresh process each time, and pathlib alone would cost as
much as the whole lookup.

The sidecar `<segment>.ids` is 32 bytes of header (magic, first and last time, size of the segment) and one unsigned
64-bit integer for each id in each line, `crc32(id) << 32 | offset of the line`, sorted.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import struct
import sys
import time
import zlib
from array import array
from bisect import bisect_left

OPEN_SUFFIX = ".open.jsonl"
CLOSED_SUFFIX = ".jsonl"
SIDECAR_SUFFIX = ".ids"
_HEADER = struct.Struct("<8sddQ")
_MAGIC = b"DODAIDX1"
_MAX_BYTES = 2**32
_IDS = re.compile(rb'"(?:requestId|clientRequestId|traceId)":"([^"\\]{8,64})"')
_TIME = re.compile(rb'\{"ts":(\d{1,11}(?:\.\d{1,9})?)')
_OPEN_NAME = re.compile(r"(?:-\d{13})?\.open\.jsonl\Z")
_CLOSED_TAIL = len("-0000000000000-0000000000000.jsonl")
_BUCKETS = 256
_SMALL_BYTES = 64 * 1024
_AT_ONCE_BYTES = 4 * 1024 * 1024


def seal(path: str) -> str | None:
    """The closed segment at `path` with its sidecar written; None when somebody is writing or sealing it.

    Idempotent, and safe to call from several processes at once: the lock on the segment makes it exclusive, the writer
    of an open segment holds the same lock while it lives, and a sidecar appears whole or not at all. The open segment
    of a dead writer is closed first. An empty one is removed.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not _is_still(path, descriptor):
            return None
        closed = _close(path, descriptor) if path.endswith(OPEN_SUFFIX) else path
        if closed is not None and not os.path.exists(closed + SIDECAR_SUFFIX):
            _write_sidecar(closed, descriptor)
    except OSError:
        return None
    else:
        return closed
    finally:
        os.close(descriptor)


def seal_all(folder: str, *, until: float = float("inf")) -> int:
    """How many segments of `folder` were sealed now; stops at `until` on the monotonic clock. Never raises."""
    sealed = 0
    for name in _names(folder):
        path = os.path.join(folder, name)
        if name.endswith(CLOSED_SUFFIX) and not os.path.exists(path + SIDECAR_SUFFIX):
            if time.monotonic() >= until:
                break
            sealed += seal(path) is not None
    return sealed


def prune(folder: str, *, max_age_s: float, max_bytes: int, now_s: float) -> int:
    """How many segments were removed: those older than `max_age_s`, then the oldest until `max_bytes` are kept.

    Age counts from the last line. Open segments are never removed.
    """
    kept: list[tuple[float, int, str]] = []
    for name in _names(folder):
        path = os.path.join(folder, name)
        if name.endswith(CLOSED_SUFFIX) and not name.endswith(OPEN_SUFFIX):
            with contextlib.suppress(OSError):
                status = os.stat(path)
                times = times_in_name(name)
                kept.append((times[1] if times else status.st_mtime, status.st_size, path))
    kept.sort(reverse=True)
    removed = total = 0
    for last_s, size, path in kept:
        total += size
        if now_s - last_s > max_age_s or total > max_bytes:
            for victim in (path, path + SIDECAR_SUFFIX):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(victim)
            removed += 1
    return removed


def times_in_name(name: str) -> tuple[float, float] | None:
    """(first, last) in seconds from the name of a closed segment of ours; None for any other file."""
    tail = name[-_CLOSED_TAIL:]
    first, last = tail[1:14], tail[15:28]
    if len(tail) < _CLOSED_TAIL or tail[0] + tail[14] + tail[28:] != "--.jsonl" or not (first + last).isdigit():
        return None
    return int(first) / 1000.0, int(last) / 1000.0


def time_of(line: bytes) -> float | None:
    """The `ts` that a line of ours begins with; None for a torn or foreign one."""
    match = _TIME.match(line)
    return float(match[1]) if match else None


class Sidecar:
    """A sidecar in memory. `offsets(id)` are where lines may stand: crc32 collides, so compare."""

    __slots__ = ("_ids", "first", "last", "size")

    def __init__(self, data: bytes | mmap.mmap) -> None:
        magic, self.first, self.last, self.size = _HEADER.unpack_from(data)
        if magic != _MAGIC or (len(data) - _HEADER.size) % 8:
            raise ValueError("not a sidecar of this version")
        self._ids: memoryview | array[int] = memoryview(data)[_HEADER.size :].cast("Q")
        if sys.byteorder == "big":
            swapped = array("Q", self._ids)
            swapped.byteswap()
            self._ids = swapped

    def checksums(self) -> set[int]:
        """The crc32 of every id."""
        return {entry >> 32 for entry in self._ids}

    def offsets(self, request_id: bytes) -> list[int]:
        wanted = zlib.crc32(request_id) << 32
        found: list[int] = []
        index = bisect_left(self._ids, wanted)
        while index < len(self._ids) and self._ids[index] >> 32 == wanted >> 32:
            found.append(self._ids[index] & 0xFFFFFFFF)
            index += 1
        return found


def open_sidecar(path: str, size: int | None) -> Sidecar | None:
    """The sidecar of the segment at `path`, which has `size` bytes (None: as when it was sealed); None without one.

    A small one is read whole: one system call, where a mapping costs two and a page fault.
    """
    try:
        descriptor = os.open(path + SIDECAR_SUFFIX, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data: bytes | mmap.mmap = os.read(descriptor, _SMALL_BYTES)
        if len(data) == _SMALL_BYTES:
            data = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
        sidecar = Sidecar(data)
    except (OSError, ValueError, struct.error):
        return None
    finally:
        os.close(descriptor)
    return sidecar if size is None or sidecar.size == size else None


def _is_still(path: str, descriptor: int) -> bool:
    """True when `path` is the file we locked: another sealer may have renamed it in between."""
    try:
        named, opened = os.stat(path), os.fstat(descriptor)
    except OSError:
        return False
    return (named.st_ino, named.st_dev) == (opened.st_ino, opened.st_dev)


def _close(path: str, descriptor: int) -> str | None:
    status = os.fstat(descriptor)
    if status.st_size == 0:
        os.unlink(path)
        return None
    first = time_of(os.pread(descriptor, 64, 0)) or status.st_mtime
    last = max(first, status.st_mtime)
    stem = _OPEN_NAME.sub("", path)
    closed = f"{stem}-{int(first * 1000):013d}-{int(last * 1000) + 1:013d}{CLOSED_SUFFIX}"
    os.rename(path, closed)
    return closed


def _write_sidecar(path: str, descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size >= _MAX_BYTES:
        return
    first, last, buckets = _index(descriptor, size)
    part = f"{path}{SIDECAR_SUFFIX}.part"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(part)  # left by a sealer that died; nobody else is here, we hold the lock
    out = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
    try:
        with os.fdopen(out, "wb") as file:
            file.write(_HEADER.pack(_MAGIC, first, last, size))
            for bucket in buckets:
                ids = array("Q", sorted(set(bucket)))
                if sys.byteorder == "big":
                    ids.byteswap()
                ids.tofile(file)
    except OSError:
        os.unlink(part)
        raise
    os.rename(part, path + SIDECAR_SUFFIX)


def _index(descriptor: int, size: int) -> tuple[float, float, list[array[int]]]:
    """(first time, last time, ids in buckets by their first byte); torn and foreign lines count for the ids they show.

    In buckets, so that never more than a part of a large file's ids is there as objects: eight bytes each instead of a
    hundred.
    """
    first, last = float("inf"), 0.0
    buckets = [array("Q") for _ in range(_BUCKETS)]
    if size == 0:
        return 0.0, 0.0, buckets
    offset = given_back = 0
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as data:
        while offset < size:
            end = data.find(b"\n", offset)
            end = size if end < 0 else end
            line = data[offset:end]
            for match in _IDS.finditer(line):
                crc = zlib.crc32(match[1])
                buckets[crc >> 24].append(crc << 32 | offset)
            if (at := time_of(line)) is not None:
                first, last = min(first, at), max(last, at)
            offset = end + 1
            if offset - given_back >= _AT_ONCE_BYTES and hasattr(data, "madvise"):
                # Pages that have been read count as memory of this process until they are given back.
                data.madvise(mmap.MADV_DONTNEED, given_back, _AT_ONCE_BYTES)
                given_back += _AT_ONCE_BYTES
    return (first if any(buckets) and first < float("inf") else 0.0), last, buckets


def _names(folder: str) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []
