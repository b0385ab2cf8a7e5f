"""One WebSocket, watched from handshake to close: one line at its end."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from dodai.asgi.route_template import label
from dodai.core.asgi_types import Message, Receive, Scope, Send
from dodai.core.line import UNMATCHED, Outcome, http_outcome
from dodai.core.request import RequestContext
from dodai.observability.line_format import error_name, redact, stack_of
from dodai.runtime import Runtime

_REQUEST_ID = b"x-request-id"
_SWITCHING = 101
_REFUSED = 403
_ORDERLY = frozenset({1000, 1001, 1005})
"""Normal closure, going away, and no code at all (RFC 6455 §7.4.1); 1006 is a connection that broke."""


class WebSocketConversation:
    """Stands between the server and the application. `status` is 101 once accepted, 0 before any answer."""

    __slots__ = (
        "_close_code",
        "_context",
        "_left",
        "_receive",
        "_router",
        "_runtime",
        "_scope",
        "_send",
        "_started",
        "closed",
        "received",
        "sent",
        "status",
        "written",
    )

    def __init__(
        self,
        runtime: Runtime,
        context: RequestContext,
        scope: Scope,
        receive: Receive,
        send: Send,
        started: float,
        router: Any = None,
    ) -> None:
        self._router = router
        self._runtime = runtime
        self._context = context
        self._scope = scope
        self._receive = receive
        self._send = send
        self._started = started
        self._close_code: int | None = None
        self._left = False
        self.closed = False
        self.received = 0
        self.sent = 0
        self.status = 0
        self.written = False

    async def receive(self) -> Message:
        message = await self._receive()
        kind = message["type"]
        if kind == "websocket.receive":
            self.received += 1
        elif kind == "websocket.disconnect" and not self.closed:
            self.closed = True
            self._left = True
            self._close_code = message.get("code", 1005)
        return message

    async def send(self, message: Message) -> None:
        kind = message["type"]
        if kind == "websocket.send":
            self.sent += 1
        elif kind == "websocket.accept":
            self.status = _SWITCHING
            message = {**message, "headers": self._with_id(message)}
        elif kind == "websocket.close":
            self.closed = True
            if self.status == 0:
                self.status = _REFUSED  # what servers answer to a close before the handshake
            elif self._close_code is None:
                self._close_code = message.get("code", 1000)
        elif kind == "websocket.http.response.start":
            self.status = message["status"]
            message = {**message, "headers": self._with_id(message)}
        elif kind == "websocket.http.response.body" and not message.get("more_body", False):
            self.closed = True
        try:
            await self._send(message)
        except OSError:
            self._left = True
            self.closed = True
            raise

    def finish(self, error: BaseException | None = None) -> None:
        """Write the line, once."""
        if self.written:
            return
        self.written = True
        context = self._context
        if error is not None:
            context.error = error_name(error)
            context.stack = stack_of(error)
        seconds = perf_counter() - self._started
        status = self.status or 500
        line = self._runtime.line(context, "ws", status=status, outcome=self._outcome(error), latency_s=seconds)
        route = context.route or label(self._scope, self._router)
        if route is None:
            route = UNMATCHED
            line["path"] = redact(self._scope["path"])[:128]
        line["route"] = route
        line["messagesIn"] = self.received
        line["messagesOut"] = self.sent
        if self._close_code is not None:
            line["closeCode"] = self._close_code
        self._runtime.write_request(line, context)

    def _outcome(self, error: BaseException | None) -> Outcome:
        if isinstance(error, Exception) and not self._left:
            return "timeout" if self.status == 504 else "server_error"
        if self.status not in (0, _SWITCHING):
            return http_outcome(self.status)
        if self._left:
            return "ok" if self._close_code in _ORDERLY else "client_gone"
        if error is not None:
            return "aborted"
        return "ok" if self.closed else "aborted"

    def _with_id(self, message: Message) -> list[tuple[bytes, bytes]]:
        headers = [pair for pair in message.get("headers") or () if pair[0].lower() != _REQUEST_ID]
        return [*headers, (_REQUEST_ID, self._context.request_id.encode("ascii"))]
