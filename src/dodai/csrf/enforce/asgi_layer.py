"""The ASGI layer: decides before the application sees anything of an unsafe request."""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Iterable

from dodai.core.asgi_types import App, Message, Receive, Scope, Send
from dodai.core.request import RequestContext, bind, current, format_request_id, unbind
from dodai.csrf.body import open_search
from dodai.csrf.decision import OVERRIDES, SAFE_METHODS, Decision, TokenState, decide_websocket, told_as_over
from dodai.csrf.enforce import layer_response
from dodai.csrf.enforce.body_timeout import BodyTimeout
from dodai.csrf.enforce.csrf_protection import PROBE_BYTES, TOO_LARGE, BodyTooLargeError, CsrfProtection, Sent, collect
from dodai.csrf.enforce.csrf_session import CsrfSession
from dodai.csrf.enforce.entrance import NOT_JUDGED, HandlerNotJudgedError, refused_at_entrance
from dodai.csrf.enforce.layer_response import LayerResponse
from dodai.csrf.policy import PROBE_PATH, REFRESH_PATH, RESERVED_PREFIX

SCOPE_KEY = "dodai.csrf"
_OVERRIDE_LENGTHS = frozenset(map(len, OVERRIDES))


class CsrfLayer:
    """An ASGI application in front of another; `app` is the one inside, `reserved` serves the reserved paths."""

    def __init__(self, app: App, gate: CsrfProtection, reserved: App | None = None) -> None:
        self.app = app
        self.gate = gate
        self._reserved = reserved or app
        self._unsettled = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        context = current()
        if context is not None:
            await self.within(scope, receive, send, context)
            return
        context = RequestContext()
        context.request_id = format_request_id(int(time.time() * 1000), int.from_bytes(os.urandom(10), "big"))
        token = bind(context)
        try:
            await self.within(scope, receive, send, context)
        except HandlerNotJudgedError:
            visitor = context.csrf  # type: ignore[attr-defined]
            if scope["type"] == "websocket":
                self.gate.note(NOT_JUDGED, context)
                await self._deny(NOT_JUDGED, scope, send, context)
            elif not visitor.started:
                await self._replace(scope, send, visitor, context)
        finally:
            unbind(token)

    def within(self, scope: Scope, receive: Receive, send: Send, context: RequestContext) -> Awaitable[None]:
        """Serve a request whose context is open; `dodai.asgi.wrap` calls this. A safe one costs no coroutine here."""
        kind = scope["type"]
        if kind not in ("http", "websocket"):
            return self.app(scope, receive, send)
        headers = scope["headers"]
        if self._unsettled:
            self._unsettled = False
            self.gate.settle()
        visitor = CsrfSession(self.gate, headers, scope)
        path = scope["path"]
        if prefix := scope.get("root_path"):
            visitor.prefix, path = prefix, path.removeprefix(prefix.rstrip("/"))
        outer = scope.get(SCOPE_KEY) or context.__dict__.get("csrf")
        if outer is not None:
            visitor.outer = outer  # judged there as well, and both have to allow what is entered
        scope[SCOPE_KEY] = vars(context)["csrf"] = visitor
        app = self._reserved if path.startswith(RESERVED_PREFIX) else self.app
        if kind == "websocket":
            return self._websocket(app, scope, receive, send, context)

        def amended(message: Message) -> Awaitable[None]:
            # No coroutine of its own: it runs at least twice for every request.
            if visitor.replaced:
                return _nothing()
            if message["type"] == "http.response.start":
                visitor.started = True
                if visitor.unproven and visitor.must_be_replaced(message["status"]):
                    return self._replace(scope, send, visitor, context)
                if visitor.rendered or visitor.changed:
                    message = {**message, "headers": visitor.amend(message.get("headers", ()))}
            return send(message)

        if is_unsafe(scope["method"], headers):
            return self._unsafe(app, scope, receive, amended, visitor, context)
        if path == REFRESH_PATH and self.gate.refreshes:
            return self._refresh(scope, amended, visitor, context)
        return app(scope, receive, amended)

    async def _unsafe(
        self, app: App, scope: Scope, receive: Receive, send: Send, visitor: CsrfSession, context: RequestContext
    ) -> None:
        gate, sent = self.gate, collect(scope["headers"])
        probe = scope["path"].removeprefix(visitor.prefix.rstrip("/")) == PROBE_PATH
        route = None if probe else gate.route(scope, sent)
        limit = PROBE_BYTES if probe else gate.policy.body_limit_bytes
        if route is not None:
            limit = gate.policy.limit_bytes(route.id)
        decision, complete = gate.length(sent, limit), False
        exempt, over = gate.exemption(route, sent)
        decision = decision or exempt
        if decision is None:
            provenance = gate.provenance(sent, *_other_end(scope))
            state: TokenState | None = None
            if gate.needs_token(provenance):
                found = await _find_token(gate, sent, visitor, receive, limit)
                if isinstance(found, Decision):
                    decision = found
                else:
                    state, receive, complete = found
            decision = decision or gate.decide(provenance, state, visitor, sent, over)
        gate.note(decision, context, sent)
        if gate.enforces(decision):
            await _send(scope, send, layer_response.refused(gate.refusal(decision, scope), context, sent))
        elif probe:
            context.route = PROBE_PATH
            await _send(scope, send, layer_response.PROBE_PASSED)
        else:
            scope.pop("dodai.entered", None)  # what a router outside of this layer has let in
            visitor.allow(gate.passage(exempt, route, scope["method"]))
            if complete:
                # All of the body has been read and counted: there is nothing left to limit.
                await app(scope, receive, send)
            else:
                await self._pass(app, scope, receive, send, limit, context)

    async def _replace(self, scope: Scope, send: Send, visitor: CsrfSession, context: RequestContext) -> None:
        """LayerResponse in the place of an application that went where it was not allowed to."""
        visitor.replaced = True
        decision = refused_at_entrance(visitor)
        self.gate.note(decision, context)
        refusal = self.gate.refusal(decision, scope)
        await _send(scope, send, layer_response.refused(refusal, context, collect(scope["headers"])))

    async def _pass(
        self, app: App, scope: Scope, receive: Receive, send: Send, limit: int, context: RequestContext
    ) -> None:
        """Call the application, and answer 413 in its place if it reads more than `limit` bytes."""
        if self.gate.policy.mode == "report":
            await app(scope, receive, send)
            return
        read = 0
        started = False

        async def limited() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body") or b"")
            if read > limit:
                raise BodyTooLargeError
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            if read > limit and not started:
                return
            started = True
            await send(message)

        try:
            await app(scope, limited, watched)
        except Exception:
            if read <= limit or started:
                raise
        if read > limit and not started:
            self.gate.note(TOO_LARGE, context)
            refusal = self.gate.refusal(TOO_LARGE, scope)
            await _send(scope, send, layer_response.refused(refusal, context, collect(scope["headers"])))

    async def _websocket(self, app: App, scope: Scope, receive: Receive, send: Send, context: RequestContext) -> None:
        gate = self.gate
        route = gate.route(scope)
        sent = collect(scope["headers"])
        exempt, over = gate.exemption(route, sent)
        decision = exempt or told_as_over(decide_websocket(gate.provenance(sent, *_other_end(scope))), over)
        gate.note(decision, context, sent)
        if not gate.enforces(decision):
            scope.pop("dodai.entered", None)
            scope[SCOPE_KEY].allow(gate.passage(exempt, route, "WEBSOCKET"))
            await app(scope, receive, _proven(send, scope[SCOPE_KEY]) if exempt else send)
            return
        await self._deny(decision, scope, send, context)

    async def _deny(self, decision: Decision, scope: Scope, send: Send, context: RequestContext) -> None:
        """Refuse a handshake, with a response where the server can send one."""
        refusal = self.gate.refusal(decision, scope)
        if "websocket.http.response" in (scope.get("extensions") or {}):
            found = layer_response.refused(refusal, context, collect(scope["headers"]))
            await _send(scope, send, found, "websocket.http.response")
        else:
            await send({"type": "websocket.close", "code": 1008, "reason": f"{refusal.code.id} {context.request_id}"})

    async def _refresh(self, scope: Scope, send: Send, visitor: CsrfSession, context: RequestContext) -> None:
        """A fresh token for a page that was open for long, to pages of our own only; the script that asks for it."""
        context.route = REFRESH_PATH
        gate, sent = self.gate, collect(scope["headers"])
        script = scope.get("query_string") == b"script"
        decision = None if script else gate.refresh_refusal(sent, *_other_end(scope), visitor)
        if decision is not None:
            gate.note(decision, context, sent)
            found = layer_response.refused(gate.refusal(decision, scope), context, sent)
        elif script:
            found = layer_response.script()
        elif scope["method"] == "OPTIONS":
            found = layer_response.preflight(gate.asking(sent))
        else:
            found = layer_response.fresh_token(gate, visitor, gate.asking(sent))
        await _send(scope, send, found)


