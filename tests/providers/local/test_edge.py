from __future__ import annotations

import asyncio
import json

import httpx2
import pytest
from tests.support.wait import until_async

from dodai.operations.ports import CacheRule, EdgeSpec
from dodai.providers.local.edge import EdgeServer
from dodai.providers.local.loopback import free_port


class Site:
    """An edge in front of one scripted upstream, both on real sockets."""

    def __init__(self, edge, folder):
        self.edge = edge
        self.folder = folder
        self.url = edge.url
        self.seen = []  # raw heads and bodies the upstream got
        self.closed = 0
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        self.behave = None

    async def upstream(self, reader, writer):
        try:
            if self.behave is not None:
                await self.behave(reader, writer)
                return
            head = await reader.readuntil(b"\r\n\r\n")
            self.seen.append(head)
            writer.write(self.answer)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.closed += 1
            writer.close()

    async def get(self, path="/", method="GET", **more):
        async with httpx2.AsyncClient(timeout=10) as http:
            return await http.request(method, self.url + path, **more)

    async def raw(self, data, *, half_close=False):
        """Everything the edge sends back for these bytes, until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.edge.port)
        writer.write(data)
        if half_close:
            writer.write_eof()
        try:
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()

    def headers(self, number=-1):
        lines = self.seen[number].decode("latin-1").split("\r\n")[1:-2]
        return [tuple(line.split(": ", 1)) for line in lines]

    def lines(self):
        files = (self.folder / "lines").glob("edge-*")
        return [json.loads(line) for file in files for line in file.read_text().splitlines()]


async def open_site(folder, **settings):
    edge = EdgeServer(folder, "test")
    await edge.listen()
    site = Site(edge, folder)
    server = await asyncio.start_server(site.upstream, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    settings.setdefault("routes", (("/", "web"),))
    edge.serve(EdgeSpec(**settings), "the-edge-key", {"web": port, "none": free_port()})
    return site, server


@pytest.fixture
async def site(tmp_path):
    found, server = await open_site(
        tmp_path,
        routes=(("/", "web"), ("/none", "none")),
        cache=(CacheRule(prefix="/static/*", ttl_s=3600),),
        header_bytes=4096,
        body_bytes=100_000,
        head_timeout_s=0.3,
        idle_timeout_s=0.5,
        response_timeout_s=0.5,
    )
    yield found
    await found.edge.close(0)
    server.close()


async def test_what_only_a_trusted_hop_may_say_is_stripped_and_set_anew(site):
    """A client cannot claim an address, an id, a user or the key, however it spells the header."""
    forged = {
        "X-Edge-Key": "guess", "x_edge_key": "guess", "X-Forwarded-For": "6.6.6.6", "X_Forwarded_Proto": "https",
        "Forwarded": "for=6.6.6.6", "X-Request-Id": "chosen-by-client", "X-User-Id": "admin", "x-user-proof": "p",
        "traceparent": "00-" + "a" * 32 + "-" + "b" * 16 + "-01", "X-Edge-Ray": "r", "x-real-ip": "6.6.6.6",
        "x-dodai-anything": "1",
    }  # fmt: skip
    response = await site.get("/page?q=1", headers={**forged, "Cookie": "a=b", "Accept-Language": "ja"})
    got = dict(site.headers())
    assert "6.6.6.6" not in str(got)
    assert not {"admin", "guess", "chosen-by-client", "p", "1"} & set(got.values())
    assert len(site.headers()) == len(got), "no header twice"
    assert got["x-forwarded-for"] == "127.0.0.1"
    assert got["x-forwarded-proto"] == "http"
    assert got["x-forwarded-host"] == got["host"] == f"127.0.0.1:{site.edge.port}"
    assert got["x-edge-key"] == "the-edge-key"
    assert got["cookie"] == "a=b"
    assert got["x-request-id"] == response.headers["x-request-id"]
    assert got["traceparent"].startswith(f"00-{got['x-request-id']}-")
    assert got["x-edge-ray"] == response.headers["x-edge-ray"]
    assert site.seen[-1].startswith(b"GET /page?q=1 HTTP/1.1\r\n")


async def test_a_header_named_in_connection_is_dropped_but_never_host_or_what_the_edge_sets(site):
    """`Connection: x-edge-key` must not remove the key (RFC 9110 section 7.6.1)."""
    await site.raw(
        b"GET / HTTP/1.1\r\nHost: a.example\r\nX-Mine: 1\r\n"
        b"Connection: close, X-Mine, X-Edge-Key, Host, X-Request-Id\r\n\r\n"
    )
    got = dict(site.headers())
    assert "x-mine" not in got
    assert got["host"] == "a.example"
    assert got["x-edge-key"] == "the-edge-key"
    assert "connection" not in got


BOTH = b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"
SMUGGLING = {
    "length and coding": (b"POST / HTTP/1.1\r\nHost: a\r\n" + BOTH + b"\r\n0\r\n\r\nGET /admin HTTP/1.1\r\n\r\n", 400),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nabcde", 400),
    "same length twice": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", 400),
    "list of lengths": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4, 4\r\n\r\nabcd", 400),
    "signed length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd", 400),
    "negative length": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400),
    "unknown coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "coding twice": (b"POST / HTTP/1.1\r\nHost: a\r\n" + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", 501),
    "odd coding": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
    "coding in 1.0": (b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 501),
    "folded header": (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\r\n Content-Length: 3\r\n\r\n", 400),
    "space before colon": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc", 400),
    "bare line feed": (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\nX-Edge-Key: k\r\n\r\n", 400),
    "line feeds only": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare carriage return": (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\rX-B: c\r\n\r\n", 400),
    "nul": (b"GET / HTTP/1.1\r\nHost: a\r\nX-A: b\0c\r\n\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    "odd host": (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
    "absolute target": (b"GET http://other/ HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "connect": (b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "trace": (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", 405),
    "fragment": (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "not http": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "bad chunk": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", 400),
}


@pytest.mark.parametrize("case", SMUGGLING)
async def test_a_request_that_can_be_read_in_two_ways_is_refused(site, case):
    """One coded answer, the connection closed, and nothing of a second request reaches the service."""

    async def body_first(reader, _):
        site.seen.append(await reader.read())

    site.behave = body_first
    data, status = SMUGGLING[case]
    answer = await site.raw(data, half_close=case == "bad chunk")
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"x-request-id: " in answer
    assert b'"DOD550"' in answer
    assert not any(b"admin" in seen for seen in site.seen)


async def test_pipelined_requests_are_answered_one_by_one_in_order(site):
    """What came early is kept for its turn, each on an upstream connection of its own."""
    request = b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n%s\r\nabc"
    site.behave = None
    answer = await site.raw(request % (1, b"") + request % (2, b"") + request % (3, b"Connection: close\r\n"))
    assert answer.count(b"HTTP/1.1 200 OK") == 3
    assert [head.split()[1] for head in site.seen] == [b"/1", b"/2", b"/3"]


RESERVED = [
    "/-/dodai", "/-/dodai/", "/-/dodai/metrics", "/%2d/dodai/x", "/-/%64odai/x", "//-/dodai/x", "/a/../-/dodai/x",
    "/./-/dodai/x", "/-/dodai%2fx", "/-/DODAI/x", "/-//dodai/x", "/%252d/dodai/x", "/-\\dodai\\x", "/-/dodai/csrf/",
    "/-/dodai/csrf/../metrics", "/-/dodai/%63srf", "/-;a/dodai;b/x", "/-/dodai/csrf%3f/../x", "/x/%2e%2e/-/dodai/y",
]  # fmt: skip


@pytest.mark.parametrize("path", RESERVED)
async def test_reserved_paths_are_blocked_however_they_are_spelled(site, path):
    """404 and DOD553; the service never sees them."""
    answer = await site.raw(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"DOD553"' in answer
    assert not site.seen


@pytest.mark.parametrize("path", ["/-/dodai/csrf", "/-/dodai/probe", "/-/dodai/csrf?a=1", "/-/dodaix", "/a-/dodai/x"])
async def test_the_open_reserved_paths_and_those_that_only_look_like_it_pass(site, path):
    """Token refresh and the probe, and nothing else."""
    assert (await site.get(path)).status_code == 200


async def test_only_declared_paths_are_cached_publicly(site):
    """A page that says `public` by mistake, or says nothing, stays private; so does a static file with a cookie."""
    ok = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n%s\r\nok"
    site.answer = ok % b"cache-control: public, max-age=600\r\n"
    page = await site.get("/me")
    assert (page.headers["cache-control"], page.headers["x-edge-cache"]) == ("private, no-cache", "BYPASS")
    site.answer = ok % b""
    assert (await site.get("/me")).headers["cache-control"] == "private, no-cache"
    static = await site.get("/static/app.css")
    assert (static.headers["cache-control"], static.headers["x-edge-cache"]) == ("public, max-age=3600", "MISS")
    site.answer = ok % b"set-cookie: a=b\r\n"
    assert (await site.get("/static/app.css")).headers["x-edge-cache"] == "BYPASS"
    site.answer = ok % b"cache-control: no-store\r\n"
    assert (await site.get("/static/app.css")).headers["cache-control"] == "no-store"
    assert (await site.get("/static/../me")).headers["cache-control"] == "no-store"
    assert (await site.get("/static/x", "POST")).headers["x-edge-cache"] == "BYPASS"


async def test_a_service_that_is_down_gives_a_coded_page_with_the_request_id(site):
    """JSON for programs, HTML for people, in their language; the id is in header, page and line."""
    answer = await site.get("/none/x", headers={"accept": "application/json"})
    assert answer.status_code == 502
    assert answer.json()["error"]["code"] == "DOD554"
    assert answer.json()["requestId"] == answer.headers["x-request-id"]
    page = await site.get("/none/x", headers={"accept": "text/html", "accept-language": "ja"})
    assert page.headers["content-type"].startswith("text/html")
    assert "現在このサイトは応答していません" in page.text
    assert "dodai" not in page.text
    assert "エッジ" not in page.text
    assert page.headers["x-request-id"] in page.text
    await until_async(lambda: len(site.lines()) == 2)
    assert [line["requestId"] for line in site.lines()] == [
        answer.headers["x-request-id"],
        page.headers["x-request-id"],
    ]
    assert site.lines()[0]["code"] == "DOD554"


async def test_a_service_that_does_not_answer_gives_504(site):
    """Within the response timeout, not the client's patience."""

    async def mute(reader, _):
        await reader.read()

    site.behave = mute
    answer = await site.get("/")
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "DOD555")
    await until_async(site.lines)
    assert site.lines()[0]["outcome"] == "timeout"


