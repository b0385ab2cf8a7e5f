"""Server of a stand-in: HTTP on loopback with routes, token scopes, documented rate limits and switchable faults."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from dodai.core.dataclass import dataclass
from dodai.standins.api_fault import ApiFault, ApiFaults
from dodai.vendor_api.contract import OffContractError, read

T = TypeVar("T")

MOST_BODY_BYTES = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as a handler sees it: path parameters, query, headers in lower case, the parsed body."""

    method: str
    path: str
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    scopes: frozenset[str]

    def read(self, kind: type[T]) -> T:
        """The body as a dataclass, no body as an empty one; what does not fit is answered with 400."""
        return read(kind, {} if self.body is None else self.body)

    def number(self, name: str, default: int, least: int = 0, most: int = 10_000) -> int:
        """A number in the query; anything else, and one out of bounds, is answered with 400."""
        given = self.query.get(name, str(default))
        if not re.fullmatch("[0-9]{1,9}", given) or not least <= int(given) <= most:
            raise OffContractError(name, f"a number from {least} to {most}", given)
        return int(given)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; `body` None sends none, bytes as they are, anything else as JSON."""

    status: int = 200
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else json.dumps(self.body).encode()


class StandInRefusal(Exception):  # noqa: N818 - what a vendor answers is no failure of the stand-in
    """Ends a handler with a reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its reply as they went over the wire, without the token; for validation and counting."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    content: bytes
    status: int
    reply_headers: Mapping[str, str]
    reply: bytes
    at_s: float


Handler = Callable[[Asked], Reply]


@dataclass(frozen=True, slots=True)
class StandInRoute:
    """`method` and `path` (`/v1/apps/{app}`), the scope a token needs ("" none), and its rate.

    The rate is (requests per second, burst), one queue for each value of the parameters `limited_by`.
    """

    method: str
    path: str
    handler: Handler
    scope: str = ""
    rate: tuple[float, int] | None = None
    limited_by: tuple[str, ...] = ()

    def match(self, method: str, path: str) -> dict[str, str] | None:
        if method != self.method:
            return None
        found = re.fullmatch(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path), path)
        return {name: unquote(value) for name, value in found.groupdict().items()} if found else None


def route(method: str, path: str, handler: Handler, scope: str = "", **limits: Any) -> StandInRoute:
    """A route; `limits` are `rate` and `limited_by`."""
    return StandInRoute(method, path, handler, scope, **limits)


