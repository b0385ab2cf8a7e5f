"""`/-/dodai/metrics` on a port of its own: the counters of every process of this state folder, as OpenMetrics.

One of the processes serves it; when that ends, another one does. Never on the port of the application.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path

from dodai.observability.openmetrics import CONTENT_TYPE, END, head, histogram, sample
from dodai.runtime.metric_slots import BOUNDS, Counted, counted, services

PATH = "/-/dodai/metrics"
_AGAIN_S = 1.0


def exposition(folder: Path) -> str:
    """Every counter of every service; ends with `# EOF`."""
    found = [(service, one) for service in services(folder) for one in counted(folder, service)]
    return "\n".join([*_families(found), END]) + "\n"


def _families(found: list[tuple[str, Counted]]) -> Iterator[str]:
    labelled = [({"kind": one.kind, "service": service, "name": one.name}, one) for service, one in found]
    yield from head("dodai_requests", "counter", "Requests, calls and tasks that ended")
    yield from (sample("dodai_requests_total", labels, one.count) for labels, one in labelled)
    yield from head("dodai_request_errors", "counter", "Those that failed by our own fault")
    yield from (sample("dodai_request_errors_total", labels, one.errors) for labels, one in labelled)
    yield from head("dodai_requests_refused", "counter", "Those that the CSRF layer refused")
    yield from (sample("dodai_requests_refused_total", labels, one.refused) for labels, one in labelled)
    name = "dodai_request_duration_seconds"
    yield from head(name, "histogram", "What users waited for, the first byte of a stream")
    for labels, one in labelled:
        yield from histogram(name, labels, zip(BOUNDS, one.buckets, strict=True), one.sum_s)


class MetricServer:
    """Serves from a thread of its own as soon as nobody else of this machine has the port."""

    def __init__(self, folder: Path, address: tuple[str, int]) -> None:
        self.folder, self.address = folder, address
        self.server: _ScrapeServer | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="dodai-metrics", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        handler = type("Handler", (_ScrapeHandler,), {"folder": self.folder})
        while not self._ended.is_set():
            try:
                self.server = _ScrapeServer(self.address, handler)
            except OSError:
                self._ended.wait(_AGAIN_S)
                continue
            self.server.serve_forever()
            return

    def forget(self) -> None:
        """In a child that was forked: its parent serves, and must not be outlived by a port that nobody answers at."""
        if self.server is not None:
            self.server.socket.close()

    def close(self) -> None:
        self._ended.set()
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()


class _ScrapeServer(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        with suppress(ValueError):  # a name, which is looked up as IPv4
            if ip_address(address[0]).version == 6:
                self.address_family = socket.AF_INET6
        super().__init__(address, handler)


class _ScrapeHandler(BaseHTTPRequestHandler):
    folder: Path
    protocol_version = "HTTP/1.1"
    server_version = "dodai"
    timeout = 10
    wbufsize = 65536

    def do_GET(self) -> None:
        found = self.path.partition("?")[0] == PATH
        body = exposition(self.folder).encode() if found else b"not found\n"
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", f"{CONTENT_TYPE if found else 'text/plain'}; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Whoever scrapes would fill the log of the service."""
