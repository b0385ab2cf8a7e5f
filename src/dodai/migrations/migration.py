"""A migration, whatever tool wrote it: what every reader produces and every check and run consumes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import Literal

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError
from dodai.migrations import codes
from dodai.migrations.policy import Format

Direction = Literal["up", "down"]
DIRECTIONS: tuple[Direction, ...] = ("up", "down")


@dataclass(frozen=True, slots=True)
class BatchDirective:
    """A comment `-- dodai: batch TABLE KEY SIZE`: so many rows of the table at once, in the order of the key."""

    table: str
    key: str
    size: int
    line: int


@dataclass(frozen=True, slots=True)
class Statement:
    """One thing to send to the server. `line` counts from 1 in the file; `data` are the lines of a COPY.

    With a `batch` it is sent once for each range of a key.
    """

    sql: str
    line: int
    data: str | None = None
    batch: BatchDirective | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """A comment `-- dodai: accept DOD213 reason` in the file; it covers the statement that follows, or the file."""

    code: str
    reason: str
    line: int
    expires: date | None = None


@dataclass(frozen=True, slots=True)
class FileProblem:
    """What is wrong in one place of a file; `line` 0 is the whole file."""

    code: Code
    message: str
    path: str
    line: int = 0
    quote: str = ""
    fix: str = ""

    def error(self) -> DodaiError:
        """The same as an error that stops a command."""
        place = f"{self.path}:{self.line}" if self.line else self.path
        return DodaiError(self.code, f"{place}: {self.message}", self.fix or self.code.fix.en, exit_code=1)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of a history.

    `id` is the version as the ledger keeps it, `order` sorts it, `path` is relative to the repository. `raw_sha256` is
    over the bytes of the file, `token_sha256` over its tokens without comments and white space, both before variables
    are expanded. `irreversible` is the reason given when there is no way down. A history that is a graph has `parents`,
    a `group` (Django's app; each has one end) and a `line` where the file says who it is; statements may be unknown,
    then `undoable` says that there is a way down, `touches` names tables that it may be about, and `steps` are the
    lines of its operations. `depends_on` are the parents that it needs without being of their branch, `labels` the
    names of the branch that begins with it. `advice` is what would be written otherwise today, and is carried out as it
    stands. `down_path` and `down_text` are the file of the way down where it is another. `layout` is the format it is
    written in, whose words messages about it use.
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
    parents: tuple[str, ...] = ()
    line: int = 0
    group: str = ""
    undoable: bool = False
    touches: frozenset[str] = frozenset()
    depends_on: frozenset[str] = frozenset()
    labels: tuple[str, ...] = ()
    advice: tuple[FileProblem, ...] = ()
    down_path: str = ""
    down_text: str = ""
    up_sha256: str = ""
    steps: tuple[int, ...] = ()
    layout: Format = "goose"

    @property
    def applied_sha256(self) -> str:
        """`token_sha256` without the way down: what a database has of it once it is applied."""
        return self.up_sha256 or self.token_sha256

    def path_of(self, direction: Direction) -> str:
        """The file that `direction` stands in."""
        return self.down_path if direction == "down" and self.down_path else self.path

    def text_of(self, direction: Direction) -> str:
        """What that file says."""
        return self.down_text if direction == "down" and self.down_path else self.text

    @property
    def reversible(self) -> bool:
        return bool(self.down) or self.undoable

    @property
    def hides_text(self) -> bool:
        """The statements hold values of environment variables, so neither they nor the server's words are shown."""
        return "envsub on" in self.text.lower()

    def statements(self, direction: Direction) -> tuple[Statement, ...]:
        return self.up if direction == "up" else self.down


def in_order(migrations: Iterable[Migration]) -> tuple[Migration, ...]:
    """By version, repeatable ones last by name."""
    return tuple(sorted(migrations, key=lambda m: (m.repeatable, m.order, m.name)))


class FileError(ValueError):
    """A file cannot be read as a migration; `problem` says where and why."""

    def __init__(self, problem: FileProblem) -> None:
        super().__init__(problem.message)
        self.problem = problem


@dataclass(frozen=True, slots=True)
class MigrationFolder:
    """What a folder of migrations holds: those that can be read, in order, and what is wrong with the others.

    `heads` are the ends that must be joined first; none when the history has the one end that it should have.
    """

    migrations: tuple[Migration, ...]
    problems: tuple[FileProblem, ...] = ()
    heads: tuple[str, ...] = ()

    def sound(self) -> tuple[Migration, ...]:
        """The migrations; raises all problems as one `DodaiError`, because nothing is run when one file is bad."""
        if self.problems:
            first, *more = (problem.error() for problem in self.problems)
            raise replace(first, details=tuple(f"{error.code.id} {error.message}" for error in more)) if more else first
        if several := self.several():
            raise several
        return self.migrations

    def several(self) -> DodaiError | None:
        """DOD222 when the history has more than one end."""
        if len(self.heads) < 2:
            return None
        named = ", ".join(f"`{head}`" for head in self.heads)
        return DodaiError(codes.SEVERAL_HEADS, f"the history ends in {named}", codes.SEVERAL_HEADS.fix.en, exit_code=1)
