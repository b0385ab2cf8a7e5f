"""A place where a source reads a variable, and one where a file gives it a value."""

from __future__ import annotations

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
