"""Where things stand in a TOML text: used for messages and for the annotated reference, never to read values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import field

from dodai.core.dataclass import dataclass

Path = tuple[str | int, ...]

_HEADER = re.compile(r"^\s*(\[\[?)\s*(.+?)\s*\]\]?\s*(?:#.*)?$")
_KEY = re.compile(
    r"""^\s*((?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"[^"]*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*="""
)
_PART = re.compile(r"""\s*(?:"((?:[^"\\]|\\.)*)"|'([^']*)'|([A-Za-z0-9_-]+))\s*""")


@dataclass(frozen=True, slots=True)
class Line:
    """A header or key line: its path from the root (integers are positions in `[[…]]`), and the comments above it."""

    path: Path
    number: int
    column: int
    text: str
    header: str = ""
    comments: tuple[str, ...] = field(default=())


def scan(text: str) -> Iterator[Line]:
    """The header and key lines of a TOML text; values that span lines and strings are stepped over."""
    table: Path = ()
    counts: dict[Path, int] = {}
    comments: list[str] = []
    closing = ""
    depth = 0
    for number, line in enumerate(text.splitlines(), start=1):
        if closing or depth > 0:
            closing, depth = _after(line, closing, depth)
            continue
        stripped = line.strip()
        if stripped.startswith("#"):
            comments.append(stripped)
        elif not stripped:
            comments.clear()
        elif stripped.startswith("[") and (match := _HEADER.match(line)):
            table = _table_path(_split(match[2]), match[1] == "[[", counts)
            yield Line(table, number, line.index("[") + 1, line, match[1], tuple(comments))
            comments.clear()
        elif match := _KEY.match(line):
            yield Line(
                (*table, *_split(match[1])), number, len(line) - len(line.lstrip()) + 1, line, "", tuple(comments)
            )
            comments.clear()
            closing, depth = _after(line[match.end() :], "", 0)


def find(text: str, path: Path) -> Line | None:
    """The line where `path` stands, or the nearest one above it that exists (an inline table, its header)."""
    best: Line | None = None
    for line in scan(text):
        if line.path == path[: len(line.path)] and (best is None or len(line.path) > len(best.path)):
            best = line
    return best


def _split(dotted: str) -> tuple[str, ...]:
    return tuple(match[1] or match[2] or match[3] or "" for match in _PART.finditer(dotted))


def _table_path(parts: tuple[str, ...], repeated: bool, counts: dict[Path, int]) -> Path:
    path: Path = ()
    for index, part in enumerate(parts):
        path = (*path, part)
        last = index == len(parts) - 1
        if repeated and last:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _after(rest: str, closing: str, depth: int) -> tuple[str, int]:
    """What is still open after `rest`: the quotes of a multi-line string, and the number of brackets."""
    position = 0
    while position < len(rest):
        if closing:
            end = rest.find(closing, position)
            if end < 0:
                return closing, depth
            position, closing = end + len(closing), ""
            continue
        char = rest[position]
        if char == "#":
            break
        if rest.startswith(('"""', "'''"), position):
            closing = rest[position : position + 3]
            position += 3
            continue
        if char in "\"'":
            position = _end_of_string(rest, position)
            continue
        depth += (char in "[{") - (char in "]}")
        position += 1
    return closing, max(depth, 0)


def _end_of_string(rest: str, start: int) -> int:
    quote, position = rest[start], start + 1
    while position < len(rest) and rest[position] != quote:
        position += 2 if quote == '"' and rest[position] == "\\" else 1
    return position + 1