def is_unsafe(method: str, headers: Iterable[tuple[bytes, bytes]] = ()) -> bool:
    """True unless `method` is one of the four safe ones and no header, in whatever case, asks for another."""
    if method not in SAFE_METHODS:
        return True
    near = [name for name, _ in headers if len(name) in _OVERRIDE_LENGTHS]  # every safe request comes by here
    return bool(near) and not OVERRIDES.isdisjoint([name.lower() for name in near])


async def _send(scope: Scope, send: Send, found: LayerResponse, kind: str = "http.response") -> None:
    await send({"type": f"{kind}.start", "status": found.status, "headers": list(found.headers)})
    await send({"type": f"{kind}.body", "body": b"" if scope.get("method") == "HEAD" else found.body})


async def _find_token(
    gate: CsrfProtection, sent: Sent, visitor: CsrfSession, receive: Receive, limit: int
) -> tuple[TokenState, Receive, bool] | Decision:
    """State of the token, a `receive` that repeats what was read, and whether that was all; or another refusal."""
    state = gate.header_token(sent, visitor)
    if state is not None:
        return state, receive, False
    search = open_search(sent.get(b"content-type", ()), gate.policy.field, gate.policy.search_bytes)
    if isinstance(search, str):
        return ("unreadable" if search == "unreadable" else "missing"), receive, False
    first, rest, more = b"", bytearray(), True
    patience = BodyTimeout(gate.policy.search_timeout_s)
    while more and search.state == "more":
        try:
            message = await patience.of(receive)
        except TimeoutError:
            return "too_slow", _replay(first, rest, receive, more=True), False
        if message["type"] == "http.disconnect":
            return "disconnected", _replay(first, rest, receive, more=True, gone=True), False
        chunk, more = bytes(message.get("body") or b""), bool(message.get("more_body", False))
        if len(first) + len(rest) + len(chunk) > limit and gate.policy.mode != "report":
            return TOO_LARGE
        search.feed(chunk, last=not more)
        if first:
            rest += chunk
        else:
            first = chunk
    return gate.found_token(search.state, search.value, visitor), _replay(first, rest, receive, more=more), not more


