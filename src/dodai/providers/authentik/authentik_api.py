"""The part of Authentik's API that is used: https://docs.goauthentik.io/developer-docs/api, version 3 of 2026.2."""

from __future__ import annotations

from dodai.core.dataclass import dataclass
from dodai.vendor_api import DriverFacts, Operation, Rate, Scope, Vendor, nothing, one

TOKEN, ADDRESS = "AUTHENTIK_TOKEN", "AUTHENTIK_URL"
PAGE = 50
APPLICATION, CLIENT = "authentik_core.application", "authentik_providers_oauth2.oauth2provider"
"""What blueprints call the two kinds of objects that are looked at."""
SIGNS_IN = ("", "authorization")
"""The types of redirect URIs that people are sent to after signing in; others are for signing out."""


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
    """Where a person may be sent: exactly `url`, or whatever it matches as a regular expression.

    Since 2026.5 it has a type, `authorization` or `logout` (https://github.com/goauthentik/authentik/pull/20011).
    Before that all were for signing in (https://github.com/goauthentik/authentik/pull/22981).
    """

    matching_mode: str
    url: str
    redirect_uri_type: str = ""

    @property
    def signs_in(self) -> bool:
        return self.redirect_uri_type in SIGNS_IN


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
class ClientsAnswer:
    """A page of OAuth2 clients."""

    pagination: AuthentikPagination
    results: tuple[AuthentikClient, ...]


@dataclass(frozen=True, slots=True)
class AuthentikBlueprint:
    """Configuration kept as a text; one with a `path` is read from a file of the server or a registry instead.

    `status` is how its last application ended, `last_applied_hash` the SHA-512 of the text that was last applied with
    success, `last_applied` when anything of it was last saved, a failed application included.
    """

    pk: str
    name: str
    status: str
    last_applied: str
    last_applied_hash: str = ""
    enabled: bool = True
    path: str = ""
    content: str = ""


@dataclass(frozen=True, slots=True)
class BlueprintsAnswer:
    """A page of blueprints."""

    results: tuple[AuthentikBlueprint, ...]


@dataclass(frozen=True, slots=True)
class BlueprintTrial:
    """Why a blueprint without a name was not kept: `name` is always said, `content` where its text is unsound."""

    name: tuple[str, ...] = ()
    content: tuple[str, ...] = ()


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
LIST_CLIENTS = Operation(
    name="providers_oauth2_list",
    method="GET",
    path="/api/v3/providers/oauth2/",
    reply=one(ClientsAnswer),
    confidential=True,
)
LIST_TOKENS = Operation(name="core_tokens_list", method="GET", path="/api/v3/core/tokens/", reply=one(TokensAnswer))
LIST_BLUEPRINTS = Operation(
    name="managed_blueprints_list", method="GET", path="/api/v3/managed/blueprints/", reply=one(BlueprintsAnswer)
)
_BLUEPRINTS, _BLUEPRINT = "/api/v3/managed/blueprints/", "/api/v3/managed/blueprints/{blueprint}/"
GET_BLUEPRINT = Operation(
    name="managed_blueprints_retrieve", method="GET", path=_BLUEPRINT, reply=one(AuthentikBlueprint)
)
MAKE_BLUEPRINT = Operation(
    name="managed_blueprints_create", method="POST", path=_BLUEPRINTS, reply=one(AuthentikBlueprint), confidential=True
)
SET_BLUEPRINT = Operation(
    name="managed_blueprints_partial_update",
    method="PATCH",
    path=_BLUEPRINT,
    reply=one(AuthentikBlueprint),
    repeatable=True,
    confidential=True,
)
APPLY_BLUEPRINT = Operation(
    name="managed_blueprints_apply_create",
    method="POST",
    path=f"{_BLUEPRINT}apply/",
    reply=one(AuthentikBlueprint),
    repeatable=True,
)
DELETE_BLUEPRINT = Operation(
    name="managed_blueprints_destroy", method="DELETE", path=_BLUEPRINT, reply=nothing, ok=(204, 404)
)
TRY_NEW = Operation(
    name="managed_blueprints_create, refused",
    method="POST",
    path=_BLUEPRINTS,
    reply=one(BlueprintTrial),
    repeatable=True,
    confidential=True,
    ok=(400,),
)
"""A blueprint with an empty name: every field is looked at, the text included, and nothing is kept."""
TRY_CHANGE = Operation(
    name="managed_blueprints_partial_update, refused",
    method="PATCH",
    path=_BLUEPRINT,
    reply=one(BlueprintTrial),
    repeatable=True,
    confidential=True,
    ok=(400,),
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
            "view_oauth2provider",
            "its client id and redirect URIs; which other clients there are, so that none is taken for one that a"
            " blueprint made; no secret is read",
            (GET_CLIENT, LIST_CLIENTS),
            looks=True,
        ),
        Scope("view_token", "which tokens of the API end soon; their values are not in it", (LIST_TOKENS,), looks=True),
        Scope(
            "view_blueprintinstance",
            "what the blueprint says and whether it was applied with success",
            (LIST_BLUEPRINTS, GET_BLUEPRINT),
            looks=True,
        ),
        Scope(
            "add_blueprintinstance",
            "`blueprint_file`: the blueprint is made by the first deploy that has one; to apply it is a POST, for which"
            " Authentik asks this one too; tried in the preflight",
            (MAKE_BLUEPRINT, TRY_NEW, APPLY_BLUEPRINT),
        ),
        Scope(
            "change_blueprintinstance",
            "`blueprint_file`: its text is replaced, tried first, and put back by an undo",
            (SET_BLUEPRINT, TRY_CHANGE),
        ),
        Scope(
            "delete_blueprintinstance",
            "`blueprint_file`: a first deploy that is undone takes the blueprint away again",
            (DELETE_BLUEPRINT,),
        ),
    ),
)
