"""A finding: what a rule saw, where, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import Any

from dodai.core.code_page import Level
from dodai.core.dataclass import dataclass
from dodai.core.errors import Code


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A position in a file; `line` and `column` count from 1, 0 means the whole file."""

    path: str
    line: int = 0
    column: int = 0
    length: int = 0

    def __str__(self) -> str:
        position = (f":{self.line}" if self.line else "") + (f":{self.column}" if self.line and self.column else "")
        return self.path + position


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to fix.

    `message` has the offending value in backticks, `quote` is the line of source it stands in, `fix` one imperative
    line (a command when there is one), `why` the harm. Fix and why default to those of the code's page.
    """

    code: Code
    message: str
    place: Place | None = None
    quote: str = ""
    fix: str = ""
    why: str = ""
    level: Level | None = None
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def severity(self) -> Level:
        return self.level or self.code.level

    @property
    def advice(self) -> str:
        return self.fix or self.code.fix.en

    @property
    def harm(self) -> str:
        return self.why or self.code.why.en

    def as_json(self) -> dict[str, Any]:
        place = self.place
        return {
            "code": self.code.id,
            "name": self.code.name,
            "area": self.code.area,
            "level": self.severity,
            "message": self.message,
            "path": place.path if place else None,
            "line": place.line if place else None,
            "column": place.column if place else None,
            "quote": self.quote or None,
            "fix": self.advice,
            "why": self.harm,
            **({"data": dict(self.data)} if self.data else {}),
        }
