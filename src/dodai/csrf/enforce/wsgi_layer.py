"""The WSGI layer: the same decisions for Flask and Django."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from functools import lru_cache
from typing import Any

from dodai.core.request import RequestContext, current, format_request_id
from dodai.csrf.body import open_search
from dodai.csrf.decision import OVERRIDES, SAFE_METHODS, Decision, TokenState
from dodai.csrf.enforce import layer_response
from dodai.csrf.enforce.csrf_protection import PROBE_BYTES, TOO_LARGE, BodyTooLargeError, CsrfProtection, Sent
from dodai.csrf.enforce.csrf_session import CsrfSession
from dodai.csrf.enforce.entrance import HandlerNotJudgedError, refused_at_entrance
from dodai.csrf.enforce.layer_response import LayerResponse
from dodai.csrf.policy import PROBE_PATH, REFRESH_PATH

Environ = MutableMapping[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]

ENVIRON_KEY = "dodai.csrf"
_OVERRIDES = tuple("HTTP_" + name.decode().upper().replace("-", "_") for name in OVERRIDES)
_CHUNK = 64 * 1024
_REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 403: "Forbidden", 413: "Content Too Large"}


class CsrfWsgi:
    """A WSGI application in front of another; `app` is the one inside."""

    def __init__(self, app: WsgiApp, gate: CsrfProtection) -> None:
        self.app = app
        self.gate = gate
        self._unsettled = True

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        context = current() or _new_context()
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "")
        if self.gate.subject is None:
            cookie = environ.get("HTTP_COOKIE")
            visitor = CsrfSession(self.gate, [(b"cookie", _bytes(cookie))] if cookie is not None else (), {})
        else:
            visitor = CsrfSession(self.gate, headers_of(environ), environ)
        visitor.prefix = environ.get("SCRIPT_NAME", "")
        visitor.outer = environ.get(ENVIRON_KEY) or vars(context).get("csrf")
        if self._unsettled:
            self._unsettled = False
            self.gate.settle()
        environ[ENVIRON_KEY] = vars(context)["csrf"] = visitor

        def amended(status: str, sent: list[tuple[str, str]], exc_info: Any = None) -> Any:
            visitor.started = True
            if visitor.unproven and visitor.must_be_replaced(int(status[:3])):
                visitor.replaced = True
                return _ignored
            if visitor.touched:
                raw = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in sent]
                sent = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in visitor.amend(raw)]
            return start_response(status, sent, exc_info) if exc_info else start_response(status, sent)

        if method not in SAFE_METHODS or any(key in environ for key in _OVERRIDES):
            return self._unsafe(environ, amended, sent_of(environ), visitor, context)
        if path == REFRESH_PATH and self.gate.refreshes:
            return self._refresh(environ, amended, sent_of(environ), visitor, context)
        return self._serve(environ, amended, visitor, context)

    def _serve(
        self, environ: Environ, start_response: StartResponse, visitor: CsrfSession, context: RequestContext
    ) -> Iterable[bytes]:
        """Call the application, and answer in its place when it went where it was not allowed to."""
        body: Iterable[bytes] = ()
        try:
            body = self.app(environ, start_response)
        except HandlerNotJudgedError:
            visitor.replaced = True
        if visitor.replaced:
            return self._replace(body, environ, start_response, visitor, context)
        if visitor.started or not self.gate.watched:
            return body
        return self._late(body, environ, start_response, visitor, context)

    def _late(
        self,
        body: Iterable[bytes],
        environ: Environ,
        start_response: StartResponse,
        visitor: CsrfSession,
        context: RequestContext,
    ) -> Iterator[bytes]:
        """The body of an application that begins its response when the first piece is asked for."""
        pieces = iter(body)
        try:
            try:
                first = next(pieces, b"")
            except HandlerNotJudgedError:
                visitor.replaced = True
            if visitor.replaced:
                yield from self._replace((), environ, start_response, visitor, context)
                return
            yield first
            yield from pieces
        finally:
            _close(body)

    def _replace(
        self,
        body: Iterable[bytes],
        environ: Environ,
        start_response: StartResponse,
        visitor: CsrfSession,
        context: RequestContext,
    ) -> Iterable[bytes]:
        _close(body)
        visitor.unproven = visitor.started = False
        decision = refused_at_entrance(visitor)
        self.gate.note(decision, context)
        return self._refuse(decision, environ, start_response, sent_of(environ), context)

    def _unsafe(
        self, environ: Environ, start_response: StartResponse, sent: Sent, visitor: CsrfSession, context: RequestContext
    ) -> Iterable[bytes]:
        gate = self.gate
        probe = environ.get("PATH_INFO", "") == PROBE_PATH
        route = None if probe else gate.route(environ, sent)
        limit = PROBE_BYTES if probe else gate.policy.body_limit_bytes
        if route is not None:
            limit = gate.policy.limit_bytes(route.id)
        stream = LimitedInput(environ, limit if gate.policy.mode != "report" else 1 << 62)
        exempt, over = gate.exemption(route, sent)
        decision = gate.length(sent, limit) or exempt
        if decision is None:
            provenance = gate.provenance(sent, *_other_end(environ))
            state = _find_token(gate, sent, visitor, stream) if gate.needs_token(provenance) else None
            decision = TOO_LARGE if stream.over else gate.decide(provenance, state, visitor, sent, over)
        gate.note(decision, context, sent)
        if gate.enforces(decision):
            return self._refuse(decision, environ, start_response, sent, context)
        if probe:
            context.route = PROBE_PATH
            return _send(environ, start_response, layer_response.PROBE_PASSED)
        environ["wsgi.input"] = io.BufferedReader(stream)
        visitor.allow(gate.passage(exempt, route, environ["REQUEST_METHOD"]))
        return self._pass(environ, start_response, stream, sent, visitor, context)

    def _pass(
        self,
        environ: Environ,
        start_response: StartResponse,
        stream: LimitedInput,
        sent: Sent,
        visitor: CsrfSession,
        context: RequestContext,
    ) -> Iterable[bytes]:
        """Call the application, and answer 413 in its place if it read beyond the limit."""

        def held_start(*arguments: Any) -> Any:
            return start_response(*arguments) if not stream.over else _ignored

        try:
            body = self._serve(environ, held_start, visitor, context)
        except Exception:
            if not stream.over:
                raise
            body = ()
        if not stream.over:
            return body
        _close(body)
        self.gate.note(TOO_LARGE, context)
        return self._refuse(TOO_LARGE, environ, start_response, sent, context)

    def _refuse(
        self,
        decision: Decision,
        environ: Environ,
        start_response: StartResponse,
        sent: Sent,
        context: RequestContext,
    ) -> Iterable[bytes]:
        return _send(
            environ, start_response, layer_response.refused(self.gate.refusal(decision, environ), context, sent)
        )

    def _refresh(
        self, environ: Environ, start_response: StartResponse, sent: Sent, visitor: CsrfSession, context: RequestContext
    ) -> Iterable[bytes]:
        context.route = REFRESH_PATH
        if environ.get("QUERY_STRING") == "script":
            return _send(environ, start_response, layer_response.script())
        decision = self.gate.refresh_refusal(sent, *_other_end(environ), visitor)
        if decision is not None:
            self.gate.note(decision, context, sent)
            return self._refuse(decision, environ, start_response, sent, context)
        asking = self.gate.asking(sent)
        if environ["REQUEST_METHOD"] == "OPTIONS":
            return _send(environ, start_response, layer_response.preflight(asking))
        return _send(environ, start_response, layer_response.fresh_token(self.gate, visitor, asking))


class LimitedInput(io.RawIOBase):
    """The request body as the application reads it: what was read already first, never more than the limit.

    The declared length ends it; without one it is empty unless the server ends the stream itself
    (`wsgi.input_terminated`), as PEP 3333 has it.
    """

    def __init__(self, environ: Environ, limit_bytes: int) -> None:
        declared = str(environ.get("CONTENT_LENGTH") or "")
        self._source = environ["wsgi.input"]
        self._left = int(declared) if declared.isdigit() and declared.isascii() else 0
        self._endless = not declared and bool(environ.get("wsgi.input_terminated"))
        self._limit = limit_bytes
        self._replay = bytearray()
        self._read = 0
        self.over = False

    def pull(self) -> bytes:
        """The next piece from the server, kept to be read again; empty at the end, and when it is over the limit."""
        piece = self._take(_CHUNK)
        self._replay += piece
        return piece

    @property
    def complete(self) -> bool:
        return self._left <= 0 and not self._endless

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = len(buffer)
        if self._replay:
            piece = bytes(self._replay[:size])
            del self._replay[:size]
        else:
            piece = self._take(size)
            if self.over:
                raise BodyTooLargeError
        buffer[: len(piece)] = piece
        return len(piece)

    def _take(self, size: int) -> bytes:
        wanted = size if self._endless else min(size, self._left)
        piece: bytes = self._source.read(wanted) if wanted > 0 else b""
        self._read += len(piece)
        self._left -= len(piece)
        if not piece:
            self._endless = False
        if self._read > self._limit:
            self.over = True
            return b""
        return piece


def headers_of(environ: Environ) -> list[tuple[bytes, bytes]]:
    """The request headers as ASGI has them; a header that came twice was joined with a comma by the server."""
    return [(name, value) for name, values in sent_of(environ).items() for value in values]


def sent_of(environ: Environ) -> Sent:
    """The values of every request header by its lower-case name."""
    sent = {_name(key): [_bytes(value)] for key, value in environ.items() if key[:5] == "HTTP_"}
    for key in ("CONTENT_TYPE", "CONTENT_LENGTH"):
        if value := environ.get(key):
            sent.setdefault(_name(key), []).append(_bytes(value))
    return sent


@lru_cache(maxsize=256)
def _name(key: str) -> bytes:
    return key.removeprefix("HTTP_").replace("_", "-").lower().encode("latin-1", "replace")


def _bytes(value: Any) -> bytes:
    return str(value).encode("latin-1", "replace")


def _other_end(environ: Environ) -> tuple[str, str]:
    """(address of the peer, scheme) as the server says."""
    return str(environ.get("REMOTE_ADDR", "")), str(environ.get("wsgi.url_scheme", ""))


def _find_token(gate: CsrfProtection, sent: Sent, visitor: CsrfSession, stream: LimitedInput) -> TokenState:
    state = gate.header_token(sent, visitor)
    if state is not None:
        return state
    search = open_search(sent.get(b"content-type", ()), gate.policy.field, gate.policy.search_bytes)
    if isinstance(search, str):
        return "unreadable" if search == "unreadable" else "missing"
    while search.state == "more":
        piece = stream.pull()
        if not piece and not stream.complete:
            return "disconnected"
        search.feed(piece, last=stream.complete)
        if not piece:
            break
    return gate.found_token(search.state, search.value, visitor)


def _send(environ: Environ, start_response: StartResponse, found: LayerResponse) -> list[bytes]:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in found.headers]
    start_response(f"{found.status} {_REASONS.get(found.status, 'Refused')}", headers)
    return [] if environ["REQUEST_METHOD"] == "HEAD" else [found.body]


def _close(body: Iterable[bytes]) -> None:
    close = getattr(body, "close", None)
    if close is not None:
        close()


def _ignored(_: bytes) -> None:
    """The `write` of a response that is replaced by a refusal."""


def _new_context() -> RequestContext:
    context = RequestContext()
    context.request_id = format_request_id(int(time.time() * 1000), int.from_bytes(os.urandom(10), "big"))
    return context
