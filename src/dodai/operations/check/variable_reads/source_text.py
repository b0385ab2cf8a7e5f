"""Text without its comments, line for line as before."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable

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
