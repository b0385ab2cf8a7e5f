"""One request through the edge and its answer, streamed both ways; one with effects on a connection of its own."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import Any

import h11

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code
from dodai.core.line import Outcome, http_outcome
from dodai.core.refusal import Refusal, render
from dodai.operations.ports import EdgeSpec
from dodai.providers.local.codes import (
    EDGE_BLOCKED,
    EDGE_LIMITED,
    EDGE_NO_ANSWER,
    EDGE_SLOW,
    EDGE_TIMEOUT,
    EDGE_TOO_LARGE,
)
from dodai.providers.local.edge import request_checks
from dodai.providers.local.edge.kept_connections import (
    KeptConnections,
    StaleConnectionError,
    is_left_whole,
    may_be_sent_again,
)
from dodai.providers.local.edge.rate_limit import RateLimiter, client_of
from dodai.providers.local.edge.request_checks import VISITOR_WORDS, EdgeRefusedError, Headers, response_bytes
from dodai.providers.local.edge.stream import ClientGoneError, Stream, relay

RETRIED = (b"GET", b"HEAD")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What the edge serves at the moment a request arrives; it stays with that request."""

    spec: EdgeSpec
    key: str
    upstreams: dict[str, int]
    kept: KeptConnections


@dataclass(slots=True, kw_only=True)
class Record:
    """What the edge's line says about this request."""

    request_id: str
    span_id: str
    ray: str
    began: float
    method: str = ""
    path: str = ""
    route: str = ""
    status: int = 0
    outcome: Outcome | None = None
    code: str = ""
    reason: str = ""
    client_request_id: str = ""
    bytes_out: int = 0
    ttfb_ms: float = 0.0
    latency_ms: float = 0.0


