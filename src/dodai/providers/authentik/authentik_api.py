"""The part of Authentik's API that is read: https://docs.goauthentik.io/developer-docs/api, version 3 of 2026.2."""

from __future__ import annotations

from dodai.core.dataclass import dataclass
from dodai.vendor_api import DriverFacts, Operation, Rate, Scope, Vendor, nothing, one

TOKEN, ADDRESS = "AUTHENTIK_TOKEN", "AUTHENTIK_URL"
PAGE = 50


def authentik() -> Vendor:
    """It is one's own server: the rate is courtesy."""
    return Vendor(name="Authentik", rates={"": Rate(10, 20)})


@dataclass(frozen=True, slots=True)
class AuthentikApplication:
    """What people are allowed into; `provider` is the number of its OAuth2 client, None for none."""

    slug: str
    name: str
    provider: int | None = None


@dataclass(frozen=True, slots=True)
class RedirectUri:
    """Where a person may be sent after signing in: exactly `url`, or whatever it matches as a regular expression."""

    matching_mode: str
    url: str


@dataclass(frozen=True, slots=True)
class AuthentikClient:
    """An OAuth2 client; its secret is not read."""

    pk: int
    name: str
    redirect_uris: tuple[RedirectUri, ...]
    client_id: str = ""
    client_type: str = ""


@dataclass(frozen=True, slots=True)
class AuthentikToken:
    """A token of somebody, without its value; `expires` is a time where it is `expiring`."""

    identifier: str
    intent: str = ""
    expires: str = ""
    expiring: bool = False


@dataclass(frozen=True, slots=True)
class AuthentikPagination:
    """`next` is the number of the next page, 0 on the last one."""

    next: float


@dataclass(frozen=True, slots=True)
class TokensAnswer:
    """A page of tokens."""

    pagination: AuthentikPagination
    results: tuple[AuthentikToken, ...]


@dataclass(frozen=True, slots=True)
class AuthentikBlueprint:
    """Configuration kept in a file; `status` is how its last application ended."""

    name: str
    status: str
    last_applied: str
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class BlueprintsAnswer:
    """A page of blueprints."""

    results: tuple[AuthentikBlueprint, ...]


@dataclass(frozen=True, slots=True)
class Discovery:
    """OpenID Provider Metadata (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    code_challenge_methods_supported: tuple[str, ...] = ()


READY = Operation(
    name="health_ready", method="GET", path="/-/health/ready/", reply=nothing, source="allow-listed", ok=(200, 204)
)
DISCOVERY = Operation(
    name="discovery",
    method="GET",
    path="/application/o/{slug}/.well-known/openid-configuration",
    reply=one(Discovery),
    source="allow-listed",
)
GET_APPLICATION = Operation(
    name="core_applications_retrieve",
    method="GET",
    path="/api/v3/core/applications/{slug}/",
    reply=one(AuthentikApplication),
)
GET_CLIENT = Operation(
    name="providers_oauth2_retrieve",
    method="GET",
    path="/api/v3/providers/oauth2/{client}/",
    reply=one(AuthentikClient),
    confidential=True,
)
LIST_TOKENS = Operation(name="core_tokens_list", method="GET", path="/api/v3/core/tokens/", reply=one(TokensAnswer))
LIST_BLUEPRINTS = Operation(
    name="managed_blueprints_list", method="GET", path="/api/v3/managed/blueprints/", reply=one(BlueprintsAnswer)
)
FACTS = DriverFacts(
    vendor="Authentik",
    guide="authentik",
    variable=TOKEN,
    credential="an API token of a service account with these permissions and no other",
    specification="version 3, 2026.2",
    scopes=(
        Scope("none", "health and discovery are public", (READY, DISCOVERY), looks=True),
        Scope("view_application", "which provider the application has", (GET_APPLICATION,), looks=True),
        Scope(
            "view_oauth2provider", "its client id and redirect URIs; its secret is not read", (GET_CLIENT,), looks=True
        ),
        Scope("view_token", "which tokens of the API end soon; their values are not in it", (LIST_TOKENS,), looks=True),
        Scope(
            "view_blueprintinstance", "whether the blueprint was applied with success", (LIST_BLUEPRINTS,), looks=True
        ),
    ),
)
