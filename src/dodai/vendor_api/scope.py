"""What a driver needs of a vendor: the rights of its token, each with the calls and the reason for it."""

from __future__ import annotations

from typing import Any

from dodai.core.dataclass import dataclass
from dodai.vendor_api.api import Operation


@dataclass(frozen=True, slots=True)
class Scope:
    """A right as the vendor calls it. `looks`: it is enough for `doctor`, `status` and `check --target`."""

    name: str
    reason: str
    operations: tuple[Operation[Any], ...]
    looks: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverFacts:
    """What is known of one driver: its token, where the API is described, and whether it met a live account."""

    vendor: str
    guide: str
    variable: str
    credential: str
    specification: str
    scopes: tuple[Scope, ...]
    live: str = "never"

    @property
    def verified(self) -> str:
        """The sentence that its guide begins with."""
        return (
            f"Verified against the stand-in and the published specification ({self.specification}); "
            f"live accounts: {self.live}."
        )
