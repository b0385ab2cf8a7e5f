"""Telling others how a plan ended. Nobody's deploy fails because a message could not be sent."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

from dodai.core.dataclass import dataclass
from dodai.engine.outcome import Outcome

PATIENCE_S = 5.0


@dataclass(frozen=True, slots=True)
class Notice:
    """One plan that ended, as others are told about it."""

    env: str
    kind: str
    release: str
    actor: str
    state: str
    exit_code: int
    text: str
    next_command: str

    @classmethod
    def of(cls, outcome: Outcome) -> Notice:
        request = outcome.plan.request
        return cls(
            request.env,
            request.kind,
            request.release,
            request.actor,
            outcome.state,
            outcome.exit_code,
            outcome.summary(),
            outcome.next_command,
        )

    @property
    def line(self) -> str:
        """The notice in one line."""
        release = f" {self.release}" if self.release else ""
        following = f"; next: {self.next_command}" if self.next_command else ""
        return f"{self.kind} {self.env}{release} by {self.actor}: {self.state}{following}"


class Notifier(Protocol):
    """Somewhere people look: a terminal, a chat."""

    async def tell(self, notice: Notice) -> None: ...


async def notify(notifiers: Iterable[Notifier], outcome: Outcome, patience_s: float = PATIENCE_S) -> tuple[str, ...]:
    """Tell everybody, each within `patience_s`; one sentence for each who could not be told."""
    notice, failed = Notice.of(outcome), list[str]()
    for notifier in notifiers:
        try:
            async with asyncio.timeout(patience_s):
                await notifier.tell(notice)
        except Exception as error:  # noqa: BLE001 - whatever a notifier does, the plan has ended
            failed.append(f"{type(notifier).__name__} could not be told: {error or type(error).__name__}")
    return tuple(failed)
