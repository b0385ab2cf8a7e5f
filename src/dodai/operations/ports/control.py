"""What is kept of an environment: its plans, who may change it, and its secrets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import field
from typing import Protocol

from dodai.core.dataclass import dataclass
from dodai.engine.journal import Head, Journal
from dodai.engine.lease import Holder, Lease
from dodai.engine.place import Claim, StatePlace
from dodai.engine.plan import PlanRequest

Fence = Callable[[int], Awaitable[None]]
"""Makes what is protected refuse everybody with an older token, before the new one is used."""


@dataclass(frozen=True, slots=True)
class LockHolder:
    """Who holds the lock, for how long; `left_s` is when silence would end it, None where the kernel watches."""

    holder: Holder
    age: str
    left_s: float | None = None

    @property
    def is_alive(self) -> bool:
        return not self.holder.is_dead and (self.left_s is None or self.left_s > 0)


@dataclass(frozen=True, slots=True)
class ControlSeen:
    """What somebody sees there who changes nothing. `where` is "" for a journal that is a file on this machine.

    `newer`: a newer dodai was there. `offset_s`: this machine is so much ahead. `copied`: its hash of the record that
    the copy on this machine ends with.
    """

    where: str = ""
    newer: bool = False
    offset_s: float = 0.0
    head: Head = field(default_factory=Head)
    copied: str = ""
    holder: LockHolder | None = None


class Control(Protocol):
    """The journal and the lock of one environment: files on this machine, or a control database with a copy here."""

    @property
    def exists(self) -> bool:
        """Whether anything was ever done here; looking must not create a journal."""
        ...

    def journal(self) -> AbstractContextManager[Journal]:
        """The journal, open; DOD376 when it is in a control database that does not answer."""
        ...

    def first_journal(self) -> AbstractContextManager[Journal]:
        """The journal that counts, without its copy: it answers while the copy is broken or says something else."""
        ...

    def copy(self) -> AbstractContextManager[Journal] | None:
        """The copy on this machine, open; None when there is none beside the journal."""
        ...

    def copied_head(self) -> Head:
        """The newest record of the journal or copy on this machine, without opening it."""
        ...

    def lease(self, request: PlanRequest, /, *, least: int, fence: Fence, claim: Claim | None = None) -> Lease:
        """The lock for `request`, not yet taken. A new token is higher than `least`, and `fence` hears of it first.

        With `claim` it is taken only where the environment lives: DOD382.
        """
        ...

    def watch_lease(self, actor: str, /) -> Lease | None:
        """Whose turn it is to tell people of alerts, apart from the lock for changes; None where it is always ours."""
        ...

    async def place(self) -> StatePlace | None:
        """Where its processes are, by the control database; None while nobody said, or where nobody else can come."""
        ...

    async def holder(self) -> LockHolder | None:
        """Who holds the lock now; None when it is free."""
        ...

    async def trust(self, which: str, /) -> str:
        """What was done after a person chose between two journals that differ, or gave a broken copy up."""
        ...

    async def clock_offset_s(self) -> float | None:
        """Seconds this machine is ahead of the journal's clock; None when that is this machine's, or unknown."""
        ...

    def inspect(self) -> ControlSeen:
        """What is there, nothing changed; DOD784 and DOD785 when it does not answer, DOD067 and DOD066 if unfit."""
        ...


class SecretStore(Protocol):
    """The secrets of one environment, by the names of the manifest. A value is never printed or journalled."""

    @property
    def makes_up_values(self) -> bool:
        """Whether a missing secret may be given a random value: on a machine for development only."""
        ...

    def get(self) -> Mapping[str, str]:
        """Every value by name; empty before the first `put`."""
        ...

    def put(self, values: Mapping[str, str], /) -> None:
        """Keep exactly these values, durable when it returns; a reader sees the old or the new ones."""
        ...

    def digest(self, told: Mapping[str, str], /) -> str:
        """16 hex digits over all of `told`: equal for equal values in this environment, and nothing about them."""
        ...

    def versions(self) -> Mapping[str, str]:
        """12 hex digits for each secret: equal for equal values in this environment, and nothing about the value.

        Without the names that hold a `.`: those belong to a rotation and are no service's.
        """
        ...

    def since(self) -> Mapping[str, float]:
        """When each secret got the value it has, in seconds since the epoch; without those nobody saw change."""
        ...
