# ruff: noqa: PTH104, PTH108, PTH118, PTH123, PTH208
"""One index for many sealed segments: an id without a time is asked of it once, and not of thousands of sidecars.

Standard library only, like `seal`. `<first ms>-<last ms>-<pid>.index` is a header (magic, number of entries), one
unsigned 64-bit integer for each id in each segment, `crc32(id) << 32 | number of the segment`, sorted, and the names of
the segments, each with a newline. A segment that is in no index is asked by its sidecar, one that is gone not at all.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
import sys
import zlib
from array import array
from bisect import bisect_left

from dodai.observability.segment.seal import SIDECAR_SUFFIX, open_sidecar, times_in_name

INDEX_SUFFIX = ".index"
FEWEST = 64
"""Fewer segments than this are asked one by one sooner than an index is worth its file."""
_MOST_IDS = 250_000
_HEADER = struct.Struct("<8sQ")
_MAGIC = b"DODAIIX1"


def index_together(folder: str) -> int:
    """How many indexes were written for the sealed segments of `folder` that are in none. Never raises.

    Two at once write the same ones twice, which is no harm. An index whose segments are all gone is removed.
    """
    try:
        listed = set(os.listdir(folder))
        indexed = _remove_stale(folder, listed)
        waiting = [name for name in sorted(listed) if _is_ours(name, listed) and name not in indexed]
        return _write_indexes(folder, waiting) if len(waiting) >= FEWEST else 0
    except OSError:
        return 0


def segments_with(folder: str, indexes: list[str], ids: set[bytes]) -> tuple[set[str], set[str]]:
    """(names of all segments that `indexes` know, names of those in which one of `ids` may stand)."""
    known: set[str] = set()
    likely: set[str] = set()
    for index in indexes:
        with contextlib.suppress(OSError, ValueError, IndexError, struct.error):
            names, numbers = _look(os.path.join(folder, index), ids)
            likely |= {names[number] for number in numbers}
            known.update(names)
    return known, likely


def _look(path: str, ids: set[bytes]) -> tuple[list[str], list[int]]:
    """(the segments of the index at `path`, the numbers of those that may have one of `ids`)."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        magic, count = _HEADER.unpack_from(data)
        end = _HEADER.size + count * 8
        if magic != _MAGIC or end > len(data):
            raise ValueError("not an index of this version")
        return data[end:].decode().splitlines(), [number for wanted in ids for number in _numbers(data, end, wanted)]


def _numbers(data: mmap.mmap, end: int, wanted: bytes) -> list[int]:
    found: list[int] = []
    with memoryview(data) as whole, whole[_HEADER.size : end] as part, part.cast("Q") as entries:
        values: memoryview | array[int] = entries
        if sys.byteorder == "big":
            values = array("Q", entries)
            values.byteswap()
        crc = zlib.crc32(wanted)
        at = bisect_left(values, crc << 32)
        while at < len(values) and values[at] >> 32 == crc:
            found.append(values[at] & 0xFFFFFFFF)
            at += 1
    return found


def _is_ours(name: str, listed: set[str]) -> bool:
    """True for a sealed segment that does not change any more."""
    return times_in_name(name) is not None and name + SIDECAR_SUFFIX in listed


def _remove_stale(folder: str, listed: set[str]) -> set[str]:
    """The names that the indexes of `folder` know."""
    indexed: set[str] = set()
    for index in [name for name in listed if name.endswith(INDEX_SUFFIX)]:
        known, _ = segments_with(folder, [index], set())
        if known & listed:
            indexed |= known
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(os.path.join(folder, index))
    return indexed


def _write_indexes(folder: str, waiting: list[str]) -> int:
    names: list[str] = []
    entries: set[int] = set()
    written = 0
    for name in waiting:
        sidecar = open_sidecar(os.path.join(folder, name), None)
        if sidecar is None:
            continue
        entries.update(crc << 32 | len(names) for crc in sidecar.checksums())
        names.append(name)
        if len(entries) >= _MOST_IDS:
            _write(folder, names, entries)
            names, entries, written = [], set(), written + 1
    if len(names) >= FEWEST:
        _write(folder, names, entries)
        written += 1
    return written


def _write(folder: str, names: list[str], entries: set[int]) -> None:
    first, last = names[0][-33:-20], names[-1][-19:-6]
    path = os.path.join(folder, f"{first}-{last}-{os.getpid()}{INDEX_SUFFIX}")
    part = path + ".part"
    ids = array("Q", sorted(entries))
    if sys.byteorder == "big":
        ids.byteswap()
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_HEADER.pack(_MAGIC, len(ids)))
            ids.tofile(file)
            file.write("".join(f"{name}\n" for name in names).encode())
    except OSError:
        os.unlink(part)
        raise
    os.rename(part, path)
