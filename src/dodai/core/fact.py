"""A fact: something seen in a repository or a running system, as a frozen value that rules can judge."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, Protocol

Cost = Literal["static", "local", "live"]
"""static: reading files. local: starting processes on this machine. live: asking the target environment."""


class Fact(Protocol):
    """A frozen dataclass that says what gathering it costs."""

    cost: ClassVar[Cost]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A fact that should exist but could not be gathered; its rules are `unknown`, never a pass.

    `reason` is a sentence for a person, `fix` what would make it known.
    """

    reason: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """There is nothing to gather: the repository has no such part, so the rules about it have nothing to say."""

    reason: str
