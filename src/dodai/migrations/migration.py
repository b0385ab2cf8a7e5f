"""A migration, whatever tool wrote it: what every reader produces and every check and run consumes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from typing import Literal

Direction = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing to send to the server. `line` counts from 1 in the file."""

    sql: str
    line: int


@dataclass(frozen=True, slots=True)
class Accepted:
    """A comment `-- dodai: accept DOD213 reason` in the file; it covers the statement that follows, or the file."""

    code: str
    reason: str
    line: int
    expires: date | None = None


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a history.

    `id` is the version as the ledger keeps it, `order` sorts it, `path` is relative to the repository. `raw_sha256` is
    over the bytes of the file, `token_sha256` over its tokens without comments and white space, both before variables
    are expanded. `irreversible` is the reason given when there is no way down.
    """

    id: str
    order: int
    name: str
    path: str
    up: tuple[Statement, ...]
    down: tuple[Statement, ...]
    transactional: bool
    raw_sha256: str
    token_sha256: str
    text: str = ""
    irreversible: str = ""
    accepted: tuple[Accepted, ...] = ()
    repeatable: bool = False

    @property
    def reversible(self) -> bool:
        return bool(self.down)

    @property
    def hides_text(self) -> bool:
        """The statements hold values of environment variables, so neither they nor the server's words are shown."""
        return "envsub on" in self.text.lower()

    def statements(self, direction: Direction) -> tuple[Statement, ...]:
        return self.up if direction == "up" else self.down


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """By version, repeatable ones last by name."""
    return tuple(sorted(migrations, key=lambda m: (m.repeatable, m.order, m.name)))
