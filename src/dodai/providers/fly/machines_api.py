"""The Fly Machines API as far as it is used: one `Operation` per endpoint, the fields of a reply that are read.

Rates are those Fly publishes: per action and machine (or app, where there is no machine) one request per second, three
at once; reading one machine five, ten at once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import field
from datetime import UTC, datetime
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.vendor_api import ApiToken, Operation, Rate, Vendor, many, nothing, one, read, token_from

ADDRESS = "https://api.machines.dev"
TOKEN, HOST = "FLY_API_TOKEN", "FLY_API_HOSTNAME"
"""The environment variables that Fly's own tools read; tokens themselves are secrets, these are their names."""
PROXY_LAG, PROXY_LAG_S = "FLY_PROXY_LAG_S", 10.0
"""How long Fly's proxies may take to know of a cordon or its end: flyctl waits as long before it cordons the old
machines and before it stops them (superfly/flyctl, strategy_bluegreen.go: `waitBeforeCordon`, `waitBeforeStop`). The
variable has another value where the proxies are a stand-in's."""
NONCE, CURSOR = "fly-machine-lease-nonce", "fly-next-cursor"
WAITS = "dodai_waits"
"""Metadata of a machine that is made stopped, to be started when its turn comes."""
_ENDED = frozenset({"stopped", "failed", "suspended"})
_RESERVED = frozenset({"fly_app_release_command", "fly_app_test_machine_command", "fly_app_console", "release_command"})
"""Groups of machines that flyctl makes to run one command and no more: https://github.com/superfly/fly-go, `ListActive`
of flaps and machine_types.go."""
_SCHEMES, _MACAROONS = re.compile(r"((Bearer|FlyV1)\s+)*", re.IGNORECASE), ("fm1r_", "fm1a_", "fm2_")
_APP, _MACHINE = "/v1/apps/{app}", "/v1/apps/{app}/machines/{machine}"
_OF_APP, _OF_MACHINE = ("app",), ("app", "machine")


def fly() -> Vendor:
    """Fly as a vendor."""
    return Vendor(name="Fly", rates={"": Rate(1.0, 3), "Machines_show": Rate(5.0, 10)}, lag_s=3.0)


def fly_token(variables: Mapping[str, str]) -> ApiToken:
    """The token of `FLY_API_TOKEN` without the scheme that `fly tokens create` prints before it; DOD700 without one.

    Macaroons, which that command makes, are sent with the scheme `FlyV1`, the token of `fly auth token` as `Bearer`:
    https://fly.io/docs/monitoring/metrics/ says so, and superfly/fly-go tokens/tokens.go sends them so to every API and
    the bare ones as a password to the registry. Of both in one list it takes the macaroons.
    """
    told = token_from(variables, TOKEN, "Fly")
    tokens = [one.strip() for one in _SCHEMES.sub("", told.value, count=1).split(",")]
    macaroons = [one for one in tokens if one.startswith(_MACAROONS)]
    return ApiToken(told.variable, ",".join(macaroons or tokens), "FlyV1" if macaroons else "")


@dataclass(frozen=True, slots=True)
class FlyCheck:
    """One health check as it stands; `output` is the start of what the service answered."""

    name: str = ""
    status: str = ""
    output: str = ""


@dataclass(frozen=True, slots=True)
class FlyImage:
    """The image that a machine runs."""

    digest: str = ""
    repository: str = ""


