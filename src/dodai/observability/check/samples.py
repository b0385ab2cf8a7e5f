"""The latest lines that services of this repository wrote here, held to the line schema."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from dodai.core.dataclass import dataclass
from dodai.core.fact import Cost, NotApplicable
from dodai.core.line import FIELDS, LINE_TYPES, LINE_VERSION, MAX_LINE_BYTES, OUTCOMES

_FILES = 20
_BYTES = 64 * 1024
_BY_NAME = {field.name: field for field in FIELDS}


@dataclass(frozen=True, slots=True)
class Drift:
    """One way in which lines of a service leave the schema; `count` of the lines read, `place` the first of them."""

    service: str
    problem: str
    path: str
    line: int
    count: int


@dataclass(frozen=True, slots=True)
class LineSample:
    """What the last 64 KiB of the latest twenty files of lines have against the schema."""

    cost: ClassVar[Cost] = "static"
    lines: int
    drifts: tuple[Drift, ...]


def gather_lines(state: Path, root: Path) -> LineSample | NotApplicable:
    """The sample below the state folder `state`; paths are relative to `root`. Not applicable before the first run."""
    files = sorted(state.glob("**/lines/*.jsonl"), key=_age)[:_FILES]
    if not files:
        return NotApplicable("no service has written lines here yet")
    total = 0
    drifts: dict[tuple[str, str], Drift] = {}
    for path in files:
        shown = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
        for number, raw in _tail(path):
            total += 1
            for service, problem in line_problems(raw):
                first = drifts.get((service, problem)) or Drift(service, problem, shown, number, 0)
                drifts[service, problem] = Drift(service, problem, first.path, first.line, first.count + 1)
    return LineSample(total, tuple(sorted(drifts.values(), key=lambda drift: (drift.service, drift.problem))))


def line_problems(raw: bytes) -> Iterator[tuple[str, str]]:
    """(service, problem) for everything one line has against the schema; `?` when it names no service."""
    try:
        line = json.loads(raw)
    except ValueError:
        yield "?", "not JSON"
        return
    if not isinstance(line, dict):
        yield "?", "not a JSON object"
        return
    service = str(line.get("service", "?"))
    for problem in _problems(line):
        yield service, problem
    if len(raw) + 1 > MAX_LINE_BYTES:
        yield service, f"longer than {MAX_LINE_BYTES} bytes"


def _problems(line: Mapping[str, Any]) -> Iterator[str]:
    kind = line.get("type")
    if next(iter(line), "") != "ts":
        yield "`ts` is not the first key"
    if line.get("v") != LINE_VERSION:
        yield f"`v` is not {LINE_VERSION}"
    if kind not in LINE_TYPES:
        yield f"unknown type `{kind}`"
        return
    yield from (f"`{f.name}` is missing" for f in FIELDS if kind in f.required and line.get(f.name) in (None, ""))
    for name, value in line.items():
        field = _BY_NAME.get(name)
        if field is None:
            yield f"unknown field `{name}`"
        elif not _fits(value, field.kind):
            yield f"`{name}` is not {field.kind}"
        elif name == "outcome" and value not in OUTCOMES:
            yield f"unknown outcome `{value}`"


def _fits(value: Any, kind: str) -> bool:
    if isinstance(value, bool):
        return False
    if kind == "number":
        return isinstance(value, int | float) and math.isfinite(value)
    if kind == "string":
        return isinstance(value, str)
    return isinstance(value, int) or (kind == "integer or string" and isinstance(value, str))


def _tail(path: Path) -> Iterator[tuple[int, bytes]]:
    """(line number, line) of the last whole lines of a file; a last line without its newline is still being written."""
    try:
        data = path.read_bytes()
    except OSError:
        return
    start = max(0, len(data) - _BYTES)
    start = data.find(b"\n", start) + 1 if start else 0
    number = data.count(b"\n", 0, start)
    for offset, raw in enumerate(data[start : data.rfind(b"\n") + 1].splitlines(), 1):
        yield number + offset, raw


def _age(path: Path) -> float:
    try:
        return -path.stat().st_mtime
    except OSError:
        return 0.0
