"""The edge's listener: connections in, one exchange after the other, one line each."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ipaddress
import resource
import secrets
import time
from pathlib import Path

from dodai.core.line import LINE_VERSION, METHODS, OTHER_METHOD, UNMATCHED
from dodai.core.request import format_request_id, format_span_id, is_request_id
from dodai.observability.line_format import dump
from dodai.observability.segment import SegmentWriter
from dodai.operations.ports import EdgeSpec
from dodai.providers.local.edge.edge_exchange import EdgeExchange, Record, Setting
from dodai.providers.local.edge.kept_connections import KeptConnections
from dodai.providers.local.edge.rate_limit import RateLimiter
from dodai.providers.local.edge.request_checks import EdgeRefusedError
from dodai.providers.local.edge.stream import ClientGoneError, Stream
from dodai.providers.local.loopback import listening_socket

DRAIN_S = 5.0
FEWEST_CONNECTIONS, MOST_CONNECTIONS = 16, 16_384


class EdgeServer:
    """Listens on 127.0.0.1. `serve` can be called again: open requests keep the setting they began with."""

    def __init__(self, folder: Path, env: str) -> None:
        self.env = env
        self.port = 0
        self._lines = SegmentWriter(folder / "lines", "edge", secrets.token_hex(4))
        self._setting: Setting | None = None
        self.kept = KeptConnections()
        self._server: asyncio.Server | None = None
        self._busy: set[asyncio.Task[None]] = set()
        self._idle: dict[Stream, None] = {}  # the longest idle first
        self._limiter = RateLimiter()  # what it counted outlives a change of what it serves
        self.most = most_connections()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def key(self) -> str:
        """What it sends to services; "" while it serves nothing."""
        return self._setting.key if self._setting else ""

    async def listen(self, port: int = 0) -> int:
        """The port it listens on; DOD395 with the holder when it is taken."""
        sock = listening_socket(port, "edge")
        self._server = await asyncio.start_server(self._connected, sock=sock, limit=2**17)
        self.port = int(sock.getsockname()[1])
        return self.port

    def serve(self, spec: EdgeSpec, key: str, upstreams: dict[str, int]) -> None:
        """From the next request on: `spec`, with `upstreams` the loopback port of each service it names."""
        self._setting = Setting(spec=spec, key=key, upstreams=upstreams, kept=self.kept)
        self.kept.forget()

    async def close(self, drain_s: float = DRAIN_S) -> None:
        """Take no new connection, let open requests finish within `drain_s`, then end them."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.kept.forget()
        for stream in self._idle:
            stream.writer.close()
        if self._busy:
            await asyncio.wait(self._busy, timeout=drain_s)
        for task in self._busy:
            task.cancel()
        await asyncio.gather(*self._busy, return_exceptions=True)
        self._lines.close()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a stream callback is a task
        client = Stream(reader, writer)
        if len(self._busy) >= self.most and not self._make_room():
            client.abort()
            return
        self._busy.add(task)
        peer = writer.get_extra_info("peername")
        try:
            while self._setting is not None and await self._one(client, self._setting, str(peer[0]) if peer else ""):
                if self._server is None:
                    break
        except asyncio.CancelledError:
            client.abort()
        except ClientGoneError:
            pass
        finally:
            self._busy.discard(task)
            await client.close()

    def _make_room(self) -> bool:
        """Whether the connection that said nothing for the longest was closed: silence must not keep others out."""
        longest = next(iter(self._idle), None)
        if longest is not None:
            del self._idle[longest]
            longest.writer.close()
        return longest is not None

    async def _one(self, client: Stream, setting: Setting, client_ip: str) -> bool:
        spec = setting.spec
        refused: EdgeRefusedError | None = None
        raw = b""
        self._idle[client] = None
        try:
            raw = await client.head(spec.header_bytes, spec.idle_timeout_s, spec.head_timeout_s)
        except EdgeRefusedError as found:
            refused = found
        finally:
            self._idle.pop(client, None)
        if not raw and refused is None:
            return False
        record = Record(
            request_id=format_request_id(time.time_ns() // 1_000_000, secrets.randbits(74)),
            span_id=format_span_id(secrets.randbits(48)),
            ray=secrets.token_hex(8),
            began=time.perf_counter(),
        )
        exchange = EdgeExchange(client, self._setting or setting, record, client_ip, self._limiter)
        try:
            return await (exchange.run(raw) if refused is None else exchange.refuse(refused))
        finally:
            self._write_line(record, exchange.client_ip)

    def _write_line(self, record: Record, client_ip: str) -> None:
        line = {
            "ts": time.time(),
            "v": LINE_VERSION,
            "type": "http",
            "service": "edge",
            "env": self.env,
            "requestId": record.request_id,
            "traceId": record.request_id,
            "spanId": record.span_id,
            "method": record.method if record.method in METHODS else OTHER_METHOD,
            "route": record.route or UNMATCHED,
            "status": record.status or 499,
            "outcome": record.outcome or "aborted",
            "latencyMs": round(record.latency_ms, 3),
            "bytesOut": record.bytes_out,
            "cfRay": record.ray,
            "clientNetwork": _network(client_ip),
        }
        if record.ttfb_ms:
            line["ttfbMs"] = round(record.ttfb_ms, 3)
        if record.code:
            line |= {"code": record.code, "reason": record.reason}
        if not record.route and record.path:
            line["path"] = record.path[:128]
        given = record.client_request_id[:65].encode("latin-1")
        if is_request_id(given):
            line["clientRequestId"] = given.decode()
        self._lines.write(dump(line))


def most_connections() -> int:
    """How many connections at once leave descriptors for everything else that this process does.

    A request takes four: from the client, to and through the stable address, to the service.
    """
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if descriptors == resource.RLIM_INFINITY:
        return MOST_CONNECTIONS
    return max(FEWEST_CONNECTIONS, min(MOST_CONNECTIONS, (descriptors - min(256, descriptors // 4)) // 4))


@functools.lru_cache(4096)
def _network(address: str) -> str:
    """The client's network, not the client: /24 or /48."""
    with contextlib.suppress(ValueError):
        parsed = ipaddress.ip_address(address)
        return str(ipaddress.ip_network((parsed, 24 if parsed.version == 4 else 48), strict=False))
    return ""
