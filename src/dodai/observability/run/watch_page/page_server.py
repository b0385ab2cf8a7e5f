"""The server of the page: loopback unless a token is set, every answer from a connection that can only read."""

from __future__ import annotations

import contextlib
import hmac
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Mapping
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

import orjson

from dodai.core.errors import DodaiError
from dodai.core.request import is_request_id
from dodai.core.text import LANGS, Lang, Text
from dodai.observability import codes
from dodai.observability.openmetrics import CONTENT_TYPE
from dodai.observability.rollup import Kind, Store
from dodai.observability.run.curves import SeenCells
from dodai.observability.run.metrics import exposition
from dodai.observability.run.overview import Overview, overview
from dodai.observability.run.watch_page.page_html import Renderer
from dodai.observability.run.watcher import Watched
from dodai.observability.trace import Tree, find
from dodai.observability.trace.find import line_folders
from dodai.observability.trace.show import render

TOKEN_CHARS = 16
_COOKIE = "dodai-watch"
_LANG = "dodai-watch-lang"
_KINDS: Mapping[str, Kind] = {"journeys": "http", "routes": "http", "rpcs": "rpc", "tasks": "task"}
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
}
Answer = tuple[int, str, bytes]


def address_of(listen: str, token: str) -> tuple[str, int]:
    """Host and port of `listen`; DOD485 (exit 2) where others could see the page without a token of 16 characters."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    if not host or not port.isdigit() or int(port) > 65535:
        raise _refused(f"`{listen}` is not an address and a port such as 127.0.0.1:9464")
    try:
        loopback = ip_address(host).is_loopback
    except ValueError:
        loopback = host == "localhost"
    if not loopback and len(token) < TOKEN_CHARS:
        raise _refused(f"`{listen}` can be reached from other machines and DODAI_WATCH_TOKEN is not set")
    if token and not re.fullmatch(r"[A-Za-z0-9._~-]+", token):
        raise _refused("DODAI_WATCH_TOKEN has characters that a cookie cannot carry; use letters, digits and `._~-`")
    return host, int(port)


def _refused(message: str) -> DodaiError:
    return DodaiError(codes.PAGE_NOT_PUBLIC, message, codes.PAGE_NOT_PUBLIC.fix.en, exit_code=2)


class PageServer:
    """Serves from threads of its own. `problems` are what the watcher could not do last."""

    def __init__(
        self, watched: Watched, address: tuple[str, int], token: str, problems: Callable[[], tuple[Text, ...]]
    ) -> None:
        self.watched, self.token, self.problems = watched, token, problems
        self._seen: Overview | None = None
        self._read = SeenCells()
        self._lock = threading.Lock()
        outer = self

        class Handler(_Handler):
            page = outer

        try:
            self.server = ThreadingHTTPServer(address, Handler)
        except OSError as error:
            message = f"`{address[0]}:{address[1]}` cannot be listened on: {error.strerror or error}"
            raise DodaiError(codes.PAGE_ADDRESS, message, codes.PAGE_ADDRESS.fix.en, exit_code=2) from error
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        self.host = address[0]

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, name="dodai-watch-page", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self.server.server_close()

    def seen(self) -> Overview:
        """The overview, made once for all who ask within one evaluation."""
        with self._lock:
            now = time.time()
            if self._seen is None or now - self._seen.at_s > min(1.0, self.watched.tick_s):
                store = Store(self.watched.path, cell_s=self.watched.cell_s, writable=False)
                try:
                    window_s = 60.0 if self.watched.fast else 900.0
                    self._seen = overview(
                        self.watched, store, now, window_s=window_s, problems=self.problems(), seen=self._read
                    )
                finally:
                    store.close()
            return self._seen

    def answer(self, path: str, query: Mapping[str, str], lang: Lang) -> Answer:
        """Status, type and body."""
        html = Renderer(self.watched, lang)
        if path == "/":
            return 200, "text/html", html.page(html.live(self.seen())).encode()
        if path == "/live":
            return 200, "text/html", html.live(self.seen()).encode()
        if path == "/data.json":
            body = {"schema": "dodai.watch/1", "environment": self.watched.env, **self.seen().as_json()}
            return 200, "application/json", orjson.dumps(body)
        if path == "/metrics":
            return 200, CONTENT_TYPE, self._metrics().encode()
        if path in ("/page.css", "/page.js"):
            kind = "text/css" if path.endswith("css") else "text/javascript"
            return 200, kind, (Path(__file__).parent / path[1:]).read_bytes()
        if path == "/point":
            return 200, "text/html", html.page(self._point(html, query)).encode()
        if path.startswith("/trace/") and is_request_id(path[7:].encode()):
            return 200, "text/html", html.page(self._trace(html, path[7:]), path[7:]).encode()
        return 404, "text/plain", b"not found\n"

    def _metrics(self) -> str:
        store = Store(self.watched.path, cell_s=self.watched.cell_s, writable=False)
        thresholds = [alert.threshold for alert in self.watched.alerts if alert.measure == "p95-ms"]
        try:
            return exposition(store, thresholds)
        finally:
            store.close()

    def _point(self, html: Renderer, query: Mapping[str, str]) -> str:
        name, service = query.get("name", ""), query.get("service", "")
        try:
            since, until = float(query.get("from", "0")), float(query.get("to", "0"))
        except ValueError:
            since = until = 0.0
        store = Store(self.watched.path, cell_s=self.watched.cell_s, writable=False)
        kind = _KINDS.get(query.get("kind", ""), "http")
        try:
            rows = store.examples(kind, service, name if service else "", since, until)
        finally:
            store.close()
        return html.point(f"{service} {name}".strip(), since, until, rows)

    def _trace(self, html: Renderer, request_id: str) -> str:
        found = find(request_id, line_folders([str(self.watched.state)]))
        text = ""
        if found.lines:
            text = render(request_id, Tree(found.lines), found.torn, colour=False, unread=sorted(found.unread))
        return html.trace(request_id, text)


class _Handler(BaseHTTPRequestHandler):
    page: PageServer
    protocol_version = "HTTP/1.1"
    server_version = "dodai"
    timeout = 30
    wbufsize = 65536
    """Head and body in one packet: in two of them the second waits 40 ms for the first to be acknowledged."""

    def handle(self) -> None:
        """Somebody who closes the page while it is sent is no error, and a traceback would look like one."""
        with contextlib.suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        target = urlsplit(self.path)
        query = {name: values[-1] for name, values in parse_qs(target.query).items()}
        if not self._host_is_ours():
            self._send(421, "text/plain", b"this page has another name\n")
        elif not self._may(query):
            self._send(401, "text/plain", b"open /?token=... once\n", {"WWW-Authenticate": "Bearer"})
        elif "token" in query:
            cookie = f"{_COOKIE}={self.page.token}; HttpOnly; SameSite=Strict; Path=/"
            self._send(303, "text/plain", b"", {"Location": "/", "Set-Cookie": cookie})
        elif query.get("lang") in LANGS and target.path == "/":
            self._send(
                303,
                "text/plain",
                b"",
                {"Location": "/", "Set-Cookie": f"{_LANG}={query['lang']}; SameSite=Strict; Path=/"},
            )
        else:
            self._answer(unquote(target.path))

    def _answer(self, path: str) -> None:
        query = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
        try:
            self._send(*self.page.answer(path, query, self._lang()))
        except sqlite3.Error as error:
            self._send(503, "text/plain", f"the rollups cannot be read: {error}\n".encode())

    def _host_is_ours(self) -> bool:
        """Against another site whose name was made to lead here; with a token the cookie is what protects."""
        host = urlsplit(f"//{self.headers.get('host', '')}").hostname or ""
        return bool(self.page.token) or host in ("127.0.0.1", "localhost", "::1", self.page.host)

    def _may(self, query: Mapping[str, str]) -> bool:
        if not self.page.token:
            return True
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        offered = query.get("token") or self._cookie(_COOKIE) or bearer
        return hmac.compare_digest(offered.encode(), self.page.token.encode())

    def _cookie(self, name: str) -> str:
        try:
            found = SimpleCookie(self.headers.get("cookie", "")).get(name)
        except CookieError:
            return ""
        return found.value if found else ""

    def _lang(self) -> Lang:
        wanted = self._cookie(_LANG) or self.headers.get("accept-language", "")
        return "ja" if wanted.lower().startswith("ja") else "en"

    def _send(self, status: int, kind: str, body: bytes, more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {
            **_HEADERS,
            **(more or {}),
            "Content-Type": f"{kind}; charset=utf-8",
            "Content-Length": str(len(body)),
        }
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """A page that renews itself would fill the terminal."""
