"""Requests to an application in this process, ASGI or WSGI, without a socket; its lifespan runs around them."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

_LIMIT_BYTES = 65_536
_DEADLINE_S = 5.0
_START_S = 10.0
_END_S = 2.0


@dataclass
class DrivenAnswer:
    """`status` 0: there was no answer; `error` says why. `code` is that of a refusal in dodai's JSON."""

    status: int = 0
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""
    error: str = ""

    @property
    def code(self) -> str:
        found = self.json
        error = found.get("error") if isinstance(found, Mapping) else None
        return str(error.get("code", "")) if isinstance(error, Mapping) else ""

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            return None

    def cookies(self) -> list[str]:
        return [value for name, value in self.headers if name == "set-cookie"]


def is_wsgi(app: Any) -> bool:
    """True when `app` takes two arguments; ASGI takes three."""
    call = app if inspect.isroutine(app) else type(app).__call__
    try:
        names = list(inspect.signature(call).parameters.values())
    except (TypeError, ValueError):
        return False
    needed = [p for p in names if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return len(needed) - (0 if inspect.isroutine(app) else 1) == 2


class Served:
    """An application as a server has it: one event loop for all requests, its lifespan started once and ended once."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.requests = 0
        self._loop = asyncio.new_event_loop()
        self._lifespan: asyncio.Task[None] | None = None
        self._messages: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._state: dict[str, Any] = {}

    def start(self) -> str:
        """Start the lifespan; why it did not start, empty when it did or when the application has none."""
        if is_wsgi(self.app):
            return ""
        return self._loop.run_until_complete(self._start())

    def end(self) -> None:
        """End the lifespan, and wait no longer than a moment for it."""
        if self._lifespan is not None:
            self._messages.put_nowait({"type": "lifespan.shutdown"})
            with contextlib.suppress(Exception):  # what fails at the end changes nothing that was seen
                self._loop.run_until_complete(asyncio.wait_for(self._lifespan, _END_S))

    def request(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]] = (),
        body: bytes = b"",
        scheme: str = "https",
    ) -> DrivenAnswer:
        """The answer; an exception or a missing answer is a `DrivenAnswer` with an error, never raised."""
        self.requests += 1
        pairs = [*headers, *([("content-length", str(len(body)))] if body else [])]
        try:
            if is_wsgi(self.app):
                return _wsgi(self.app, method, path, pairs, body, scheme)
            asked = _asgi(self.app, _scope(method, path, pairs, scheme, self._state), body)
            return self._loop.run_until_complete(asyncio.wait_for(asked, _DEADLINE_S))
        except TimeoutError:
            return DrivenAnswer(error=f"no answer within {_DEADLINE_S:g} s")
        except Exception as error:  # noqa: BLE001 - whatever the user's code raises is a result
            return DrivenAnswer(error=f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins."))

    async def _start(self) -> str:
        said: asyncio.Future[str] = self._loop.create_future()

        async def send(message: Mapping[str, Any]) -> None:
            kind = message["type"]
            if kind in ("lifespan.startup.complete", "lifespan.startup.failed") and not said.done():
                last = str(message.get("message", "")).strip().rpartition("\n")[2]
                said.set_result("" if kind.endswith("complete") else last[:200] or "it says `lifespan.startup.failed`")

        self._messages.put_nowait({"type": "lifespan.startup"})
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self._state}

        async def live() -> None:
            await self.app(scope, self._messages.get, send)

        self._lifespan = self._loop.create_task(live())
        either: set[asyncio.Future[Any]] = {self._lifespan, said}
        await asyncio.wait(either, timeout=_START_S, return_when=asyncio.FIRST_COMPLETED)
        if said.done():
            return said.result()
        if self._lifespan.done():  # the protocol's way to say that there is none
            self._lifespan.exception()
            self._lifespan = None
            return ""
        self._lifespan.cancel()
        return f"it did not start within {_START_S:g} s"


async def _asgi(app: Any, scope: dict[str, Any], body: bytes) -> DrivenAnswer:
    answer = DrivenAnswer()
    websocket = scope["type"] == "websocket"
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.sleep(3600)
        sent = True
        if websocket:
            return {"type": "websocket.connect"}
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Mapping[str, Any]) -> None:
        kind = message["type"]
        if kind.endswith("response.start"):
            answer.status = message["status"]
            answer.headers += [
                (k.decode("latin-1").lower(), v.decode("latin-1")) for k, v in message.get("headers", ())
            ]
        elif kind.endswith("response.body"):
            answer.body += message.get("body", b"")[: _LIMIT_BYTES - len(answer.body)]
        elif kind == "websocket.accept":
            answer.status = 101
        elif kind == "websocket.close" and not answer.status:
            answer.status = 403

    try:
        await app(scope, receive, send)
    except Exception as error:  # noqa: BLE001 - a framework raises again what it answered with 500
        answer.error = f"{type(error).__module__}.{type(error).__qualname__}".removeprefix("builtins.")
    return answer


def _scope(
    method: str, path: str, headers: list[tuple[str, str]], scheme: str, state: Mapping[str, Any]
) -> dict[str, Any]:
    websocket = method == "WEBSOCKET"
    plain, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "websocket" if websocket else "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": scheme.replace("http", "ws") if websocket else scheme,
        "path": plain,
        "raw_path": quote(plain).encode("ascii"),
        "query_string": query.encode("ascii"),
        "root_path": "",
        "headers": [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8000),
        "state": dict(state),
        "extensions": {"websocket.http.response": {}} if websocket else {},
    }
    scope["subprotocols" if websocket else "method"] = [] if websocket else method
    return scope


def _wsgi(app: Any, method: str, path: str, headers: list[tuple[str, str]], body: bytes, scheme: str) -> DrivenAnswer:
    answer = DrivenAnswer()
    plain, _, query = path.partition("?")
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "SCRIPT_NAME": "",
        "PATH_INFO": plain,
        "QUERY_STRING": query,
        "SERVER_NAME": "127.0.0.1",
        "SERVER_PORT": "443" if scheme == "https" else "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in headers:
        key = name.upper().replace("-", "_")
        environ[key if key in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{key}"] = value

    late: list[bytes] = []

    def start_response(status: str, sent: list[tuple[str, str]], exc_info: Any = None) -> Any:
        del exc_info
        answer.status = int(status[:3])
        answer.headers = [(name.lower(), value) for name, value in sent]
        return late.append

    chunks = app(environ, start_response)
    try:
        answer.body = b"".join([*late, *chunks])[:_LIMIT_BYTES]
    finally:
        if hasattr(chunks, "close"):
            chunks.close()
    return answer
