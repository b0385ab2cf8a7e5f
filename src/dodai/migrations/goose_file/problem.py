"""What is wrong in a migration file, and where."""

from __future__ import annotations

from dataclasses import dataclass

from dodai.core.errors import Code, DodaiError


@dataclass(frozen=True, slots=True)
class Problem:
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


class FileError(ValueError):
    """A file cannot be read as a migration; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.message)
        self.problem = problem
