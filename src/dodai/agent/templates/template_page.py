"""What a template can write: text in pieces that know where they stand, and under which conditions."""

from __future__ import annotations

import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Condition = tuple[int, int]
"""(number of a condition, number of its branch)."""

Find = Callable[[str, str], str]
LIMIT_CHARACTERS = 4_000_000


class TooLargeError(Exception):
    """A page that does not end, or nearly so."""


@dataclass(frozen=True)
class Words:
    """What helpers are called in templates, and what they write."""

    field: str = "csrf_token"
    header: str = "x-csrf-token"
    script: str = "/-/dodai/csrf?script"
    helpers: frozenset[str] = frozenset()

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Words:
        return cls(request["field"], request["header"], request["script"], frozenset(request["helpers"]))


@dataclass(frozen=True)
class Piece:
    """`mark` is set for what the application decides: `token`, `value`, or `markup` that cannot be seen from here."""

    text: str
    path: str
    line: int
    mark: str = ""
    conditions: frozenset[Condition] = frozenset()


@dataclass
class Fragment:
    """A stretch of a page; can be written more than once, under other conditions each time."""

    pieces: list[Piece] = field(default_factory=list)

    @classmethod
    def of(cls, text: str, path: str, line: int, mark: str = "") -> Fragment:
        return cls([Piece(text, path, line, mark)] if text else [])

    def add(self, other: Fragment, condition: Condition | None = None) -> None:
        if condition is None:
            self.pieces += other.pieces
            return
        for piece in other.pieces:
            conditions = piece.conditions | {condition}
            self.pieces.append(Piece(piece.text, piece.path, piece.line, piece.mark, conditions))

    @property
    def size(self) -> int:
        return sum(len(piece.text) for piece in self.pieces)

    @property
    def text(self) -> str | None:
        """The text when all of it is written in the template; None otherwise."""
        certain = all(not piece.mark and not piece.conditions for piece in self.pieces)
        return "".join(piece.text for piece in self.pieces) if certain else None


class Helpers:
    """The markup of dodai's helpers, of WTForms and of Django, with a token in it that is a mark."""

    def __init__(self, words: Words) -> None:
        self.words = words

    def token(self, path: str, line: int, shown: str = "csrf_token()") -> Fragment:
        return Fragment.of(f"{{{{ {shown} }}}}", path, line, "token")

    def field(self, path: str, line: int, name: str = "", shown: str = "csrf_token()") -> Fragment:
        written = html.escape(name or self.words.field)
        return self._around(f'<input type="hidden" name="{written}" value="', '">', path, line, shown)

    def headers(self, path: str, line: int) -> Fragment:
        return self._around(f"{{&quot;{self.words.header}&quot;: &quot;", "&quot;}", path, line)

    def script(self, path: str, line: int) -> Fragment:
        return Fragment.of(f'<script src="{self.words.script}" defer></script>', path, line)

    def meta(self, path: str, line: int) -> Fragment:
        found = self._around('<meta name="csrf-token" content="', '">', path, line)
        found.add(self.script(path, line))
        return found

    def named(self, name: str, path: str, line: int) -> Fragment | None:
        """What the helper called `name` writes; None when it is none."""
        if name in ("csrf_field", "csrf_input") or name in self.words.helpers:
            return self.field(path, line)
        if name in ("csrf_token", "csrf_headers", "csrf_meta", "csrf_script"):
            made: Fragment = getattr(self, name.removeprefix("csrf_"))(path, line)
            return made
        return None

    def _around(self, before: str, after: str, path: str, line: int, shown: str = "csrf_token()") -> Fragment:
        made = Fragment.of(before, path, line)
        made.add(self.token(path, line, shown))
        made.add(Fragment.of(after, path, line))
        return made


@dataclass
class TemplatePage:
    """One page; `branches` maps a condition to how many branches it has, 0 when it may come to none of them."""

    path: str
    pieces: list[Piece] = field(default_factory=list)
    branches: Mapping[int, int] = field(default_factory=dict)

    def write(self, fragment: Fragment) -> None:
        if fragment.size > LIMIT_CHARACTERS:
            raise TooLargeError(f"it expands to more than {LIMIT_CHARACTERS / 1e6:g} million characters")
        self.pieces += fragment.pieces

    def as_json(self) -> dict[str, Any]:
        used = {number for piece in self.pieces for number, _ in piece.conditions}
        return {
            "path": self.path,
            "pieces": [[p.text, p.path, p.line, p.mark, sorted(p.conditions)] for p in self.pieces],
            "branches": [[number, self.branches.get(number, 0)] for number in sorted(used)],
        }


class Budget:
    """Counts what one page has made; raises `TooLargeError` when that is more than a page can be."""

    def __init__(self) -> None:
        self.left = 0

    def renew(self) -> None:
        self.left = LIMIT_CHARACTERS

    def spend(self, fragments: Iterable[Fragment]) -> None:
        self.left -= sum(fragment.size + 20 for fragment in fragments)
        if self.left < 0:
            raise TooLargeError(f"it expands to more than {LIMIT_CHARACTERS / 1e6:g} million characters")
