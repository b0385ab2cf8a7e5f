"""The part of Cloudflare's API that is used: https://developers.cloudflare.com/api, version 4."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from dodai.core.dataclass import dataclass
from dodai.vendor_api import (
    DriverFacts,
    OffContractError,
    Operation,
    Rate,
    Scope,
    Vendor,
    VendorError,
    many,
    nothing,
    one,
)
from dodai.vendor_api.contract import Reader

T = TypeVar("T")
BASE_URL = "https://api.cloudflare.com/client/v4"
INVALID_HEADERS = 6003
_OF_THE_PLAN = (
    *("not entitled", "exceeded the maximum number", "exceeds the maximum number", "plan level"),
    "because the use of field",  # https://github.com/cloudflare/cloudflare-docs/issues/23641
)
TOKEN, ADDRESS = "CLOUDFLARE_API_TOKEN", "CLOUDFLARE_API_URL"


def cloudflare() -> Vendor:
    """1200 requests in five minutes are taken from one user (https://developers.cloudflare.com/fundamentals/api)."""
    return Vendor(name="Cloudflare", rates={"": Rate(4, 40)}, lag_s=3.0)


@dataclass(frozen=True, slots=True)
class CloudflarePlan:
    """What is paid for; `legacy_id` is `free`, `pro`, `business` or `enterprise`."""

    legacy_id: str = ""


@dataclass(frozen=True, slots=True)
class CloudflareZone:
    """A domain. Its plan is in every answer, and not in the published specification."""

    id: str
    name: str
    plan: CloudflarePlan | None = None


@dataclass(frozen=True, slots=True)
class CloudflareSetting:
    """One setting of a zone, such as `ssl`."""

    id: str
    value: Any


@dataclass(frozen=True, slots=True)
class CloudflareRecord:
    """A record of a zone; `proxied` means that visitors come to Cloudflare."""

    id: str
    type: str
    name: str
    content: str
    proxied: bool = False


@dataclass(frozen=True, slots=True)
class CloudflareRule:
    """A rule of a ruleset; `ref` is the name that its author gave it."""

    id: str
    ref: str
    action: str
    expression: str
    enabled: bool = True
    description: str = ""
    action_parameters: Any = None
    ratelimit: Any = None


@dataclass(frozen=True, slots=True)
class CloudflareRuleset:
    """The rules of one phase; every change makes a new `version`."""

    id: str
    version: str
    rules: tuple[CloudflareRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Enabled:
    """Whether authenticated origin pulls with a certificate of one's own are on."""

    enabled: bool = False


@dataclass(frozen=True, slots=True)
class AddressRanges:
    """Where Cloudflare's requests to origins come from."""

    ipv4_cidrs: tuple[str, ...] = ()
    ipv6_cidrs: tuple[str, ...] = ()

    @property
    def all(self) -> frozenset[str]:
        return frozenset((*self.ipv4_cidrs, *self.ipv6_cidrs))


def is_malformed(error: VendorError) -> bool:
    """Whether the token is none by its form, such as one with quotes around it
    (https://github.com/cloudflare/workers-sdk/issues/5175); of another one Cloudflare says 401 or 403.
    """
    told = error.body.get("errors") if isinstance(error.body, Mapping) else None
    codes = [one.get("code") for one in told if isinstance(one, Mapping)] if isinstance(told, list) else []
    return error.status == 400 and INVALID_HEADERS in codes


def is_of_the_plan(error: VendorError) -> bool:
    """Whether the plan of the zone does not have what was asked for."""
    return error.status in (400, 402, 403) and any(word in error.message.lower() for word in _OF_THE_PLAN)


def _result(reader: Reader[T]) -> Reader[T]:
    """Reads what stands in the envelope of every answer."""

    def read(value: object) -> T:
        if not isinstance(value, Mapping) or value.get("success") is not True:
            raise OffContractError("$.success", "true", value.get("success") if isinstance(value, Mapping) else value)
        return reader(value.get("result"))

    return read


_ZONE = "/zones/{zone}"
_SETTING, _RECORDS, _RULESETS = f"{_ZONE}/settings/{{setting}}", f"{_ZONE}/dns_records", f"{_ZONE}/rulesets"
_RULE = f"{_RULESETS}/{{ruleset}}/rules/{{rule}}"

GET_ZONE = Operation(name="get_zone", method="GET", path=_ZONE, reply=_result(one(CloudflareZone)))
GET_SETTING = Operation(name="get_setting", method="GET", path=_SETTING, reply=_result(one(CloudflareSetting)))
SET_SETTING = Operation(
    name="edit_setting", method="PATCH", path=_SETTING, reply=_result(one(CloudflareSetting)), repeatable=True
)
LIST_RECORDS = Operation(name="list_records", method="GET", path=_RECORDS, reply=_result(many(CloudflareRecord)))
MAKE_RECORD = Operation(name="create_record", method="POST", path=_RECORDS, reply=_result(one(CloudflareRecord)))
SET_RECORD = Operation(
    name="edit_record",
    method="PATCH",
    path=f"{_RECORDS}/{{record}}",
    reply=_result(one(CloudflareRecord)),
    repeatable=True,
)
DELETE_RECORD = Operation(name="delete_record", method="DELETE", path=f"{_RECORDS}/{{record}}", reply=nothing)
GET_PHASE = Operation(
    name="get_entrypoint",
    method="GET",
    path=f"{_RULESETS}/phases/{{phase}}/entrypoint",
    reply=_result(one(CloudflareRuleset)),
)
MAKE_RULESET = Operation(name="create_ruleset", method="POST", path=_RULESETS, reply=_result(one(CloudflareRuleset)))
MAKE_RULE = Operation(
    name="create_rule", method="POST", path=f"{_RULESETS}/{{ruleset}}/rules", reply=_result(one(CloudflareRuleset))
)
SET_RULE = Operation(
    name="edit_rule", method="PATCH", path=_RULE, reply=_result(one(CloudflareRuleset)), repeatable=True
)
DELETE_RULE = Operation(name="delete_rule", method="DELETE", path=_RULE, reply=nothing)
ORIGIN_PULLS = Operation(
    name="get_origin_pulls",
    method="GET",
    path=f"{_ZONE}/origin_tls_client_auth/settings",
    reply=_result(one(Enabled)),
)
GET_RANGES = Operation(name="get_ips", method="GET", path="/ips", reply=_result(one(AddressRanges)))
FACTS = DriverFacts(
    vendor="Cloudflare",
    guide="cloudflare",
    variable=TOKEN,
    credential="an API token for this zone alone; never the global key",
    specification="version 4, August 2024",
    scopes=(
        Scope("Zone: Read", "the name of the zone, and its plan", (GET_ZONE,), looks=True),
        Scope("SSL and Certificates: Read", "whether the origin can tell Cloudflare", (ORIGIN_PULLS,), looks=True),
        Scope("none", "the list of addresses is public", (GET_RANGES,), looks=True),
        Scope("DNS: Edit (to look: Read)", "the one proxied record", (LIST_RECORDS, MAKE_RECORD, SET_RECORD)),
        Scope("DNS: Edit", "going back to no record", (DELETE_RECORD,)),
        Scope(
            "Zone Settings: Edit (to look: Read)", "TLS to the origin, https for everybody", (GET_SETTING, SET_SETTING)
        ),
        Scope(
            "Zone WAF: Edit, Cache Rules: Edit and Zone Transform Rules: Edit (to look: Read)",
            "rules of its own in four phases; a rule is changed by itself, so nobody else's is sent",
            (GET_PHASE, MAKE_RULESET, MAKE_RULE, SET_RULE, DELETE_RULE),
        ),
    ),
)