class EdgeExchange:
    """Serves one request whose head has been read. `run` says whether the client's connection can be used again."""

    def __init__(self, client: Stream, setting: Setting, record: Record, client_ip: str, limiter: RateLimiter) -> None:
        self.client = client
        self.setting = setting
        self.spec = setting.spec
        self.record = record
        self.client_ip = client_ip
        self.limiter = limiter
        self.kept = setting.kept
        self.on_kept = False  # on a kept connection that has not answered yet
        self.left_whole = False
        self.wire = h11.Connection(h11.SERVER, max_incomplete_event_size=self.spec.header_bytes + 1024)
        self.headers: Headers = []
        self.twice = False  # nothing is lost by sending it twice
        self.body_read = False

    async def run(self, raw: bytes) -> bool:
        record = self.record
        upstream: Stream | None = None
        try:
            request = self._read_head(raw)
            route = self._allowed(request)
            port, since = self.setting.upstreams[route[1]], self.kept.round
            upstream = self.kept.take(port) if self.twice else None
            if upstream is not None:
                self.on_kept = True
                with contextlib.suppress(StaleConnectionError):
                    return await self._relay(request, upstream)
                upstream.writer.close()
                self.on_kept = False
            upstream = await self._connect(request, port)
            return await self._relay(request, upstream)
        except EdgeRefusedError as refused:
            return await self.refuse(refused)
        except ClientGoneError:
            record.outcome, record.status = record.outcome or "client_gone", record.status or 499
            self.client.abort()
            return False
        finally:
            record.latency_ms = record.latency_ms or (time.perf_counter() - record.began) * 1000
            if upstream is not None and self.left_whole:
                self.kept.keep(port, upstream, since)
            elif upstream is not None:
                upstream.writer.close() if record.outcome in _COMPLETE else upstream.abort()

    # -- before a byte goes upstream ---------------------------------------------------------------------------

    def _read_head(self, raw: bytes) -> h11.Request:
        request_checks.check_bytes(raw)
        try:
            self.wire.receive_data(raw)
            request = self.wire.next_event()
        except h11.RemoteProtocolError as error:
            raise request_checks.malformed(
                "protocol", "The request is malformed", "リクエストの形式が不正です", error.error_status_hint
            ) from None
        if not isinstance(request, h11.Request):
            raise request_checks.malformed("protocol", "The request is malformed", "リクエストの形式が不正です")
        self.headers = headers = list(request.headers)
        self.twice = may_be_sent_again(request.method, headers)
        self.record.method = request.method.decode("latin-1")
        self.record.path = request.target.partition(b"?")[0].decode("latin-1")
        self.record.client_request_id = _header(headers, b"x-request-id")
        request_checks.check_request(request.method, request.target, request.http_version, headers)
        return request

    def _allowed(self, request: h11.Request) -> tuple[str, str]:
        if request_checks.is_blocked(request.target):
            raise EdgeRefusedError(404, EDGE_BLOCKED, "reserved_path")
        if request_checks.content_length(self.headers) > self.spec.body_bytes:
            raise EdgeRefusedError(413, EDGE_TOO_LARGE, "body_too_large")
        route = request_checks.route_of(request.target, self.spec.routes)
        if route is None:
            raise EdgeRefusedError(404, EDGE_NO_ANSWER, "no_route")
        self.record.route = route[0]
        self._within_limits(request)
        return route

    def _within_limits(self, request: h11.Request) -> None:
        """Counted once it is known that a service would get it, before anybody is connected to."""
        self.client_ip = client_of(self.client_ip, self.spec.client_header, self.headers)
        limits, method = self.spec.limits, self.record.method
        name, wait_s = self.limiter.refused(limits, method, request.target, self.client_ip)
        if name:
            raise EdgeRefusedError(429, EDGE_LIMITED, f"limit:{name}", retry_after_s=max(1, math.ceil(wait_s)))

    async def _connect(self, request: h11.Request, port: int) -> Stream:
        """A fresh connection; a GET or HEAD tries twice, because nothing has been sent yet."""
        attempts = 2 if request.method in RETRIED else 1
        for attempt in range(attempts):
            try:
                async with asyncio.timeout(self.spec.connect_timeout_s):
                    return Stream(*await asyncio.open_connection("127.0.0.1", port))
            except TimeoutError:
                raise EdgeRefusedError(504, EDGE_SLOW, "connect_timeout") from None
            except OSError:
                if attempt + 1 == attempts:
                    break
        raise EdgeRefusedError(502, EDGE_NO_ANSWER, "connect_failed")

    # -- both ways ---------------------------------------------------------------------------------------------

    async def _relay(self, request: h11.Request, upstream: Stream) -> bool:
        wire = h11.Connection(h11.CLIENT)
        upgrade = request_checks.wants_websocket(request.method, self.headers)
        fields = request_checks.forwarded(self.headers, self._added(upgrade=upgrade))
        outgoing = h11.Request(method=request.method, target=request.target, headers=fields)
        await self._send(upstream, wire.send(outgoing))
        pump = asyncio.ensure_future(self._pump(upstream, wire))
        answer = asyncio.ensure_future(self._return(request, upstream, wire))
        try:
            await asyncio.wait([pump, answer], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() and pump.done() and pump.exception() is None:
                await answer
        finally:
            for task in (pump, answer):
                task.cancel()
            await asyncio.gather(pump, answer, return_exceptions=True)
        if answer.done() and not answer.cancelled():
            switched = answer.result()
        else:
            pump.result()
            raise ClientGoneError
        if switched:
            self.client.kept[:0] = self.wire.trailing_data[0]
            upstream.kept[:0] = wire.trailing_data[0]
            await relay(self.client, upstream, self.spec.response_timeout_s)
            return False
        self.left_whole = self.twice and is_left_whole(wire)
        return self.body_read and self.wire.our_state is h11.DONE and not self._says_close(request)

    def _added(self, *, upgrade: bool) -> Headers:
        """What this hop vouches for."""
        record, host = self.record, _header(self.headers, b"host")
        added = [
            (b"x-forwarded-for", self.client_ip.encode()),
            (b"x-forwarded-proto", self.spec.scheme.encode()),
            (b"x-forwarded-host", host.encode("latin-1")),
            (b"x-edge-key", self.setting.key.encode()),
            (b"x-edge-ray", record.ray.encode()),
            (b"x-request-id", record.request_id.encode()),
            (b"traceparent", f"00-{record.request_id}-{record.span_id}-01".encode()),
        ]
        if any(name == b"transfer-encoding" for name, _ in self.headers):
            added.append((b"transfer-encoding", b"chunked"))
        if upgrade:
            return [*added, (b"connection", b"Upgrade"), (b"upgrade", b"websocket")]
        return added if self.twice else [*added, *_CLOSE]

    async def _send(self, upstream: Stream, data: bytes | None) -> bool:
        """Whether the service took it; one that has stopped reading may still answer."""
        with contextlib.suppress(ClientGoneError):
            await upstream.write(data, self.spec.response_timeout_s)
            return True
        return False

    async def _pump(self, upstream: Stream, wire: h11.Connection) -> None:
        """Pass the request's body on as it comes, then watch for the client leaving."""
        if self.body_read:  # sent again
            await self._send(upstream, wire.send(h11.EndOfMessage()))
            await self.client.gone()
            raise ClientGoneError
        length = 0
        if self.wire.they_are_waiting_for_100_continue:
            await self._to_client(
                self.wire.send(h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue"))
            )
        while True:
            event = self._next_event()
            if event is h11.NEED_DATA:
                await self._receive()
            elif isinstance(event, h11.Data):
                length += len(event.data)
                if length > self.spec.body_bytes:
                    raise EdgeRefusedError(413, EDGE_TOO_LARGE, "body_too_large")
                if not await self._send(upstream, wire.send(h11.Data(data=bytes(event.data)))):
                    return
            else:
                break
        self.body_read = True
        await self._send(upstream, wire.send(h11.EndOfMessage()))
        self.client.kept[:0] = self.wire.trailing_data[0]
        await self.client.gone()
        raise ClientGoneError

    def _next_event(self) -> Any:
        try:
            return self.wire.next_event()
        except h11.RemoteProtocolError:
            raise request_checks.malformed(
                "body", "The request body is malformed", "リクエスト本文の形式が不正です"
            ) from None

    async def _receive(self) -> None:
        try:
            async with asyncio.timeout(self.spec.idle_timeout_s):
                data = await self.client.read()
        except TimeoutError:
            raise EdgeRefusedError(408, EDGE_TIMEOUT, "slow_body") from None
        if not data:
            raise ClientGoneError
        self.wire.receive_data(data)

    async def _return(self, request: h11.Request, upstream: Stream, wire: h11.Connection) -> bool:
        """Pass the answer on as it comes, what came together in one piece; True when the protocol was switched."""
        ready = bytearray()
        while True:
            try:
                event = wire.next_event()
            except h11.RemoteProtocolError:
                if self.on_kept:
                    raise StaleConnectionError from None
                await self._to_client(bytes(ready))
                raise self._broken(EDGE_NO_ANSWER, "upstream_ended") from None
            if event is h11.NEED_DATA:
                await self._to_client(bytes(ready))
                ready.clear()
                await self._hear(upstream, wire)
            elif isinstance(event, h11.InformationalResponse) and event.status_code == 101:
                fields = [*event.headers, *self._ours()]
                self.record.status = 101
                switch = h11.InformationalResponse(status_code=101, headers=fields, reason=b"Switching Protocols")
                await self._to_client(self.wire.send(switch))
                return True
            elif isinstance(event, h11.Response):
                ready += self._answer_head(request, event)
            elif isinstance(event, h11.Data):
                self.record.bytes_out += len(event.data)
                ready += self.wire.send(h11.Data(data=bytes(event.data))) or b""
            elif isinstance(event, h11.EndOfMessage):
                await self._to_client(bytes(ready) + (self.wire.send(h11.EndOfMessage()) or b""))
                self.record.outcome = http_outcome(self.record.status)
                return False

    async def _hear(self, upstream: Stream, wire: h11.Connection) -> None:
        try:
            async with asyncio.timeout(self.spec.response_timeout_s):
                wire.receive_data(data := await upstream.read())
        except TimeoutError:
            raise self._broken(EDGE_SLOW, "upstream_timeout", 504) from None
        self.on_kept = self.on_kept and not data

    def _broken(self, code: Code, reason: str, status: int = 502) -> Exception:
        """The service failed: a page while that is possible, else a connection that visibly breaks off."""
        if self.record.status == 0:
            return EdgeRefusedError(status, code, reason)
        self.record.outcome, self.record.reason, self.record.code = "aborted", reason, code.id
        return BrokenOffError()

    def _answer_head(self, request: h11.Request, response: h11.Response) -> bytes:
        record, fields = self.record, list(response.headers)
        if any(name == b"transfer-encoding" for name, _ in fields):
            fields = [pair for pair in fields if pair[0] != b"content-length"]  # RFC 9112 section 6.3
        record.ttfb_ms = (time.perf_counter() - record.began) * 1000
        cache = request_checks.caching(request.method, request.target, response.status_code, fields, self.spec.cache)
        record.status = response.status_code
        unread = [] if self.body_read else _CLOSE  # the rest of the request would be taken for the next one
        fields = request_checks.returned(fields, [*self._ours(), *cache, *unread])
        answer = h11.Response(status_code=response.status_code, headers=fields, reason=response.reason)
        return self.wire.send(answer) or b""

    def _ours(self) -> Headers:
        return [(b"x-request-id", self.record.request_id.encode()), (b"x-edge-ray", self.record.ray.encode())]

    async def _to_client(self, data: bytes | None) -> None:
        await self.client.write(data, self.spec.idle_timeout_s)

    def _says_close(self, request: h11.Request) -> bool:
        return request.http_version != b"1.1" or "close" in _header(self.headers, b"connection").lower()

    # -- our own pages -----------------------------------------------------------------------------------------

    async def refuse(self, refused: EdgeRefusedError) -> bool:
        """Answer with our own page and end the connection; False, as `run`."""
        record = self.record
        if record.status:
            record.outcome = record.outcome or "aborted"
            self.client.abort()
            return False
        record.status, record.code, record.reason = refused.status, refused.code.id, refused.reason
        record.outcome = http_outcome(refused.status)
        page = render(
            Refusal(
                refused.status,
                refused.code,
                refused.reason,
                refused.message,
                visitor=VISITOR_WORDS.get(refused.code.id),
            ),
            record.request_id,
            accept=_header(self.headers, b"accept"),
            accept_language=_header(self.headers, b"accept-language"),
        )
        later = [(b"retry-after", str(refused.retry_after_s).encode())] if refused.retry_after_s else []
        fields = [*page.headers, *later, (b"x-edge-ray", record.ray.encode()), (b"x-edge-cache", b"BYPASS"), *_CLOSE]
        body = b"" if record.method == "HEAD" else page.body
        record.bytes_out = len(body)
        record.latency_ms = (time.perf_counter() - record.began) * 1000
        with contextlib.suppress(ClientGoneError):
            await self._to_client(response_bytes(refused.status, fields, body))
            await self._linger()
        return False

    async def _linger(self) -> None:
        """Read a little of what the client is still sending, so that closing does not reset the answer away."""
        with contextlib.suppress(OSError, TimeoutError):
            self.client.writer.write_eof()
            async with asyncio.timeout(1.0):
                total = 0
                while total < 4 * self.spec.body_bytes and (data := await self.client.read()):
                    total += len(data)


class BrokenOffError(ClientGoneError):
    """The service ended in the middle of its answer."""


_COMPLETE = ("ok", "client_error", "server_error", "timeout")
_CLOSE: Headers = [(b"connection", b"close")]


def _header(headers: Any, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key == name), "")
