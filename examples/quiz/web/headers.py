"""The headers every answer carries, and the farewell to connections when the process is about to leave."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from web.settings import Settings

POLICY = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "frame-ancestors": "'none'",
}


@dataclass(slots=True)
class Life:
    """Whether this process still takes new visitors. `__main__` sets it, /readyz and every answer read it."""

    leaving: bool = False


class Headers:
    """Pure ASGI, so that streams carry the headers as well."""

    def __init__(self, app: ASGIApp, *, always: Mapping[str, str], life: Life) -> None:
        self._app = app
        self._always = always
        self._life = life

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._always.items():
                    headers.setdefault(name, value)
                if self._life.leaving:
                    headers["connection"] = "close"
            await send(message)

        await self._app(scope, receive, send_with_headers)


def headers_of(settings: Settings) -> Mapping[str, str]:
    """What every answer carries. Chromium applies form-action to where a form's redirect leads, too: signing in is a
    form, and leads to the identity provider.
    """
    policy = {**POLICY, "form-action": f"'self' {settings.issuer_origin}"}
    return {
        "content-security-policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "x-content-type-options": "nosniff",
        "referrer-policy": "same-origin",
        "x-release": settings.release,
    }