@pytest.mark.parametrize("method", ["POST", "GET", "PUT", "DELETE"])
async def test_a_request_that_was_sent_is_never_sent_again(site, method):
    """The service took the request and died: 502, one attempt."""

    async def die(reader, _):
        site.seen.append(await reader.readuntil(b"\r\n\r\n"))

    site.behave = die
    assert (await site.get("/", method)).status_code == 502
    assert len(site.seen) == 1


async def test_an_answer_that_breaks_off_breaks_off_for_the_client_too(site):
    """Half a page must not look like a whole one."""

    async def half(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await writer.drain()

    site.behave = half
    with pytest.raises((httpx2.RemoteProtocolError, httpx2.ReadError)):
        await site.get("/")
    await until_async(site.lines)
    assert (site.lines()[0]["outcome"], site.lines()[0]["status"]) == ("aborted", 200)


async def test_an_answer_without_a_length_that_breaks_off_is_reset(site):
    """To an HTTP/1.0 client the end of the connection is the end of the page: only a reset can tell it was not."""

    async def half(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await writer.drain()

    site.behave = half
    with pytest.raises(ConnectionError):
        await site.raw(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")


async def test_the_answer_streams(site):
    """Each part reaches the client before the next one is sent."""
    heard = asyncio.Event()

    async def slowly(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\none")
        await writer.drain()
        await asyncio.wait_for(heard.wait(), 10)
        writer.write(b"two")
        await writer.drain()

    site.behave = slowly
    async with httpx2.AsyncClient(timeout=10) as http, http.stream("GET", site.url + "/") as response:
        parts = response.aiter_raw()
        assert await anext(parts) == b"one"
        heard.set()
        assert await anext(parts) == b"two"


async def test_the_request_body_streams(site):
    """The service sees the first part before the client sends the second."""
    heard = asyncio.Event()

    async def listen(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        site.seen.append(await reader.readuntil(b"one\r\n"))
        heard.set()
        site.seen.append(await reader.readuntil(b"0\r\n\r\n"))
        writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        await writer.drain()

    async def parts():
        yield b"one"
        await asyncio.wait_for(heard.wait(), 10)
        yield b"two"

    site.behave = listen
    assert (await site.get("/", "POST", content=parts())).status_code == 204
    assert site.seen[1] == b"3\r\ntwo\r\n0\r\n\r\n"


async def test_an_early_answer_reaches_a_client_that_is_still_sending(site):
    """The application refuses after the head; the client hears why."""

    async def refuse(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno")
        await writer.drain()

    site.behave = refuse
    answer = await site.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 50000\r\n\r\nabc")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert answer.endswith(b"no")
    assert b"connection: close\r\n" in answer.lower()


async def test_a_body_above_the_limit_is_refused_declared_or_not(site):
    """413 with DOD551; a declared one never reaches the service."""
    declared = await site.get("/", "POST", content=b"x" * 100_001)
    assert (declared.status_code, declared.json()["error"]["code"]) == (413, "DOD551")
    assert not site.seen

    async def swallow(reader, _):
        await reader.read()

    async def parts():
        for _ in range(30):
            yield b"x" * 10_000

    site.behave = swallow
    chunked = await site.get("/", "POST", content=parts())
    assert chunked.status_code == 413


async def test_headers_above_the_limit_are_refused(site):
    """431, for size and for number."""
    assert (await site.get("/", headers={"x-big": "x" * 5000})).status_code == 431
    assert (await site.get("/", headers={f"x-{n}": "1" for n in range(120)})).status_code == 431


async def test_a_client_that_sends_its_head_or_body_too_slowly_is_refused(site):
    """408: a connection cannot be held for ever (slowloris)."""
    head = await site.raw(b"GET / HTTP/1.1\r\nHost: a\r\nX-A: ")
    assert head.startswith(b"HTTP/1.1 408 ")

    async def swallow(reader, _):
        await reader.read()

    site.behave = swallow
    site.edge.serve(EdgeSpec(routes=(("/", "web"),), idle_timeout_s=0.2), "k", site.edge._setting.upstreams)
    body = await site.raw(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
    assert body.startswith(b"HTTP/1.1 408 ")


async def test_a_silent_connection_is_closed_without_a_word(site):
    """Nothing was asked, nothing is answered, no line is written."""
    assert await site.raw(b"") == b""
    assert not site.lines()


async def test_a_client_that_leaves_ends_the_upstream_request(site):
    """The application can stop working for somebody who is gone."""
    started = asyncio.Event()

    async def watch(reader, _):
        await reader.readuntil(b"\r\n\r\n")
        started.set()
        with pytest.raises(ConnectionError):
            await reader.readexactly(1)
        site.seen.append(b"gone")

    site.edge.serve(EdgeSpec(routes=(("/", "web"),)), "k", site.edge._setting.upstreams)
    site.behave = watch
    _, writer = await asyncio.open_connection("127.0.0.1", site.edge.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await asyncio.wait_for(started.wait(), 10)
    writer.close()
    await until_async(site.lines)
    assert (site.lines()[0]["outcome"], site.lines()[0]["status"]) == ("client_gone", 499)
    await until_async(lambda: site.closed)


async def test_a_client_that_stops_reading_does_not_hold_the_edge(site):
    """The write is bounded; others are served meanwhile."""

    async def flood(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    site.behave = flood
    _, writer = await asyncio.open_connection("127.0.0.1", site.edge.port, limit=1024)
    writer.write(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    await until_async(site.lines)
    assert site.lines()[0]["outcome"] == "client_gone"
    writer.close()


async def test_a_keep_alive_connection_serves_many_requests_each_with_its_own_id(site):
    """Each is told to the service as one of its own."""
    async with httpx2.AsyncClient(timeout=10) as http:
        ids = [(await http.get(site.url + "/")).headers["x-request-id"] for _ in range(5)]
    assert len(set(ids)) == len(site.seen) == 5


async def test_head_no_content_and_not_modified_have_no_body_and_keep_the_connection(site):
    """Framing of the odd ones (RFC 9112 section 6.3)."""
    async with httpx2.AsyncClient(timeout=10) as http:
        site.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 1234\r\n\r\n"
        head = await http.head(site.url + "/")
        assert (head.headers["content-length"], head.content) == ("1234", b"")
        for status in (b"204 No Content", b"304 Not Modified"):
            site.answer = b"HTTP/1.1 " + status + b"\r\n\r\n"
            assert (await http.get(site.url + "/")).content == b""
        site.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
        assert (await http.get(site.url + "/")).text == "ok"


async def test_an_http_1_0_client_gets_an_answer_it_can_read(site):
    """No chunks, and the end of the connection ends the body."""
    site.answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
    answer = await site.raw(b"GET / HTTP/1.0\r\nHost: a\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nok")
    assert b"chunked" not in answer


async def test_a_client_that_waits_for_100_continue_gets_it(site):
    """And the service does not hear of it."""

    async def listen(reader, writer):
        site.seen.append(await reader.readuntil(b"\r\n\r\n"))
        site.seen.append(await reader.readexactly(3))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()

    site.behave = listen
    reader, writer = await asyncio.open_connection("127.0.0.1", site.edge.port)
    writer.write(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(b"abc")
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
    assert b"expect" not in site.seen[0].lower()
    writer.close()


async def test_a_websocket_passes_through(site):
    """Upgrade, then bytes both ways, the early ones included."""

    async def echo(reader, writer):
        site.seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\nhello ")
        while data := await reader.read(100):
            writer.write(data.upper())
            await writer.drain()

    site.behave = echo
    reader, writer = await asyncio.open_connection("127.0.0.1", site.edge.port)
    writer.write(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"x-request-id: " in head
    assert await reader.readexactly(6) == b"hello "
    writer.write(b"abc")
    assert await reader.readexactly(3) == b"ABC"
    writer.close()
    assert dict(site.headers())["upgrade"] == "websocket"
    assert dict(site.headers())["x-edge-key"] == "the-edge-key"
    await until_async(site.lines)
    assert site.lines()[0]["status"] == 101


async def test_websocket_on_which_only_the_server_speaks_is_not_idle(site):
    """It goes on for as long as either side says something; once neither does, it is ended."""

    async def push(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n")
        for _ in range(12):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.1)
        await reader.read()

    site.behave = push
    reader, writer = await asyncio.open_connection("127.0.0.1", site.edge.port)
    writer.write(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    assert await asyncio.wait_for(reader.read(), 30) == b"x" * 12
    writer.close()


async def test_the_line_says_what_happened_and_nothing_personal(site):
    """`ts` first, no query string, the client's network only, its own id kept."""
    response = await site.get("/quiz/7?email=a@example.com", headers={"x-request-id": "support-12345"})
    await until_async(site.lines)
    line = site.lines()[0]
    assert next(iter(line)) == "ts"
    assert line["requestId"] == response.headers["x-request-id"] != "support-12345"
    assert line["clientRequestId"] == "support-12345"
    assert (line["type"], line["service"], line["method"], line["route"]) == ("http", "edge", "GET", "/")
    assert (line["status"], line["outcome"], line["clientNetwork"]) == (200, "ok", "127.0.0.0/24")
    assert "email" not in json.dumps(line)
    assert "path" not in line


async def test_a_new_setting_counts_from_the_next_request_on(site):
    """The edge is reconfigured without a gap."""
    async with httpx2.AsyncClient(timeout=10) as http:
        assert (await http.get(site.url + "/")).status_code == 200
        site.edge.serve(EdgeSpec(routes=(("/only", "web"),)), "next-key", site.edge._setting.upstreams)
        assert (await http.get(site.url + "/")).status_code == 404
        assert (await http.get(site.url + "/only")).status_code == 200
    assert dict(site.headers())["x-edge-key"] == "next-key"


async def test_a_malformed_answer_of_the_service_is_a_bad_gateway(site):
    """Whatever the service says, the client gets HTTP."""
    for answer in (b"hello\r\n\r\n", b"HTTP/1.1 200 OK\r\nbad header\r\n\r\n", b"HTTP/1.1 101 X\r\n\r\n", b""):
        site.answer = answer
        assert (await site.get("/")).status_code == 502
