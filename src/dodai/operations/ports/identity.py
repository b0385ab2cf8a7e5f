"""Where people sign in."""

from __future__ import annotations

from typing import Protocol

from dodai.core.dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityState:
    """What sign-in allows now. `differs`: what is not as the manifest says, `remarks`: what a person should know."""

    issuer: str
    differs: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class IdentityService(Protocol):
    """The accounts that people sign in with; looked at, never changed."""

    async def observe(self) -> IdentityState:
        """What sign-in allows; raises where that cannot be seen, which is neither agreement nor difference."""
        ...
