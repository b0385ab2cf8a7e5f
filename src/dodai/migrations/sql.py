"""SQL as PostgreSQL's own lexer sees it: tokens, statements and a checksum that ignores comments and white space.

Source: PostgreSQL manual, "Lexical Structure" and psql's rules for where a statement ends (a semicolon outside
parentheses and outside a `BEGIN ATOMIC ... END` body).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.core.sha256 import sha256

Kind = Literal["space", "comment", "word", "string", "quoted", "dollar", "number", "semicolon", "other", "open"]

_LEXEMES = r"""(?P<space>\s+)
      | (?P<comment>--[^\n]*)
      | (?P<escape>[eE]'[^'\\]*(?:(?:\\.|'')[^'\\]*)*')
      | (?P<string>(?:[bBxXnN]|[uU]&)?'[^']*(?:''[^']*)*')
      | (?P<quoted>(?:[uU]&)?"[^"]*(?:""[^"]*)*")
      | (?P<dollar>\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$)
      | (?P<word>[^\W\d][\w$]*)
      | (?P<number>\d[\w.]*)
      | (?P<semicolon>;)
      | (?P<block>/\*)
      | (?P<open>['"]|\$(?:[^\W\d]\w*)?\$)
      | (?P<other>.)"""


@cache
def _token() -> re.Pattern[str]:
    """Compiled when something is read: to compile it takes as long as a tenth of `up` with nothing to do."""
    return re.compile(_LEXEMES, re.VERBOSE | re.DOTALL)


_BLOCK_EDGE = re.compile(r"/\*|\*/")


@dataclass(frozen=True, slots=True)
class Token:
    """`kind` is `open` for a quote or comment that never ends: it then reaches to the end of the text."""

    kind: Kind
    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Span:
    """One statement: `text` from its first to its last token (with the semicolon), `line` counts from 1.

    `complete` is False when a quote, comment, parenthesis or body is still open, or the semicolon is missing. `end` is
    where the text goes on behind it.
    """

    text: str
    line: int
    complete: bool
    end: int = 0


def tokens(text: str) -> Iterator[Token]:
    """Every token of `text` in order, white space and comments included; together they are the whole text."""
    position, size = 0, len(text)
    scan = _token().match
    while position < size:
        match = scan(text, position)
        assert match is not None  # noqa: S101 - `other` takes any character
        group, end = match.lastgroup, match.end()
        if group == "block":
            end = _block_end(text, position)
            kind: Kind = "comment" if end else "open"
            end = end or size
        elif group == "open":
            kind, end = "open", size
        else:
            kind = _KINDS[group or "other"]
        yield Token(kind, position, end, text[position:end])
        position = end


_KINDS: dict[str, Kind] = {
    "space": "space",
    "comment": "comment",
    "escape": "string",
    "string": "string",
    "quoted": "quoted",
    "dollar": "dollar",
    "tag": "dollar",
    "word": "word",
    "number": "number",
    "semicolon": "semicolon",
    "other": "other",
}


def _block_end(text: str, start: int) -> int:
    """Where the (nestable) comment that starts at `start` ends; 0 when it does not."""
    depth = 0
    for edge in _BLOCK_EDGE.finditer(text, start):
        depth += 1 if edge.group() == "/*" else -1
        if depth == 0:
            return edge.end()
    return 0


def statements(text: str) -> list[Span]:
    """The statements of `text`; a last one without a semicolon is there too, with `complete` False."""
    return list(each_statement(text))


def each_statement(text: str) -> Iterator[Span]:
    """The same one after the other: nothing is read of what stands behind the last one that was taken."""
    current: list[Token] = []
    nesting = _Nesting()
    for token in tokens(text):
        if token.kind in ("space", "comment"):
            continue
        current.append(token)
        nesting.see(token)
        if token.kind == "semicolon" and nesting.outermost:
            yield _span(text, current, complete=True)
            current, nesting = [], _Nesting()
    if current:
        yield _span(text, current, complete=False)


class _Nesting:
    """Parentheses and `BEGIN ATOMIC` bodies around the current token."""

    def __init__(self) -> None:
        self.parentheses = 0
        self.bodies = 0
        self.before = ""

    @property
    def outermost(self) -> bool:
        return self.parentheses <= 0 and self.bodies <= 0

    def see(self, token: Token) -> None:
        if token.kind == "other":
            self.parentheses += (token.text == "(") - (token.text == ")")
        elif token.kind == "word":
            word = token.text.lower()
            if (word == "atomic" and self.before == "begin") or (word == "case" and self.bodies):
                self.bodies += 1
            elif word == "end" and self.bodies:
                self.bodies -= 1
            self.before = word


def _span(text: str, found: list[Token], *, complete: bool) -> Span:
    start, end = found[0].start, found[-1].end
    open_end = found[-1].kind == "open"
    return Span(text[start:end], text.count("\n", 0, start) + 1, complete and not open_end, end)


def outermost(text: str) -> Iterator[Token]:
    """The words of a statement that stand in no parenthesis."""
    depth = 0
    for token in tokens(text):
        if token.kind == "other":
            depth += (token.text == "(") - (token.text == ")")
        elif token.kind == "word" and depth == 0:
            yield token


def words(text: str, limit: int = 12) -> tuple[str, ...]:
    """The first `limit` significant tokens of a statement, words in lower case: enough to know what it does."""
    found: list[str] = []
    for token in tokens(text):
        if token.kind in ("space", "comment"):
            continue
        found.append(token.text.lower() if token.kind == "word" else token.text)
        if len(found) == limit:
            break
    return tuple(found)


def masked(text: str, longest: int) -> str:
    """`text` on one line with `?` for every value and without comments, which may hold values too; cut at `longest`."""
    parts = ((" " if token.kind in ("space", "comment") else "?" if token.kind in _VALUES else token.text)
             for token in tokens(text))  # fmt: skip
    line = " ".join("".join(parts).split())
    return line if len(line) <= longest else line[: longest - 3] + "..."


_VALUES = ("string", "dollar", "number", "open")


def checksum(text: str) -> str:
    """sha256 over the tokens without comments and white space: it changes only when the meaning can have changed."""
    return checksums(text, len(text))[0]


def checksums(text: str, size: int) -> tuple[str, str]:
    """`checksum` of `text` and of its first `size` characters."""
    kept: list[str] = []
    first = 0
    if "/*" in text:
        for token in tokens(text):
            if token.kind not in ("space", "comment"):
                kept.append(token.text)
                first += token.end <= size
    else:
        # Without block comments every token is one match, and an open quote reaches to the end of the text.
        for match in _token().finditer(text):
            if match.lastgroup == "open":
                kept.append(text[match.start() :])
                first += len(text) <= size
                break
            if match.lastgroup not in ("space", "comment"):
                kept.append(match.group())
                first += match.end() <= size
    found = sha256("\x1f".join(kept[:first]).encode())
    part = found.hexdigest()
    if first < len(kept):
        found.update("\x1f".join(["" if first else kept[0], *kept[first or 1 :]]).encode())
    return found.hexdigest(), part


def literal(value: str | float | bool | None) -> str:
    """`value` as an SQL literal, safe whatever `standard_conforming_strings` is; raises `ValueError` on a NUL."""
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if "\0" in value:
        raise ValueError("PostgreSQL text cannot hold a NUL character")
    quoted = value.replace("'", "''")
    return f"E'{quoted}'".replace("\\", "\\\\") if "\\" in quoted else f"'{quoted}'"


def identifier(name: str) -> str:
    """`name` as a quoted identifier."""
    return '"' + name.replace('"', '""') + '"'
