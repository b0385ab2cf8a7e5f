"""A stand-in for Authentik: API version 3 of one application, its client, tokens, blueprints, discovery."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from dodai.standins.standin_server import Asked, Reply, StandIn, route

_AT = "2026-11-01T00:00:00Z"
_NO_TOKEN_NEEDED = ("/-/health/", "/application/o/")


class AuthentikStandIn(StandIn):
    """The application `slug`; `public_url` is where people know it, by default where it listens."""

    def __init__(self, tokens: Mapping[str, frozenset[str]], *, slug: str = "quiz", public_url: str = "") -> None:
        super().__init__(tokens)
        self.slug, self.public_url = slug, public_url or self.url
        self.ready = True
        self.challenges = ["plain", "S256"]
        self.client: dict[str, Any] = {
            "client_id": "quiz",
            "client_type": "confidential",
            "client_secret": "s3cr3t-of-the-client",
            "redirect_uris": [],
        }
        self.has_client = True
        self.api_tokens: list[dict[str, Any]] = []
        self.blueprints: dict[str, str] = {}
        api = "/api/v3"
        table = (
            ("/-/health/ready/", self._health, ""),
            ("/application/o/{slug}/.well-known/openid-configuration", self._discovery, ""),
            (f"{api}/core/applications/{{slug}}/", self._application, "view_application"),
            (f"{api}/providers/oauth2/{{client}}/", self._client, "view_oauth2provider"),
            (f"{api}/core/tokens/", self._tokens, "view_token"),
            (f"{api}/managed/blueprints/", self._blueprints, "view_blueprintinstance"),
        )
        self.routes = tuple(route("GET", path, handler, scope) for path, handler, scope in table)

    def token(self, identifier: str, expires: str = "") -> None:
        """One more token of the API; without `expires` it never ends."""
        made = uuid.uuid5(uuid.NAMESPACE_DNS, identifier)
        user = {
            "pk": 5,
            "uuid": str(made),
            "uid": made.hex,
            "username": "deployer",
            "name": "Deployer",
            "avatar": "",
            "is_superuser": False,
            "groups_obj": [],
            "roles_obj": [],
            **dict.fromkeys(("date_joined", "last_updated", "password_change_date"), _AT),
        }
        ends = {"expiring": True, "expires": expires} if expires else {"expiring": False}
        self.api_tokens.append({"pk": str(made), "identifier": identifier, "intent": "api", "user_obj": user, **ends})

    def error(self, status: int, text: str) -> Reply:
        return Reply(status, {"detail": text})

    def answer(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Reply | None:
        """Health and discovery need no token; an unknown one is answered with 403, as Authentik does."""
        open_to_all = target.startswith(_NO_TOKEN_NEEDED)
        if open_to_all:
            headers = {**headers, "authorization": f"Bearer {next(iter(self.tokens))}"}
        reply = super().answer(method, target, headers, content)
        if reply is not None and reply.status == 401:
            return self.error(403, "Token invalid/expired")
        if reply is not None and reply.status == 403:
            return self.error(403, "You do not have permission to perform this action.")
        return reply

    def _health(self, _: Asked) -> Reply:
        return Reply(200 if self.ready else 503)

    def _discovery(self, asked: Asked) -> Reply:
        if asked.params["slug"] != self.slug or not self.has_client:
            return self.error(404, "Not Found")
        base = f"{self.public_url}/application/o"
        body = {
            "issuer": f"{base}/{self.slug}/",
            "authorization_endpoint": f"{base}/authorize/",
            "token_endpoint": f"{base}/token/",
            "jwks_uri": f"{base}/{self.slug}/jwks/",
            "code_challenge_methods_supported": self.challenges,
        }
        return Reply(200, body)

    def _application(self, asked: Asked) -> Reply:
        if asked.params["slug"] != self.slug:
            return self.error(404, "No Application matches the given query.")
        body: dict[str, Any] = {
            "pk": str(uuid.uuid5(uuid.NAMESPACE_DNS, self.slug)),
            "pbm_uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, self.slug)),
            "name": self.slug.title(),
            "slug": self.slug,
            "provider_obj": None,
            "backchannel_providers_obj": [],
            "launch_url": None,
            "meta_icon_url": None,
            "meta_icon_themed_urls": None,
        }
        return Reply(200, body | ({"provider": 7} if self.has_client else {}))

    def _client(self, asked: Asked) -> Reply:
        if asked.params["client"] != "7" or not self.has_client:
            return self.error(404, "No OAuth2Provider matches the given query.")
        flow = str(uuid.uuid5(uuid.NAMESPACE_DNS, "flow"))
        body = {
            **self.client,
            "pk": 7,
            "name": f"Provider for {self.slug}",
            "authorization_flow": flow,
            "invalidation_flow": flow,
            "component": "ak-provider-oauth2-form",
            "assigned_application_slug": self.slug,
            "assigned_application_name": self.slug.title(),
            "assigned_backchannel_application_slug": None,
            "assigned_backchannel_application_name": None,
            "verbose_name": "OAuth2/OpenID Provider",
            "verbose_name_plural": "OAuth2/OpenID Providers",
            "meta_model_name": "authentik_providers_oauth2.oauth2provider",
        }
        return Reply(200, body)

    def _tokens(self, asked: Asked) -> Reply:
        shown = [one for one in self.api_tokens if asked.query.get("intent") in (None, one["intent"])]
        return _page(asked, shown)

    def _blueprints(self, asked: Asked) -> Reply:
        wanted = asked.query.get("name", "")
        shown = [
            {
                "pk": str(uuid.uuid5(uuid.NAMESPACE_DNS, name)),
                "name": name,
                "status": status,
                "enabled": True,
                "last_applied": _AT,
                "last_applied_hash": "0" * 8,
                "managed_models": [],
                "metadata": {},
            }
            for name, status in self.blueprints.items()
            if not wanted or name == wanted
        ]
        return _page(asked, shown)


def _page(asked: Asked, found: Sequence[dict[str, Any]]) -> Reply:
    size, number = asked.number("page_size", 20, 1), asked.number("page", 1, 1)
    pages = max(1, -(-len(found) // size))
    pagination = {
        "next": number + 1 if number < pages else 0,
        "previous": number - 1,
        "count": len(found),
        "current": number,
        "total_pages": pages,
        "start_index": (number - 1) * size + 1,
        "end_index": min(number * size, len(found)),
    }
    shown = list(found[(number - 1) * size : number * size])
    return Reply(200, {"pagination": pagination, "results": shown, "autocomplete": {}})
