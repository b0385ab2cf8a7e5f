"""`dodai.operations.ports.IdentityService` on an Authentik server: what sign-in allows beside the manifest."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import field
from datetime import UTC, datetime, timedelta
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.operations.ports import IdentityState
from dodai.providers.authentik import codes
from dodai.providers.authentik.authentik_api import (
    DISCOVERY,
    GET_APPLICATION,
    GET_CLIENT,
    LIST_BLUEPRINTS,
    LIST_CLIENTS,
    LIST_TOKENS,
    PAGE,
    READY,
    TOKEN,
    AuthentikApplication,
    AuthentikClient,
    Discovery,
    authentik,
)
from dodai.vendor_api import Api, ApiToken, Operation, VendorError, api_of
from dodai.vendor_api.codes import TOKEN_REFUSED

SOON = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class AuthentikSignIn:
    """The application `slug` at `url` as people know it; `redirect_uris` are all that it may send people back to.

    `connect` leads to the API, whose address may be another one. `client_id` and `blueprint` are compared where they
    are said.
    """

    connect: Callable[[], Api] = field(repr=False)
    url: str
    slug: str
    redirect_uris: tuple[str, ...]
    client_id: str = ""
    blueprint: str = ""
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC), repr=False)

    @property
    def issuer(self) -> str:
        return f"{self.url.rstrip('/')}/application/o/{self.slug}/"

    async def observe(self) -> IdentityState:
        return await asyncio.to_thread(self.looked)

    def looked(self) -> IdentityState:
        self.call(READY)
        client = self._client()
        differs = (*self._discovery(), *self._differences(client), *self._blueprint())
        return IdentityState(issuer=self.issuer, differs=differs, remarks=tuple(self._expiring()))

    def parts(self) -> tuple[AuthentikApplication | None, AuthentikClient | None]:
        """The application and its client as they are; None for what is not there."""
        try:
            application: AuthentikApplication = self._found(GET_APPLICATION, "no application", slug=self.slug)
            key = "" if application.provider is None else str(application.provider)
        except DodaiError as error:
            if error.code is not codes.MISSING:
                raise
            return None, None
        try:
            client = self._found(GET_CLIENT, "no client", client=key) if key else None
        except DodaiError as error:
            if error.code is not codes.MISSING:
                raise
            client = None  # a provider of another kind
        return application, client

    def clients(self) -> tuple[AuthentikClient, ...]:
        """All OAuth2 clients, whoever they are for."""
        return tuple(self._pages(LIST_CLIENTS, {}))

    def _client(self) -> AuthentikClient:
        """DOD760 where there is no such application, or it has no OAuth2 client."""
        application = self._found(GET_APPLICATION, f"no application `{self.slug}`", slug=self.slug)
        if application.provider is None:
            said = f"the application `{self.slug}` has no provider: nobody can sign in to it"
            raise DodaiError(codes.MISSING, said, codes.MISSING.fix.en, exit_code=2, data={"absent": True})
        lacks = f"no OAuth2 provider for the application `{self.slug}`"
        client: AuthentikClient = self._found(GET_CLIENT, lacks, client=str(application.provider))
        return client

    def discovered(self) -> Discovery:
        """What an application is told at `url`, asked without a token; DOD760 where nobody can sign in to it.

        Authentik makes the issuer of the address that it was asked at (`get_issuer` of
        https://github.com/goauthentik/authentik/blob/main/authentik/providers/oauth2/models.py), so another one than
        that of people would say another issuer.
        """
        public = api_of(authentik, self.url, ApiToken(TOKEN, ""))
        with self._missing(f"no sign-in for `{self.slug}`"):
            return public.call_now(DISCOVERY, path={"slug": self.slug}).value

    def _discovery(self) -> Iterator[str]:
        found = self.discovered()
        if found.issuer != self.issuer:
            yield f"the issuer is `{found.issuer}`, not `{self.issuer}`: tokens would be refused by who checks it"
        if "S256" not in found.code_challenge_methods_supported:
            yield "PKCE with S256 is not offered"

    def _differences(self, client: AuthentikClient) -> Iterator[str]:
        if self.client_id and client.client_id != self.client_id:
            yield f"the client id is `{client.client_id}`, not `{self.client_id}`"
        if client.client_type != "confidential":
            yield f"the client is `{client.client_type}`: whoever has its id gets tokens without a secret"
        there = [one for one in client.redirect_uris if one.signs_in]
        exact = {one.url for one in there if one.matching_mode == "strict"}
        for uri in self.redirect_uris:
            if uri not in exact:
                yield f"people cannot be sent back to `{uri}` after signing in"
        for one in there:
            if one.matching_mode != "strict":
                yield f"the redirect URI `{one.url}` is a {one.matching_mode}: it may match somebody else's address"
            elif one.url not in self.redirect_uris:
                yield f"people may be sent to `{one.url}` too, which the manifest does not name"

    def _blueprint(self) -> Iterator[str]:
        if not self.blueprint:
            return
        found = self.call(LIST_BLUEPRINTS, query={"name": self.blueprint}).results
        known = next((one for one in found if one.name == self.blueprint), None)
        if known is None:
            yield f"there is no blueprint `{self.blueprint}`"
        elif known.status != "successful" or not known.enabled:
            state = known.status if known.enabled else "switched off"
            yield f"the blueprint `{self.blueprint}` is {state}, last applied {known.last_applied}"

    def _expiring(self) -> Iterator[str]:
        """Tokens of the API that end soon, and those whose end nobody can read."""
        for token in self._pages(LIST_TOKENS, {"intent": "api"}):
            if not token.expiring:
                continue
            try:
                left = datetime.fromisoformat(token.expires) - self.now()
            except (ValueError, TypeError):
                yield f"when the token `{token.identifier}` ends cannot be read: `{token.expires}`"
                continue
            if left <= SOON:
                when = f"ends in {left.days} days" if left > timedelta() else "has ended"
                yield f"the token `{token.identifier}` {when} ({token.expires[:10]})"

    def _pages(self, operation: Operation[Any], query: Mapping[str, str]) -> Iterator[Any]:
        page = 1
        while page:
            answer = self.call(operation, query={**query, "page": page, "page_size": PAGE})
            yield from answer.results
            page = int(answer.pagination.next) if answer.pagination.next > page else 0

    def _found(self, operation: Operation[Any], lacks: str, **path: str) -> Any:
        with self._missing(lacks):
            return self.call(operation, path=path)

    @contextmanager
    def _missing(self, lacks: str) -> Iterator[None]:
        try:
            yield
        except VendorError as error:
            if error.status != 404:
                raise
            said = f"Authentik at `{self.url}` has {lacks}"
            raise DodaiError(codes.MISSING, said, codes.MISSING.fix.en, exit_code=2) from None

    def call(
        self,
        operation: Operation[Any],
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, str | int] | None = None,
        body: object = None,
        effect: Callable[[], Any] | None = None,
    ) -> Any:
        """The reply; a token that Authentik does not know is answered with 403, as one that lacks a permission is."""
        api = self.connect()
        try:
            return api.call_now(operation, path=path, query=query, body=body, effect=effect).value
        except VendorError as error:
            if error.status == 403 and "invalid/expired" in error.message.lower():
                said = f"Authentik does not accept `{api.token.variable}`"
                raise api.error(TOKEN_REFUSED, said, "rejected", 403) from None
            raise
