"""Errors that say what to do, and the one space of codes they share with findings, refusals, lines and alerts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field
from typing import TYPE_CHECKING, Any, Literal

from dodai.core.dataclass import dataclass

if TYPE_CHECKING:
    from dodai.core.code_page import CodePage, Level
    from dodai.core.text import Text

Fault = Literal["user", "provider", "dodai"]
Reply = Literal["rejected", "throttled", "unavailable", "ambiguous"]
"""What became of a request to somebody else: refused for good, too many at once (`data["retry_after_s"]` says when to
come again), not received, or sent without a clear answer. Only the last one makes a look necessary; the first is never
tried again."""
Found = Literal["check", "run time", "alert", "operation"]

AREAS = ("manifest", "csrf", "migrations", "operations", "observability")
_AREA_OF_DIGIT = (*AREAS, "operations", "adoption", "providers")


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the code space: `DOD203 not-null-without-default`, with its page in the folder of `package`.

    The first digit names the area (0 manifest, 1 csrf, 2 migrations, 3 deploys, plans and the Host, 4 observability,
    5 settings, secrets, network and edge, 6 adoption, 7 providers). The last two say where it is met: 00-49 found by
    `check`, 50-79 refused at run time (in 4xx: alerts), 80-99 an operation failed; providers number as they need.
    A code is never reused. Its words are read from the page when they are asked for.
    """

    id: str
    name: str
    package: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"DOD[0-7]\d\d", self.id) or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.name):
            raise ValueError(f"malformed code {self.id} {self.name}")

    @property
    def area(self) -> str:
        return _AREA_OF_DIGIT[int(self.id[3])]

    def is_meant_by(self, word: str) -> bool:
        """Whether `word` is this code or a beginning of it, its name or its area."""
        return self.id.startswith(word.upper()) or word in (self.name, self.area)

    @property
    def found(self) -> Found:
        last = int(self.id[4:])
        if last >= 80 or self.id[3] == "7":
            return "operation"
        if last >= 50:
            return "alert" if self.id[3] == "4" else "run time"
        return "check"

    @property
    def page(self) -> CodePage:
        """What is said about it; raises `ValueError` when its page has another name."""
        from dodai.core.code_page import page_of  # nobody asks for the words of a page where nothing went wrong

        page = page_of(self.package, self.id)
        if page.name != self.name:
            raise ValueError(f"{self.id} is called `{self.name}` in {self.package} and `{page.name}` on its page")
        return page

    @property
    def level(self) -> Level:
        return self.page.level

    @property
    def what(self) -> Text:
        return self.page.what

    @property
    def why(self) -> Text:
        return self.page.why

    @property
    def fix(self) -> Text:
        return self.page.fix


def declared(names: Mapping[str, object]) -> tuple[Code, ...]:
    """The codes that a module defines, given its `globals()`."""
    return tuple(value for value in names.values() if isinstance(value, Code))


class CodeRegistry(Mapping[str, Code]):
    """Every code by id; raises `ValueError` when two codes share an id or a name."""

    def __init__(self, codes: Iterable[Code]) -> None:
        self._by_id: dict[str, Code] = {}
        names: set[str] = set()
        for code in codes:
            if code.id in self._by_id or code.name in names:
                raise ValueError(f"{code.id} {code.name} is declared twice")
            self._by_id[code.id] = code
            names.add(code.name)

    def __getitem__(self, code_id: str) -> Code:
        return self._by_id[code_id]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._by_id))

    def __len__(self) -> int:
        return len(self._by_id)

    def find(self, word: str) -> Code | None:
        """The code whose id or name is `word`, in any case; None when there is none."""
        word = word.strip().lower()
        return next((c for c in self._by_id.values() if word in (c.id.lower(), c.name)), None)


@dataclass(eq=False)
class DodaiError(Exception):
    """A failure a person can act on.

    `code` is a row of the code space, `fault` says who can fix it, `reply` what became of the request (so whether to
    try again, and whether to look first; by default a provider was unavailable, anybody else refused), `message` what
    happened with the offending value in backticks, `fix` the next thing to do. `details` are lines below the message:
    what was done, what was undone, what remains, the tail of a log. `exit_code` follows the CLI contract: 1 a gate
    refused, 2 usage or manifest, 3 failed and restored, 4 failed and a person must act, 75 somebody else has the lock.
    """

    code: Code
    message: str
    fix: str
    fault: Fault = "user"
    exit_code: int = 3
    details: tuple[str, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)
    reply: Reply | None = None

    def __post_init__(self) -> None:
        self.reply = self.reply or ("unavailable" if self.fault == "provider" else "rejected")
        self.add_note(f"fix: {self.fix}")  # below the traceback of an application that does not start

    def __str__(self) -> str:
        return f"{self.code.id} {self.code.name}: {self.message}"

    def as_json(self) -> dict[str, Any]:
        """The body of the `dodai.error/1` envelope."""
        return {
            "code": self.code.id,
            "name": self.code.name,
            "fault": self.fault,
            "message": self.message,
            "fix": self.fix,
            "details": list(self.details),
            **({"data": dict(self.data)} if self.data else {}),
        }
