"""What every driver of a vendor's HTTP API shares: the client, its retries and limits, contracts of replies, codes."""

from __future__ import annotations

from dodai.vendor_api.api import Api, ApiToken, Operation, Vendor, VendorAnswer, VendorError, api_of, token_from
from dodai.vendor_api.contract import OffContractError, called, many, nothing, one, read
from dodai.vendor_api.rate import Rate
from dodai.vendor_api.scope import DriverFacts, Scope

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
