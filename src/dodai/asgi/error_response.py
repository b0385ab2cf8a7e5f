"""Answers that dodai gives itself: refusals, and what an unhandled exception becomes."""

from __future__ import annotations

from dodai.core.asgi_types import Scope, Send
from dodai.core.codes import DEPENDENCY_TIMEOUT, DEPENDENCY_UNAVAILABLE, UNHANDLED_ERROR
from dodai.core.refusal import Refusal, render
from dodai.core.request import RequestContext

_BY_GRPC_STATUS = {
    "UNAVAILABLE": Refusal(503, DEPENDENCY_UNAVAILABLE, "dependency_unavailable"),
    "RESOURCE_EXHAUSTED": Refusal(503, DEPENDENCY_UNAVAILABLE, "dependency_exhausted"),
    "DEADLINE_EXCEEDED": Refusal(504, DEPENDENCY_TIMEOUT, "dependency_timeout"),
}


async def send_refusal(scope: Scope, send: Send, context: RequestContext, refusal: Refusal) -> None:
    """Answer an HTTP request with `refusal` in the client's format and language, and note it for the line."""
    context.refusal = refusal
    accept, language = _preferences(scope)
    rendered = render(refusal, context.request_id, accept=accept, accept_language=language)
    await send({"type": "http.response.start", "status": rendered.status, "headers": list(rendered.headers)})
    body = b"" if scope["method"] == "HEAD" else rendered.body
    await send({"type": "http.response.body", "body": body})


async def deny_handshake(scope: Scope, send: Send, context: RequestContext, refusal: Refusal) -> None:
    """Refuse a WebSocket: with a response where the server can send one, else by closing before the handshake."""
    context.refusal = refusal
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": 1008, "reason": context.request_id})
        return
    accept, language = _preferences(scope)
    rendered = render(refusal, context.request_id, accept=accept, accept_language=language)
    headers = list(rendered.headers)
    await send({"type": "websocket.http.response.start", "status": rendered.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": rendered.body})


def refusal_for(error: BaseException) -> Refusal:
    """503 or 504 when `error` says that a dependency failed, else our 500.

    Recognised by what it is, not by import: `dodai` limits carry `refusal`, gRPC errors a `code()`.
    """
    own = getattr(error, "refusal", None)
    if isinstance(own, Refusal):
        return own
    if isinstance(error, TimeoutError):
        return Refusal(504, DEPENDENCY_TIMEOUT, "timeout")
    code = getattr(error, "code", None)
    if callable(code) and hasattr(error, "details"):
        return _BY_GRPC_STATUS.get(getattr(code(), "name", ""), _UNHANDLED)
    return _UNHANDLED


_UNHANDLED = Refusal(500, UNHANDLED_ERROR, "unhandled_error")


def _preferences(scope: Scope) -> tuple[str, str]:
    accept = language = b""
    for name, value in scope["headers"]:
        if name == b"accept":
            accept = accept + b"," + value if accept else value
        elif name == b"accept-language":
            language = value
    return accept.decode("latin-1"), language.decode("latin-1")
