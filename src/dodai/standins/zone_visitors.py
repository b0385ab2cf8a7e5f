"""Where visitors of the stand-in's zone arrive: TLS of an authority of its own, and from there to the origin."""

from __future__ import annotations

import contextlib
import http.client
import secrets
import shutil
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dodai.standins.cloudflare_standin import CloudflareStandIn
from dodai.standins.zone_cache import ZoneAnswer, ZoneCache
from dodai.standins.zone_rules import ZoneRequest, ZoneRules

PLACE = "NRT"
ORIGIN_S = 60.0
HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "content-length"}
)
_SUBJECT = ["-subj", "/CN=an authority of the stand-in"]


class ZoneVisitors:
    """Serves `host` of the zone over TLS on loopback while its `with` block lasts.

    `origins` are the addresses of what a record may lead to; there is no TLS behind it. `authority` is the file of the
    certificate that visitors have to trust. Raises `OSError` where there is no `openssl` to make it with.
    """

    def __init__(self, zone: CloudflareStandIn, host: str, origins: Mapping[str, str]) -> None:
        self.zone, self.host, self.origins = zone, host, dict(origins)
        self.rules, self.cache = ZoneRules(zone.rulesets), ZoneCache()
        self._folder = tempfile.TemporaryDirectory(prefix="dodai-zone-", ignore_cleanup_errors=True)
        self.authority = Path(self._folder.name) / "ca.pem"
        certificate, key = _certificate(Path(self._folder.name), host)
        self._server = _Server(self)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate, key)
        self._server.context = context
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    def origin(self) -> str:
        """Where requests go now: the one that the proxied record of the host leads to; "" for nowhere."""
        found = [one for one in self.zone.records if one["name"] == self.host and one.get("proxied")]
        return self.origins.get(found[0]["content"].rstrip(".").lower(), "") if len(found) == 1 else ""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        self._folder.cleanup()


def _certificate(folder: Path, host: str) -> tuple[Path, Path]:
    """A certificate for `host`, signed by an authority made for it, and its key."""
    program = shutil.which("openssl")
    if program is None:
        raise FileNotFoundError("openssl")
    names = folder / "names"
    names.write_text(f"subjectAltName=DNS:{host}\n")

    def run(*words: str | Path) -> None:
        subprocess.run([program, *words], check=True, capture_output=True, cwd=folder, timeout=30)

    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    run("req", "-x509", *curve, "-keyout", "ca.key", "-out", "ca.pem", "-days", "2", *_SUBJECT)
    run("req", *curve, "-keyout", "host.key", "-out", "host.csr", "-subj", f"/CN={host}")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", names)
    run("x509", "-req", "-in", "host.csr", "-out", "host.pem", *signed)
    return folder / "host.pem", folder / "host.key"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    context: ssl.SSLContext

    def __init__(self, visitors: ZoneVisitors) -> None:
        self.visitors = visitors
        super().__init__(("127.0.0.1", 0), _Visit)

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake is made in the thread of the visitor: one that says nothing holds up nobody."""
        request.settimeout(ORIGIN_S)
        with contextlib.suppress(OSError), self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A visitor that went away is no news."""


class _Visit(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _serve(self) -> None:
        ray = f"{secrets.token_hex(8)}-{PLACE}"
        visitors = self.server.visitors
        content = self.rfile.read(int(self.headers.get("content-length") or 0))
        if self.headers.get("host", "").partition(":")[0] != visitors.host:
            self._answer(409, {}, b"error code: 1001", ray)
        elif not (origin := visitors.origin()):
            self._answer(530, {}, b"error code: 1016", ray)
        else:
            client, path = self.client_address[0], self.path.partition("?")[0]
            asked = ZoneRequest(visitors.host, path, self.command, client, time.time())
            if visitors.rules.blocked(asked):
                self._answer(403, {}, b"error code: 1020", ray)
            elif visitors.rules.over_limit(asked):
                self._answer(429, {}, b"error code: 1015", ray)
            else:
                self._kept_or_asked(origin, content, ray, asked)

    def _kept_or_asked(self, origin: str, content: bytes, ray: str, asked: ZoneRequest) -> None:
        """From what is kept for everybody where a rule lets it be kept, else from the origin."""
        visitors, key = self.server.visitors, (asked.host, self.path, self.headers.get("accept-encoding", ""))
        wanted = visitors.rules.may_keep(asked) and asked.method in ("GET", "HEAD")
        if wanted and (kept := visitors.cache.get(key)):
            self._answer(kept.status, kept.headers, kept.body, ray, "HIT")
            return
        if (answer := self._origins(origin, content, ray, asked)) is None:
            return
        offered = wanted and asked.method == "GET" and "authorization" not in self.headers
        how = visitors.cache.offer(key, answer) if offered else "DYNAMIC"
        self._answer(answer.status, answer.headers, answer.body, ray, how)

    def _origins(self, origin: str, content: bytes, ray: str, asked: ZoneRequest) -> ZoneAnswer | None:
        """What the origin says; None when it does not, and the visitor was told so."""
        client, rewritten = asked.client, self.server.visitors.rules.headers(asked)
        left_out = HOP_BY_HOP | rewritten.keys()
        headers = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        headers |= {name: value for name, value in rewritten.items() if value is not None}
        headers |= {"cf-ray": ray, "cf-connecting-ip": client, "x-forwarded-for": client, "x-forwarded-proto": "https"}
        with closing(http.client.HTTPConnection(origin, timeout=ORIGIN_S)) as connection:
            try:
                connection.request(self.command, self.path, content or None, headers)
                answer = connection.getresponse()
                return ZoneAnswer(answer.status, tuple(answer.getheaders()), answer.read())
            except (OSError, http.client.HTTPException) as error:
                self._answer(504 if isinstance(error, TimeoutError) else 521, {}, b"the origin does not answer", ray)
                return None

    def _answer(self, status: int, headers: Any, body: bytes, ray: str, kept: str = "DYNAMIC") -> None:
        self.send_response_only(status)
        for name, value in dict(headers).items() if isinstance(headers, dict) else headers:
            if name.lower() not in HOP_BY_HOP:
                self.send_header(name, value)
        self.send_header("cf-ray", ray)
        self.send_header("cf-cache-status", kept)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("do_"):
            return self._serve
        raise AttributeError(name)

    def log_message(self, format: str, *words: Any) -> None:  # noqa: A002 - http.server's signature
        """Who came is in the lines of the service."""
