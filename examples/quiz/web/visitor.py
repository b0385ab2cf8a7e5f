"""Who is asking: a signed cookie, and the identity provider behind it (OpenID Connect, code flow with PKCE)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from ssl import SSLContext
from typing import Any

import httpx2
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.httpx_client import AsyncOAuth2Client
from authlib.integrations.starlette_client import OAuth, StarletteOAuth2App
from itsdangerous import TimestampSigner
from starlette.middleware.sessions import SessionMiddleware
from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Receive, Scope, Send

import dodai.asgi
import dodai.httpx
from web.settings import Settings

A_DAY_S = 24 * 3600
PROVIDER_TIMEOUT_S = 3.0
LONGEST_USER = 128
LONGEST_NAME = 40
# No answer, no answer in time, refused by the breaker, or an answer that is no JSON.
UNREACHABLE = (httpx2.HTTPError, dodai.httpx.DependencyUnavailableError, ValueError)


@dataclass(frozen=True, slots=True)
class Visitor:
    """Somebody who is signed in. `user` is the provider's name for them, which never changes; `name` may."""

    user: str
    name: str


class IdentityError(Exception):
    """The identity provider could not be asked (503), or did not vouch for the visitor (400)."""

    def __init__(self, http_status: int, why: str) -> None:
        super().__init__(why)
        self.http_status = http_status


class Sessions(SessionMiddleware):
    """Starlette's signed cookie, with keys that can be rotated: the first one signs, all of them are recognised."""

    def __init__(self, app: ASGIApp, *, keys: tuple[str, ...], secure: bool) -> None:
        super().__init__(
            app, secret_key=keys[0], session_cookie="session", max_age=A_DAY_S, same_site="lax", https_only=secure
        )
        self.signer = TimestampSigner(list(reversed(keys)))


class Known:
    """Tells dodai who is signed in: from here on every line and every call to the backend says so, with proof."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            visitor = visitor_of(HTTPConnection(scope))
            dodai.asgi.set_user(visitor.user if visitor else None)
        await self._app(scope, receive, send)


def visitor_of(request: HTTPConnection) -> Visitor | None:
    """Who is signed in; None for nobody."""
    found = request.scope.get("session", {}).get("visitor")
    return Visitor(found["user"], found["name"]) if found else None


def remember(request: Request, visitor: Visitor) -> None:
    """Signs in: what the session held before belongs to nobody and is dropped."""
    request.session.clear()
    request.session["visitor"] = {"user": visitor.user, "name": visitor.name}
    dodai.asgi.set_user(visitor.user)


def forget(request: Request) -> None:
    request.session.clear()


@cache
def trusted() -> SSLContext:
    """Whom we believe. Made once: reading all those certificates takes longer than asking the provider."""
    return httpx2.create_ssl_context()


class ProviderClient(AsyncOAuth2Client):
    """Authlib's client, with the limits of `[dependency.identity]` and its calls in the request's line."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        transport = dodai.httpx.AsyncTransport(httpx2.AsyncHTTPTransport(verify=trusted()), dependency="identity")
        super().__init__(*args, transport=transport, **kwargs)


class ProviderApp(StarletteOAuth2App):
    client_cls = ProviderClient


class Provider:
    """The identity provider. It is first asked when somebody signs in, so that it may be down until then."""

    def __init__(self, settings: Settings) -> None:
        app = OAuth().register(
            "quiz",
            client_cls=ProviderApp,
            client_id=settings.client_id,
            client_secret=settings.client_secret,
            server_metadata_url=f"{settings.issuer}/.well-known/openid-configuration",
            client_kwargs={
                "scope": "openid profile",
                "code_challenge_method": "S256",
                "timeout": PROVIDER_TIMEOUT_S,
            },
        )
        assert isinstance(app, ProviderApp)
        self._app = app

    async def send_there(self, request: Request, back_to: str, login_hint: str = "") -> str:
        """Where the provider wants the visitor; state and PKCE verifier are kept in the session.

        `login_hint` is what the visitor says they are called there, for the provider to fill in (OpenID Connect Core
        §3.1.2.1).
        """
        hint = {"login_hint": login_hint} if login_hint else {}
        try:
            answer = await self._app.authorize_redirect(request, back_to, **hint)
        except UNREACHABLE as error:
            raise IdentityError(503, "the identity provider does not answer") from error
        return str(answer.headers["location"])

    async def receive(self, request: Request) -> Visitor:
        """Whom the provider vouches for: the state, the code and the signed id token are all checked."""
        try:
            token = await self._app.authorize_access_token(request)
        except OAuthError as error:
            raise IdentityError(400, f"the identity provider says `{error.error}`") from error
        except UNREACHABLE as error:
            raise IdentityError(503, "the identity provider does not answer") from error
        claims = token.get("userinfo") or {}
        user = str(claims.get("sub", ""))
        if not 0 < len(user) <= LONGEST_USER:
            raise IdentityError(400, "the identity provider named nobody we can remember")
        return Visitor(user, str(claims.get("name") or user)[:LONGEST_NAME])
