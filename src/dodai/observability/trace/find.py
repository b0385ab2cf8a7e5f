# ruff: noqa: PTH112, PTH116, PTH118, PTH119, PTH120, PTH123, PTH208
"""Finding the lines of one request among millions, without an index of our own to keep.

A minted id carries its time, so an unsealed file is bisected by the time its lines begin with; sealed files and foreign
ids go through the sidecars. Standard library only, no pathlib: the whole process has 100 ms.
"""

from __future__ import annotations

import json
import mmap
import os
import time
from typing import TYPE_CHECKING, Any

from dodai.core.request import time_ms_of
from dodai.observability.segment.index import FEWEST as _MANY
from dodai.observability.segment.index import INDEX_SUFFIX, segments_with
from dodai.observability.segment.seal import (
    CLOSED_SUFFIX,
    OPEN_SUFFIX,
    SIDECAR_SUFFIX,
    open_sidecar,
    time_of,
    times_in_name,
)

if TYPE_CHECKING:
    from dodai.observability.ports import KeptLines

_BEFORE_S = 5.0
_AFTER_S = 60.0
_SKEW_S = 3600.0
"""How far the clock of a tier may be off and its lines are still found."""
_FOREIGN_LINES = 200
_MAX_LINES = 5000
_MAX_RELATED = 20
_DEPTH = 4
_NOT_LINES = frozenset({"releases", "trees", "cache", "data", "pgdata", "node_modules", ".git"})
_COMPRESSED = frozenset({"gz", "bz2", "xz", "zst", "lz4"})
MATCHED = ("requestId", "clientRequestId", "traceId")

Line = dict[str, Any]


class FoundLines:
    """What a lookup saw: the lines in the order of their times, and how many matching ones could not be read."""

    __slots__ = ("lines", "torn", "unread", "unsealed")

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.torn = 0
        self.unsealed: set[str] = set()
        self.unread: set[str] = set()
        """Files that may hold lines and were not looked into, because they are compressed."""

    def add(self, other: FoundLines) -> None:
        """What another lookup saw as well."""
        self.lines += [line for line in other.lines if line not in self.lines]
        self.torn = max(self.torn, other.torn)
        self.unsealed |= other.unsealed
        self.unread |= other.unread


def find(request_id: str, folders: list[str], *, longest_request_s: float = 60.0) -> FoundLines:
    """Every line of the request, in any `*.jsonl` of `folders`; also when the id is a client's own or a trace id.

    `longest_request_s` is how long after its id a request may write its line; a lookup that finds nothing in that time
    reads everything.
    """
    found = _lookup({request_id.encode()}, folders, time_ms_of(request_id), longest_request_s)
    related = {line["requestId"] for line in found.lines if isinstance(line.get("requestId"), str)} - {request_id}
    for other in sorted(related)[:_MAX_RELATED]:
        found.add(_lookup({other.encode()}, folders, time_ms_of(other), longest_request_s))
    minted_ms = time_ms_of(request_id)
    if minted_ms is not None and unanswered(found.lines):
        # A caller says how many callees there must be: one whose clock is off wrote its line at another time.
        ids = {request_id.encode(), *(other.encode() for other in sorted(related)[:_MAX_RELATED])}
        found.add(_lookup(ids, folders, minted_ms, longest_request_s, skew_s=_SKEW_S))
    found.lines.sort(key=_when)
    return found


def unanswered(lines: list[Line]) -> dict[str, int]:
    """How many RPCs of each hop, by its span, have no line of the tier they went to."""
    served: dict[str, int] = {}
    for line in lines:
        if line.get("type") == "rpc" and isinstance(line.get("parentSpanId"), str):
            caller = line["parentSpanId"][:12] + "0000"  # the request whose call that span was
            served[caller] = served.get(caller, 0) + 1
    silent: dict[str, int] = {}
    for line in lines:
        count, span = line.get("rpcCount"), line.get("spanId")
        if isinstance(count, int) and isinstance(span, str) and count > served.get(span, 0):
            silent[span] = count - served.get(span, 0)
    return silent


def line_folders(roots: list[str]) -> list[str]:
    """The folders named `lines` at or below `roots`, and the roots that hold `*.jsonl` themselves."""
    folders: list[str] = []
    for root in roots:
        _collect(root, folders, _DEPTH)
    return folders


def default_roots(environ: dict[str, str], start: str) -> list[str]:
    """`DODAI_STATE`, else the nearest `.dodai` at or above `start`."""
    if environ.get("DODAI_STATE"):
        return [environ["DODAI_STATE"]]
    folder = start
    while True:
        state = os.path.join(folder, ".dodai")
        if os.path.isdir(state):
            return [state]
        above = os.path.dirname(folder)
        if above == folder:
            return []
        folder = above


def _collect(folder: str, folders: list[str], depth: int) -> None:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    if os.path.basename(folder) == "lines" or any(entry.name.endswith(CLOSED_SUFFIX) for entry in entries):
        folders.append(folder)
        return
    for entry in entries:
        if depth and entry.name not in _NOT_LINES and entry.is_dir(follow_symlinks=False):
            _collect(entry.path, folders, depth - 1)


def _lookup(
    ids: set[bytes], folders: list[str], minted_ms: int | None, longest_s: float, *, skew_s: float = 0.0
) -> FoundLines:
    found = FoundLines()
    listed = [(folder, *_names(folder, found)) for folder in folders]
    if minted_ms is not None:
        at = minted_ms / 1000.0
        window = (at - _BEFORE_S - skew_s, at + longest_s + _AFTER_S + skew_s)
        for folder, names, _ in listed:
            for name in names:
                times = times_in_name(name)
                if times is None or (times[1] >= window[0] and times[0] <= window[1]):
                    _search(folder + os.sep + name, ids, found, window)
    if not found.lines:
        for folder, names, indexes in listed:
            known, likely = segments_with(folder, indexes, ids)
            asked = [name for name in names if name not in known or name in likely]
            if len(asked) - len(likely) >= _MANY:
                found.unsealed.add(folder)  # what seals also makes an index of them
            for name in asked:
                _search(folder + os.sep + name, ids, found, None)
    return found