def _replay(first: bytes, rest: bytearray, receive: Receive, *, more: bool, gone: bool = False) -> Receive:
    """A `receive` that first gives what was read already, as one message, then goes on where it was stopped.

    The pieces are joined only when the application asks: a refused upload is not copied. What comes after them is the
    server's own coroutine, not one more around it: an upload has many chunks.
    """
    repeated = False

    def replayed() -> Awaitable[Message]:
        nonlocal repeated
        if not repeated:
            repeated = True
            body = b"".join((first, rest)) if rest else first
            rest.clear()
            return _given({"type": "http.request", "body": body, "more_body": more})
        return _given({"type": "http.disconnect"}) if gone else receive()

    return replayed


async def _given(message: Message) -> Message:
    return message


async def _nothing() -> None:
    """What becomes of a message of a response that was replaced."""


def _proven(send: Send, visitor: CsrfSession) -> Send:
    """`send` that lets nobody accept a handshake but the handler it was allowed for."""

    def proven(message: Message) -> Awaitable[None]:
        if message["type"] == "websocket.accept" and visitor.unproven:
            raise HandlerNotJudgedError
        return send(message)

    return proven


def _other_end(scope: Scope) -> tuple[str, str]:
    """(address of the peer, scheme) as the server says."""
    client = scope.get("client")
    return str(client[0]) if client else "", str(scope.get("scheme", ""))