class StandIn:
    """Serves `routes` on loopback while its `with` block lasts (or from `start` to `close`).

    `tokens` maps each token to what it may do; `*` may everything. `error` makes the vendor's body of an error.
    `limited` switches the documented rates on: 429 with Retry-After. What was asked stands in `exchanges`.
    """

    def __init__(self, tokens: Mapping[str, frozenset[str]], *, port: int = 0, limited: bool = False) -> None:
        self.tokens = dict(tokens)
        self.limited = limited
        self.faults = ApiFaults()
        self.exchanges: list[Exchange] = []
        self.routes: tuple[StandInRoute, ...] = ()
        self._before: dict[str, Reply] = {}
        self._latest: dict[str, Reply] = {}
        self._due: dict[str, float] = {}
        self._guard = threading.Lock()
        self._server = _ApiServer(("127.0.0.1", port), self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def error(self, status: int, text: str) -> Reply:
        """The vendor's form of an error."""
        return Reply(status, {"error": text})

    def bearer(self, headers: Mapping[str, str]) -> str:
        """The token of a request; a vendor with another scheme overrides this."""
        return headers.get("authorization", "").removeprefix("Bearer ").strip()

    # --- one request ---

    def answer(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Reply | None:
        """The reply, None when it is lost."""
        fault = self.faults.meet(f"{method} {target}")
        if fault and fault.kind == "lost before":
            return None
        if fault and fault.kind == "status":
            return Reply(fault.status, self.error(fault.status, "fault").body, fault.headers)
        if fault and fault.kind == "slow":
            time.sleep(fault.seconds)
        if fault and fault.kind == "stale" and method == "GET" and target in self._before:
            return self._before[target]
        reply = self._handled(method, target, headers, content)
        self._remember(method, target, reply)
        return _spoiled(self, fault, reply)

    def _handled(self, method: str, target: str, headers: Mapping[str, str], content: bytes) -> Reply:
        parts = urlsplit(target)
        matches = [(each, found) for each in self.routes if (found := each.match(method, parts.path)) is not None]
        if not matches:
            known = any(each.match(each.method, parts.path) is not None for each in self.routes)
            return self.error(405 if known else 404, f"no endpoint {method} {parts.path}")
        chosen, params = matches[0]
        scopes = self.tokens.get(self.bearer(headers))
        if scopes is None:
            return self.error(401, "not authenticated")
        if chosen.scope and not {chosen.scope, "*"} & scopes:
            return self.error(403, f"token lacks `{chosen.scope}`")
        if self.limited and (wait := self._over(chosen, params)):
            return Reply(429, self.error(429, "rate limit exceeded").body, {"retry-after": f"{max(1, round(wait))}"})
        try:
            body = json.loads(content) if content.strip() else None
        except (ValueError, RecursionError):
            return self.error(400, "the body is not JSON")
        query = {name: values[-1] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        try:
            return chosen.handler(Asked(method, parts.path, params, query, headers, body, scopes))
        except StandInRefusal as refusal:
            return refusal.reply
        except OffContractError as error:
            return self.error(400, str(error))

    def _over(self, chosen: StandInRoute, params: Mapping[str, str]) -> float:
        """Seconds until a request of this route is taken again; 0 when this one is."""
        if chosen.rate is None:
            return 0.0
        per_s, burst = chosen.rate
        key = "/".join((chosen.method, chosen.path, *(params[name] for name in chosen.limited_by)))
        with self._guard:
            now, interval = time.monotonic(), 1 / per_s
            due = max(self._due.get(key, now), now)
            if (wait := due - (burst - 1) * interval - now) > 0:
                return wait
            self._due[key] = due + interval
        return 0.0

    def _remember(self, method: str, target: str, reply: Reply) -> None:
        """For reads that lag: what each GET answered last, and before the last change."""
        with self._guard:
            if method == "GET":
                self._latest[target] = reply
            elif reply.status < 400:
                self._before = dict(self._latest)


def _spoiled(standin: StandIn, fault: ApiFault | None, reply: Reply) -> Reply | None:
    """What a fault makes of a reply whose effect happened."""
    if fault is None or fault.kind in ("slow", "stale"):
        return reply
    if fault.kind == "status after":
        return Reply(fault.status, standin.error(fault.status, "fault").body, fault.headers)
    return Reply(reply.status, fault.body) if fault.kind == "off contract" else None


class _ApiServer(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], standin: StandIn) -> None:
        self.standin = standin
        super().__init__(address, _OneRequest)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""


class _OneRequest(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _ApiServer

    def _serve(self) -> None:
        standin = self.server.standin
        try:
            length = int(self.headers.get("content-length", "0"))
        except ValueError:
            length = -1
        if not 0 <= length <= MOST_BODY_BYTES:
            self._send(standin.error(413 if length > 0 else 400, "content-length"))
            self.close_connection = True
            return
        content = self.rfile.read(length)
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            reply = standin.answer(self.command, self.path, headers, content)
        except Exception as error:  # noqa: BLE001 - a vendor answers 500 and goes on
            reply = standin.error(500, f"the stand-in failed: {type(error).__name__}: {error}")
        parts = urlsplit(self.path)
        headers.pop("authorization", None)
        sent = reply or Reply(0)
        standin.exchanges.append(
            Exchange(
                self.command,
                parts.path,
                parts.query,
                headers,
                content,
                sent.status,
                dict(sent.headers),
                sent.content,
                time.monotonic(),
            )
        )
        if reply is None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._send(reply)

    def _send(self, reply: Reply) -> None:
        content = reply.content
        self.send_response(reply.status)
        for name, value in _headers(reply, content):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Whatever method comes: a vendor answers 404 or 405 to one it does not know, `http.server` 501."""
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 - http.server's signature
        """Nobody reads a log of a stand-in: `exchanges` has it all."""


def _headers(reply: Reply, content: bytes) -> Iterator[tuple[str, str]]:
    given = {name.lower(): value for name, value in reply.headers.items()}
    if content and "content-type" not in given:
        given["content-type"] = "application/json"
    if reply.status != 204:
        given.setdefault("content-length", str(len(content)))
    yield from given.items()