def _search(path: str, ids: set[bytes], found: FoundLines, window: tuple[float, float] | None) -> None:
    try:
        # Of thousands of sealed segments hardly any has a line of the request: they are asked without being opened.
        # A closed one of ours does not grow; what others write may, after it was sealed.
        sidecar = open_sidecar(path, None if times_in_name(path) is not None else os.stat(path).st_size)
        offsets = [offset for wanted in ids for offset in sidecar.offsets(wanted)] if sidecar is not None else None
        if offsets is not None and not offsets:
            return
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                return
            with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
                if offsets is not None:
                    for offset in offsets:
                        _take(data, offset, ids, found)
                    return
                if not path.endswith(OPEN_SUFFIX):
                    found.unsealed.add(os.path.dirname(path))
                _scan(data, size, ids, found, window)
    except (OSError, ValueError):
        return


def _scan(data: mmap.mmap, size: int, ids: set[bytes], found: FoundLines, window: tuple[float, float] | None) -> None:
    start = 0 if window is None else _first_at(data, size, window[0])
    end = size if window is None else _first_at(data, size, window[1])
    for wanted in ids:
        position = data.find(wanted, start, end)
        while position >= 0 and len(found.lines) < _MAX_LINES:
            offset = data.rfind(b"\n", 0, position) + 1
            position = data.find(wanted, _take(data, offset, ids, found), end)


def _first_at(data: mmap.mmap, size: int, at: float) -> int:
    """The offset of the first line whose time is `at` or later, found by bisection.

    Lines are written when a request ends, so they are in order but for the few that race; foreign and torn lines have
    no time and are stepped over.
    """
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        offset, when = _time_after(data, middle, high)
        if when is not None and when < at:
            low = offset + 1
        else:
            high = middle
    return _time_after(data, low, size)[0]


def _time_after(data: mmap.mmap, position: int, end: int) -> tuple[int, float | None]:
    """(offset, time) of the first line that begins at or after `position` and has a time."""
    offset = position if position == 0 else data.find(b"\n", position - 1) + 1
    for _ in range(_FOREIGN_LINES):
        if offset <= 0 and position > 0:
            return end, None
        if offset >= end:
            return end, None
        when = time_of(data[offset : offset + 40])
        if when is not None:
            return offset, when
        offset = data.find(b"\n", offset) + 1
    return end, None


def _take(data: mmap.mmap, offset: int, ids: set[bytes], found: FoundLines) -> int:
    """Keep the line at `offset` if it is about one of `ids`; returns where the next line begins."""
    end = data.find(b"\n", offset)
    end = len(data) if end < 0 else end
    raw = data[offset:end]
    try:
        line = json.loads(raw)
    except ValueError:
        found.torn += 1
        return end
    if not isinstance(line, dict):
        found.torn += 1
    elif any(isinstance(line.get(name), str) and line[name].encode() in ids for name in MATCHED):
        found.lines.append(line)
    return end


def _names(folder: str, found: FoundLines) -> tuple[list[str], list[str]]:
    """The files of a folder that may hold lines, rotated ones (`web.jsonl.1`) too, and its indexes.

    Compressed files are noted.
    """
    names: list[str] = []
    indexes: list[str] = []
    try:
        listed = os.listdir(folder)
    except OSError:
        return names, indexes
    for name in listed:
        if name.endswith(SIDECAR_SUFFIX):
            continue
        if name.endswith(INDEX_SUFFIX):
            indexes.append(name)
            continue
        if name.endswith((CLOSED_SUFFIX, ".log")):
            names.append(name)
            continue
        bare, _, last = name.rpartition(".")
        if last.isdigit() and bare.endswith((CLOSED_SUFFIX, ".log")):
            names.append(name)
        elif last in _COMPRESSED and (CLOSED_SUFFIX in bare or ".log" in bare):
            found.unread.add(os.path.join(folder, name))
    return names, indexes


def _when(line: Line) -> float:
    at = line.get("ts")
    return float(at) if isinstance(at, int | float) else 0.0


_AROUND_S = 3600.0
"""How far the clock of a tier may be off, and how long a request may last, before its lines are not found."""
_FOREIGN_S = 7 * 86400.0
"""How far back an id is looked for that carries no time."""
_RELATED = 20


def read_back(kept: KeptLines, request_id: str) -> FoundLines:
    """Every line of the request that is kept there; raises `OSError` or `ValueError`."""
    found = _asked(kept, [request_id])
    related = {line["requestId"] for line in found.lines if isinstance(line.get("requestId"), str)} - {request_id}
    if related:
        found.add(_asked(kept, sorted(related)[:_RELATED]))
    return found


def _asked(kept: KeptLines, ids: list[str]) -> FoundLines:
    found = FoundLines()
    lines, found.torn = kept.lines(ids, *_times(ids))
    # what only mentions an id, in the text of an error, is not a line of it
    found.lines = [line for line in lines if any(line.get(name) in ids for name in MATCHED)]
    return found


def _times(ids: list[str]) -> tuple[float, float | None]:
    minted = [ms / 1000.0 for one in ids if (ms := time_ms_of(one)) is not None]
    if len(minted) < len(ids):
        return time.time() - _FOREIGN_S, None
    return min(minted) - _AROUND_S, max(minted) + _AROUND_S