@dataclass(frozen=True, slots=True)
class FlyEvent:
    """Something that happened to a machine, the newest first in its list."""

    type: str = ""
    status: str = ""
    timestamp: int = 0
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Machine:
    """One machine. `instance_id` is the version of its configuration; it changes with every update."""

    id: str
    state: str
    region: str
    instance_id: str
    name: str = ""
    cordoned: bool = False
    created_at: str = ""
    config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    incomplete_config: Mapping[str, Any] = field(default_factory=dict, repr=False)
    checks: tuple[FlyCheck, ...] = ()
    image_ref: FlyImage = field(default_factory=FlyImage)
    events: tuple[FlyEvent, ...] = ()
    host_status: str = ""

    @property
    def metadata(self) -> Mapping[str, str]:
        found: Mapping[str, str] = (self.config or self.incomplete_config).get("metadata") or {}
        return found

    @property
    def is_away(self) -> bool:
        """Its host does not answer Fly: it may run or not, has no `config`, and `incomplete_config` is put together
        from other places, "not suitable to clone or recreate" (https://github.com/superfly/fly-go, machine_types.go).
        """
        return not self.config or self.host_status not in ("", "ok")

    @property
    def group(self) -> str:
        """The process group of fly.toml that it is of, also under the name that metadata had for it before."""
        return self.metadata.get("fly_process_group") or self.metadata.get("process_group") or ""

    @property
    def is_reserved(self) -> bool:
        """Made by flyctl to run one command: it is none of the machines of a service."""
        return self.group in _RESERVED

    @property
    def ended(self) -> bool:
        return self.state in _ENDED

    @property
    def waits(self) -> bool:
        """Made to be started later, and never started yet."""
        began = any(event.type in ("start", "exit") for event in self.events)
        return WAITS in self.metadata and self.state in ("created", "stopped") and not began

    @property
    def runs(self) -> bool:
        """Whether it has a process, or is about to."""
        return not self.ended and not self.waits


@dataclass(frozen=True, slots=True)
class MachineLease:
    """The right to change a machine until `expires_at`; who has the nonce has it."""

    nonce: str = field(repr=False)
    expires_at: int = 0


def _lease(reply: object) -> MachineLease:
    """Fly answers `{"status": …, "data": {"nonce": …}}` (https://fly.io/docs/machines/api/machines-resource/ and
    `MachineLease` of superfly/fly-go machine_types.go); its OpenAPI file alone says that the fields stand outside.
    """
    data = reply.get("data") if isinstance(reply, Mapping) else None
    return read(MachineLease, reply) if data is None else read(MachineLease, data, "$.data")


@dataclass(frozen=True, slots=True)
class FlySecret:
    """The name of a secret and a digest of its value, made by Fly."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class FlySecrets:
    """The secrets of an app, and with an update the version from which on machines see them."""

    secrets: tuple[FlySecret, ...] = ()
    version: int = 0


@dataclass(frozen=True, slots=True)
class FlyOrganization:
    """Whose an app is."""

    slug: str = ""


@dataclass(frozen=True, slots=True)
class FlyApp:
    """An app; `status` is `pending`, `deployed` or `suspended`."""

    name: str
    status: str = ""
    organization: FlyOrganization = field(default_factory=FlyOrganization)


@dataclass(frozen=True, slots=True)
class FlyTokenInfo:
    """What one part of a token is good for; no `apps` where it is for a whole organisation."""

    organization: str = ""
    apps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FlyTokens:
    """What Fly says about the token that asks."""

    tokens: tuple[FlyTokenInfo, ...] = ()


@dataclass(frozen=True, slots=True)
class FlyIssued:
    """A certificate of a name; `status` is `active`, `pending_ownership` or `pending_validation`."""

    status: str = ""
    expires_at: str = ""

    @property
    def ends(self) -> datetime | None:
        try:
            return datetime.fromisoformat(self.expires_at).astimezone(UTC)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class FlyValidation:
    """What Fly found of what proves whose name it is."""

    ownership_txt_configured: bool = False


@dataclass(frozen=True, slots=True)
class FlyProblem:
    """Why a name is not validated."""

    message: str = ""


@dataclass(frozen=True, slots=True)
class FlyOwnership:
    """The TXT record that proves whose name it is where a proxy stands before Fly."""

    name: str = ""
    app_value: str = ""


@dataclass(frozen=True, slots=True)
class FlyRequirements:
    """The DNS records that Fly wants."""

    ownership: FlyOwnership = field(default_factory=FlyOwnership)


@dataclass(frozen=True, slots=True)
class FlyCertificate:
    """What there is for a name of one's own; `configured` is whether visitors get a certificate for it."""

    hostname: str
    status: str = ""
    configured: bool = False
    certificates: tuple[FlyIssued, ...] = ()
    validation: FlyValidation = field(default_factory=FlyValidation)
    validation_errors: tuple[FlyProblem, ...] = ()
    dns_requirements: FlyRequirements = field(default_factory=FlyRequirements)


