"""What the layer answers itself, as values that ASGI and WSGI send alike."""

from __future__ import annotations

import json

from dodai.core.dataclass import dataclass
from dodai.core.refusal import Refusal, render
from dodai.core.request import RequestContext
from dodai.csrf.enforce.csrf_protection import CsrfProtection, Sent
from dodai.csrf.enforce.csrf_session import CsrfSession
from dodai.csrf.enforce.script import REFRESH_SCRIPT


@dataclass(frozen=True, slots=True)
class LayerResponse:
    """A whole response; header names are lower case."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes = b""


PROBE_PASSED = LayerResponse(204, ((b"cache-control", b"no-store"),))


def refused(refusal: Refusal, context: RequestContext, sent: Sent) -> LayerResponse:
    """The refusal as JSON or HTML, in the client's language."""
    accept = b",".join(sent.get(b"accept", ())).decode("latin-1")
    language = b",".join(sent.get(b"accept-language", ())).decode("latin-1")
    rendered = render(refusal, context.request_id, accept=accept, accept_language=language)
    return LayerResponse(rendered.status, rendered.headers, rendered.body)


def script() -> LayerResponse:
    """The refresh script, which is the same for everybody."""
    body = REFRESH_SCRIPT.encode()
    kind = (b"content-type", b"text/javascript; charset=utf-8")
    return LayerResponse(200, (kind, (b"cache-control", b"public, max-age=3600"), _length(body)), body)


def preflight(origin: bytes | None) -> LayerResponse:
    """What a browser asks before a page of a trusted origin sends a header of its own with the request for a token."""
    if origin is None:
        return LayerResponse(204, ((b"allow", b"GET, HEAD, OPTIONS"), (b"vary", b"Origin")))
    allowed = (
        (b"access-control-allow-methods", b"GET"),
        (b"access-control-allow-headers", b"accept, content-type, x-requested-with"),
    )
    return LayerResponse(204, (*_shared_with(origin), *allowed))


def fresh_token(gate: CsrfProtection, visitor: CsrfSession, origin: bytes | None = None) -> LayerResponse:
    """A new token for the visitor as JSON, never cached; also for a page of the trusted `origin`."""
    fields = {"token": visitor.token(), "field": gate.policy.field, "header": gate.policy.header}
    body = json.dumps(fields).encode()
    headers = (
        (b"content-type", b"application/json"),
        (b"cache-control", b"no-store"),
        (b"cross-origin-resource-policy", b"same-origin" if origin is None else b"cross-origin"),
        (b"x-content-type-options", b"nosniff"),
        _length(body),
    )
    return LayerResponse(200, headers + (_shared_with(origin) if origin is not None else ((b"vary", b"Origin"),)), body)


def _shared_with(origin: bytes) -> tuple[tuple[bytes, bytes], ...]:
    return (
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"Origin"),
    )


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode("ascii")
