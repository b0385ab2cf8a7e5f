"""The headers every answer carries, and the farewell to connections when the process is about to leave."""

from __future__ import annotations

from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

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
    """Pure ASGI, so that streams and errors carry the headers as well."""

    def __init__(self, app: ASGIApp, *, life: Life, release: str, form_origin: str = "") -> None:
        self._app = app
        self._life = life
        self._always = {
            "content-security-policy": _policy(form_origin),
            "x-content-type-options": "nosniff",
            "referrer-policy": "same-origin",
            "x-release": release,
        }

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


def _policy(form_origin: str) -> str:
    """Chromium applies form-action to where a form's redirect leads, too: signing in goes to the identity provider."""
    allowed = {**POLICY, "form-action": f"'self' {form_origin}".strip()}
    return "; ".join(f"{name} {value}" for name, value in allowed.items())
