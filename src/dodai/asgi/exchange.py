"""One HTTP request and its response, watched: what was sent, how it ended, and the one line about it."""

from __future__ import annotations

from inspect import iscoroutinefunction
from time import perf_counter
from typing import Any

from dodai.asgi.route_template import label
from dodai.core.asgi_types import Message, Receive, Scope, Send
from dodai.core.line import METHODS, OTHER_METHOD, UNMATCHED, Outcome, http_outcome
from dodai.core.request import RequestContext
from dodai.observability.line_format import error_name, redact, stack_of
from dodai.runtime import Runtime
from dodai.runtime.line_fields import Shape

_REQUEST_ID = b"x-request-id"
_ID_LENGTH = len(_REQUEST_ID)
_FRAMEWORK_500 = b"Internal Server Error"
_OK: Outcome = "ok"
CLIENT_CLOSED = 499
_PATIENCE_S = 0.05
"""Who leaves does so because it takes long; a quick answer is not worth the question."""
_LOOKS = 8


class HttpExchange:
    """Stands between the server and the application. A plain class with slots: it is made for every request."""

    __slots__ = (
        "_ahead",
        "_client_gone",
        "_context",
        "_ended",
        "_first_byte",
        "_held",
        "_receive",
        "_router",
        "_runtime",
        "_scope",
        "_send",
        "_started",
        "_streamed",
        "bytes_out",
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
        self._first_byte = self._ended = 0.0
        self._held: Message | None = None
        self._ahead: list[Message] | None = None
        self._streamed = self._client_gone = self.written = False
        self.status = self.bytes_out = 0

    @property
    def answered(self) -> bool:
        """True once a response has left, or will leave, for the client."""
        return self.status != 0 and self._held is None

    @property
    def client_gone(self) -> bool:
        return self._client_gone

    @property
    def complete(self) -> bool:
        return self._ended != 0.0

    @property
    def holds(self) -> bool:
        """True while a framework's bare 500 waits for the exception behind it."""
        return self._held is not None

    async def receive(self) -> Message:
        message = self._ahead.pop(0) if self._ahead else await self._receive()
        if message["type"] == "http.disconnect" and not self._ended:
            self._client_gone = True
        return message

    async def send(self, message: Message) -> None:
        """Pass `message` on, watched. One flat function: it runs twice for every request."""
        kind = message["type"]
        final = False
        if kind == "http.response.start":
            self.status = status = message["status"]
            self._first_byte = now = perf_counter()
            if now - self._started > _PATIENCE_S and not self._client_gone:
                self._client_gone = self._has_left()
            headers = list(message.get("headers", ()))
            for name, _ in headers:
                if len(name) == _ID_LENGTH and name.lower() == _REQUEST_ID:
                    headers = [pair for pair in headers if pair[0].lower() != _REQUEST_ID]
                    break
            headers.append((_REQUEST_ID, self._context.request_id.encode("ascii")))
            message = {**message, "headers": headers}
            if status == 500 and _is_bare_500(headers):
                self._held = message
                return
        elif kind == "http.response.body":
            final = not message.get("more_body", False)
            body = message.get("body", b"")
            self.bytes_out += len(body)
            if self._held is not None:
                if final and body == _FRAMEWORK_500:
                    self._ended = perf_counter()
                    return
                start, self._held = self._held, None
                await self._send(start)
            if not final:
                self._streamed = True
        elif kind == "http.response.pathsend":
            final = True
        try:
            await self._send(message)
        except OSError:
            self._client_gone = True
            raise
        if final:
            self._ended = perf_counter()
            if self.status < 500:
                # The answer is out: what the application does now is a background task, not this request.
                self.finish()

    def _has_left(self) -> bool:
        """Whether the client of a slow answer is gone, as far as the server knows by now.

        Only `receive` says so, and an ordinary handler never asks again after the body. What it has to say at once is
        taken, and kept for whoever asks; where it would wait, it is left alone. A server whose `receive` is no
        coroutine function (granian's) begins to wait when it is called, and cannot be told to stop: it is not asked.
        """
        if not iscoroutinefunction(self._receive):
            return False
        for _ in range(_LOOKS):
            steps = self._receive().__await__()
            try:
                next(steps)
            except StopIteration as said:
                message: Message = said.value
                self._ahead = [*(self._ahead or ()), message]
                if message["type"] == "http.disconnect":
                    return True
            except Exception:  # noqa: BLE001 - a server that cannot be asked twice
                return False
            else:
                steps.close()
                return False
        return False

    def drop_held(self) -> None:
        """Forget the framework's bare `Internal Server Error`: the exception that follows it gets our answer."""
        self._held = None
        self.status = 0
        self.bytes_out = 0
        self._ended = 0.0

    async def release_held(self) -> None:
        """Send a held response after all: the application meant it."""
        if self._held is not None:
            start, self._held = self._held, None
            await self._send(start)
            await self._send({"type": "http.response.body", "body": _FRAMEWORK_500})

    def finish(self, error: BaseException | None = None) -> None:
        """Write the line, unless it is written; with `error` as what ended the request."""
        if self.written:
            return
        self.written = True
        context, scope, status = self._context, self._scope, self.status
        if error is not None and context.error is None:
            context.error = error_name(error)
            context.stack = stack_of(error)
        ended, outcome = self._ended, _OK
        if not ended or status >= 400 or self._client_gone:
            status, outcome = self._result(error)
            ended = ended or perf_counter()
        method = scope["method"]
        if method not in METHODS:
            method = OTHER_METHOD
        route = context.route
        if route is None:
            # The common case without a search: a route of the outermost router, and no prefix in front of it.
            path, inner = getattr(scope.get("route"), "path_format", None), scope.get("root_path")
            plain = path.__class__ is str and inner == scope.get("app_root_path", inner) and "fastapi" not in scope
            route = path if plain else label(scope, self._router)
        fields: dict[str, Any] | None = None
        if route is None:
            route = UNMATCHED
            fields = {"path": redact(scope["path"])[:128]}
        if self._streamed:
            fields = {**(fields or {}), "ttfbMs": round((self._first_byte - self._started) * 1000.0, 3)}
        shape: Shape = ("http", outcome, status, route, method)
        size = self.bytes_out if method != "HEAD" else 0
        self._runtime.write_served(context, shape, ended - self._started, fields, size)

    def task_line(self, error: BaseException) -> None:
        """Write a line about work after the response that failed: the response itself was fine."""
        seconds = perf_counter() - self._ended
        fields: dict[str, Any] = {"ts": self._runtime.now(), "type": "task", "name": "background"}
        fields |= {"outcome": "server_error", "latencyMs": round(seconds * 1000.0, 3)}
        fields |= {"error": error_name(error), "stack": stack_of(error)}
        self._runtime.write(self._runtime.sub_line(self._context, fields))

    def _result(self, error: BaseException | None) -> tuple[int, Outcome]:
        if self._client_gone:
            return self.status or CLIENT_CLOSED, "client_gone"
        if self._ended:
            return self.status, http_outcome(self.status)
        if self.status or error is not None:
            return self.status or CLIENT_CLOSED, "aborted"
        return 500, "server_error"


def _is_bare_500(headers: list[tuple[bytes, bytes]]) -> bool:
    """True for what Starlette and its kin answer to an unhandled exception, before they raise it again."""
    found = {name.lower(): value for name, value in headers}
    return found.get(b"content-length") == b"21" and found.get(b"content-type", b"").startswith(b"text/plain")