@dataclass(frozen=True, slots=True)
class FlyAddress:
    """An IP address of an app. A private one is of the network of its organisation, and its name is `APP.flycast`."""

    ip: str
    egress: bool = False

    @property
    def is_private(self) -> bool:
        """As https://github.com/superfly/fly-go tells it (flaps_ip_assignments.go, `IsFlycast` and `Type`)."""
        return self.ip.startswith("fdaa:") and not self.egress


@dataclass(frozen=True, slots=True)
class FlyAddresses:
    """The addresses of an app."""

    ips: tuple[FlyAddress, ...] = ()


SHOW_TOKEN = Operation(name="CurrentToken_show", method="GET", path="/v1/tokens/current", reply=one(FlyTokens))
SHOW_APP = Operation(name="Apps_show", method="GET", path=_APP, reply=one(FlyApp), limited_by=_OF_APP)
LIST = Operation(name="Machines_list", method="GET", path=f"{_APP}/machines", reply=many(Machine), limited_by=_OF_APP)
SHOW = Operation(name="Machines_show", method="GET", path=_MACHINE, reply=one(Machine), limited_by=_OF_MACHINE)
CREATE = Operation(
    name="Machines_create",
    method="POST",
    path=f"{_APP}/machines",
    reply=one(Machine),
    limited_by=_OF_APP,
    repeatable=True,  # the name of a machine is unique in its app: a second one is 409
)
UPDATE = Operation(
    name="Machines_update",
    method="POST",
    path=_MACHINE,
    reply=one(Machine),
    limited_by=_OF_MACHINE,
)
CORDON = Operation(
    name="Machines_cordon",
    method="POST",
    path=f"{_MACHINE}/cordon",
    reply=nothing,
    limited_by=_OF_MACHINE,
    repeatable=True,
)
UNCORDON = Operation(
    name="Machines_uncordon",
    method="POST",
    path=f"{_MACHINE}/uncordon",
    reply=nothing,
    limited_by=_OF_MACHINE,
    repeatable=True,
)
START = Operation(
    name="Machines_start",
    method="POST",
    path=f"{_MACHINE}/start",
    reply=nothing,
    limited_by=_OF_MACHINE,
    repeatable=True,
)
STOP = Operation(
    name="Machines_stop",
    method="POST",
    path=f"{_MACHINE}/stop",
    reply=nothing,
    limited_by=_OF_MACHINE,
    repeatable=True,
)
DELETE = Operation(name="Machines_delete", method="DELETE", path=_MACHINE, reply=nothing, limited_by=_OF_MACHINE)
TAG = Operation(
    name="Machines_update_metadata",
    method="PATCH",
    path=f"{_MACHINE}/metadata",
    reply=nothing,
    limited_by=_OF_MACHINE,
    repeatable=True,
)
TAKE_LEASE = Operation(
    name="Machines_create_lease",
    method="POST",
    path=f"{_MACHINE}/lease",
    reply=_lease,
    limited_by=_OF_MACHINE,
)
DROP_LEASE = Operation(
    name="Machines_release_lease",
    method="DELETE",
    path=f"{_MACHINE}/lease",
    reply=nothing,
    limited_by=_OF_MACHINE,
)
LIST_SECRETS = Operation(
    name="Secrets_list", method="GET", path=f"{_APP}/secrets", reply=one(FlySecrets), limited_by=_OF_APP
)
SET_SECRETS = Operation(
    name="Secrets_update",
    method="POST",
    path=f"{_APP}/secrets",
    reply=one(FlySecrets),
    limited_by=_OF_APP,
    repeatable=True,
    confidential=True,
)
LIST_ADDRESSES = Operation(
    name="App_IPAssignments_list",
    method="GET",
    path=f"{_APP}/ip_assignments",
    reply=one(FlyAddresses),
    limited_by=_OF_APP,
)
SHOW_CERTIFICATE = Operation(
    name="App_Certificates_show",
    method="GET",
    path=f"{_APP}/certificates/{{hostname}}",
    reply=one(FlyCertificate),
    limited_by=_OF_APP,
)
OPERATIONS: tuple[Operation[Any], ...] = (
    *(SHOW_TOKEN, SHOW_APP, LIST, SHOW, CREATE, UPDATE, CORDON, UNCORDON, START, STOP, DELETE, TAG),
    *(TAKE_LEASE, DROP_LEASE, LIST_SECRETS, SET_SECRETS, SHOW_CERTIFICATE, LIST_ADDRESSES),
)
