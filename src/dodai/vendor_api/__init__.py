"""What every driver of a vendor's HTTP API shares: the client, its retries and limits, contracts of replies, codes."""

from __future__ import annotations

from typing import Any

from dodai.core.dataclass import dataclass
from dodai.vendor_api.api import Api, ApiToken, Operation, Vendor, VendorAnswer, VendorError, api_of, token_from
from dodai.vendor_api.contract import OffContractError, called, many, nothing, one, read
from dodai.vendor_api.rate import Rate

__all__ = [
    "Api",
    "ApiToken",
    "DriverFacts",
    "OffContractError",
    "Operation",
    "Rate",
    "Scope",
    "Vendor",
    "VendorAnswer",
    "VendorError",
    "api_of",
    "called",
    "many",
    "nothing",
    "one",
    "read",
    "token_from",
]


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
