"""A place where a source reads a variable, one where a file gives it a value, and text without its comments."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

from dodai.core.dataclass import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Read:
    """`name` is read at a line. `required`: nothing starts, or that part fails, while it is not set.

    `has_value`: the source has a value of its own for then, and that is no empty one.
    """

    path: str
    line: int
    name: str
    required: bool = False
    has_value: bool = False


@dataclass(frozen=True, slots=True, order=True)
class GivenValue:
    """A file other than the manifest gives `name` a value at a line; `literal`: the value itself stands there."""

    path: str
    line: int
    name: str
    literal: bool = True


_TOKEN = re.compile(
    r"""(?P<comment>(?<![\\:])//[^\n]*|/\*.*?\*/)|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`""",
    re.DOTALL,
)


def without_comments(text: str) -> str:
    """`text` of a language with `//` and `/* */`, spaces in the places of comments; strings stay."""

    def blank(match: re.Match[str]) -> str:
        found = match[0]
        return re.sub(r"[^\n]", " ", found) if match["comment"] is not None else found

    return _TOKEN.sub(blank, text)


def line_counter(text: str) -> Callable[[int], int]:
    """The line, counted from 1, on which the character at an offset stands."""
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    return lambda offset: bisect_right(starts, offset)
