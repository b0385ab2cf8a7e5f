"""A fact: something seen in a repository or a running system, as a frozen value that rules can judge."""

from __future__ import annotations

from typing import ClassVar, Literal, Protocol

from dodai.core.dataclass import dataclass

Cost = Literal["static", "local", "live"]
"""static: reading files. local: starting processes on this machine. live: asking the target environment."""


class Fact(Protocol):
    """A frozen dataclass that says what gathering it costs."""

    cost: ClassVar[Cost]


@dataclass(frozen=True, slots=True)
class Unknown:
    """A fact, or a part of one, that should exist but could not be gathered; its rules are not judged, never a pass.

    `reason` is a sentence for a person, `fix` what would make it known. `by_manifest` is true when the cause is a
    manifest that is missing or not sound, which ends a command with 2 and not with 1.
    A fact that was gathered in part carries the rest as `gaps`, a tuple of these.
    """

    reason: str
    fix: str = ""
    by_manifest: bool = False


@dataclass(frozen=True, slots=True)
class NotApplicable:
    """There is nothing to gather: the repository has no such part, so the rules about it have nothing to say."""

    reason: str
