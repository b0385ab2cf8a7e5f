"""A stand-in for Authentik: API version 3 of one application, its client, tokens, blueprints, discovery."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from dodai.standins.authentik_blueprints import BlueprintShelf
from dodai.standins.standin_server import Asked, Reply, StandIn, route

_AT = "2026-11-01T00:00:00Z"
_NO_TOKEN_NEEDED = ("/-/health/", "/application/o/")


class AuthentikStandIn(StandIn):
    """The application `slug` and its client, number 7, at whatever address it is asked at.

    Blueprints are carried out for these two kinds of objects. `types_uris` False: its redirect URIs have no type, as
    before 2026.5.
    """

    def __init__(self, tokens: Mapping[str, frozenset[str]], *, slug: str = "quiz") -> None:
        super().__init__(tokens)
        self.slug = slug
        self.ready = self.types_uris = True
        self.challenges = ["plain", "S256"]
        mine = {
            "name": f"Provider for {slug}",
            "client_id": "quiz",
            "client_type": "confidential",
            "client_secret": "s3cr3t-of-the-client",
            "redirect_uris": [],
        }
        self.clients: dict[int, dict[str, Any]] = {7: mine}
        self.applications: dict[str, dict[str, Any]] = {slug: {"name": slug.title(), "provider": 7}}
        self.api_tokens: list[dict[str, Any]] = []
        self.shelf = BlueprintShelf(self)
        api, view = "/api/v3", "view_blueprintinstance"
        blueprints, clients = f"{api}/managed/blueprints/", f"{api}/providers/oauth2/"
        shelf, change = self.shelf, "change_blueprintinstance"
        table = (
            ("GET", "/-/health/ready/", self._health, ""),
            ("GET", "/application/o/{slug}/.well-known/openid-configuration", self._discovery, ""),
            ("GET", "/application/o/authorize/", self._authorize, ""),
            ("GET", f"{api}/core/applications/{{slug}}/", self._application, "view_application"),
            ("GET", clients, self._clients, "view_oauth2provider"),
            ("GET", f"{clients}{{client}}/", self._client, "view_oauth2provider"),
            ("GET", f"{api}/core/tokens/", self._tokens, "view_token"),
            ("GET", blueprints, lambda asked: _page(asked, shelf.listed(asked)), view),
            ("POST", blueprints, shelf.made, "add_blueprintinstance"),
            ("GET", f"{blueprints}{{blueprint}}/", shelf.shown, view),
            ("PATCH", f"{blueprints}{{blueprint}}/", shelf.changed, change),
            ("POST", f"{blueprints}{{blueprint}}/apply/", shelf.applied, "add_blueprintinstance"),
            ("DELETE", f"{blueprints}{{blueprint}}/", shelf.removed, "delete_blueprintinstance"),
        )
        self.routes = tuple(route(*row) for row in table)

    @property
    def client(self) -> dict[str, Any]:
        """The client of the application `slug`, as it was made with it."""
        return self.clients[7]

    @client.setter
    def client(self, value: dict[str, Any]) -> None:
        self.clients[7] = value

    def empty(self) -> None:
        """A new server, with nothing of ours."""
        self.applications.clear()
        self.clients.clear()

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
        """All addresses in it begin with the one that was asked, as Django's `build_absolute_uri` makes them."""
        slug, here = asked.params["slug"], f"http://{asked.headers['host']}"
        client, base = self._of(slug), f"{here}/application/o"
        if client is None:
            return self.error(404, "Not Found")
        body = {
            "issuer": f"{here}/" if client.get("issuer_mode") == "global" else f"{base}/{slug}/",
            "authorization_endpoint": f"{base}/authorize/",
            "token_endpoint": f"{base}/token/",
            "jwks_uri": f"{base}/{slug}/jwks/",
            "code_challenge_methods_supported": self.challenges,
        }
        return Reply(200, body)

    def _of(self, slug: str) -> dict[str, Any] | None:
        """The client of an application; None where nobody can sign in to it."""
        return self.clients.get(self.applications.get(slug, {}).get("provider") or 0)

    def _authorize(self, asked: Asked) -> Reply:
        """Where a person is sent by the application: on to the login page, or told that this address is not allowed."""
        known = {one["client_id"]: one for one in self.clients.values()}
        client, uri = known.get(asked.query.get("client_id", "")), asked.query.get("redirect_uri", "")
        signs_in = [one for one in client["redirect_uris"] if not one.get("redirect_uri_type")] if client else []
        if client is None or {"matching_mode": "strict", "url": uri} not in signs_in:
            return self.error(400, "Redirect URI Error")
        return Reply(302, None, {"location": f"http://{asked.headers['host']}/if/flow/default-authentication-flow/"})

    def _application(self, asked: Asked) -> Reply:
        slug = asked.params["slug"]
        if slug not in self.applications:
            return self.error(404, "No Application matches the given query.")
        row = self.applications[slug]
        body: dict[str, Any] = {
            "pk": str(uuid.uuid5(uuid.NAMESPACE_DNS, slug)),
            "pbm_uuid": str(uuid.uuid5(uuid.NAMESPACE_DNS, slug)),
            "name": row["name"],
            "slug": slug,
            "provider_obj": None,
            "backchannel_providers_obj": [],
            "launch_url": None,
            "meta_icon_url": None,
            "meta_icon_themed_urls": None,
        }
        return Reply(200, body | ({"provider": row["provider"]} if row["provider"] in self.clients else {}))

    def _clients(self, asked: Asked) -> Reply:
        return _page(asked, [self._shown(key) for key in self.clients])

    def _client(self, asked: Asked) -> Reply:
        key = asked.params["client"]
        if not key.isdecimal() or int(key) not in self.clients:
            return self.error(404, "No OAuth2Provider matches the given query.")
        return Reply(200, self._shown(int(key)))

    def _shown(self, key: int) -> dict[str, Any]:
        flow = str(uuid.uuid5(uuid.NAMESPACE_DNS, "flow"))
        slug = next((slug for slug, row in self.applications.items() if row["provider"] == key), "")
        return {
            "name": f"Provider {key}",
            **self.clients[key],
            "redirect_uris": [{**self._type_of_all, **one} for one in self.clients[key]["redirect_uris"]],
            "pk": key,
            "authorization_flow": flow,
            "invalidation_flow": flow,
            "component": "ak-provider-oauth2-form",
            "assigned_application_slug": slug,
            "assigned_application_name": slug.title(),
            "assigned_backchannel_application_slug": None,
            "assigned_backchannel_application_name": None,
            "verbose_name": "OAuth2/OpenID Provider",
            "verbose_name_plural": "OAuth2/OpenID Providers",
            "meta_model_name": "authentik_providers_oauth2.oauth2provider",
        }

    @property
    def _type_of_all(self) -> dict[str, str]:
        """What a redirect URI is shown with that was made without a type."""
        return {"redirect_uri_type": "authorization"} if self.types_uris else {}

    def _tokens(self, asked: Asked) -> Reply:
        shown = [one for one in self.api_tokens if asked.query.get("intent") in (None, one["intent"])]
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
