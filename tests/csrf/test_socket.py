"""Hostile bytes on a real socket, through uvicorn: refused, never a 500, the handler never ran."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import time

import uvicorn
from tests.csrf.driver import APP, EVIL, FORM, Handler, guarded, multipart


@contextlib.asynccontextmanager
async def serving(**policy):
    """(port, handler) of the layer behind a server that listens."""
    listener = socket.create_server(("127.0.0.1", 0))
    handler = Handler()
    app = guarded(handler, body_limit=200_000, clock=time.time, **policy)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, http="h11", ws="none"))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1], handler
    finally:
        server.should_exit = True
        await task
        listener.close()


async def speak(port: int, data: bytes) -> bytes:
    """What the server answers to exactly these bytes, until it closes or has answered whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await writer.drain()
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
            length = re.search(rb"content-length: ([0-9]+)", head.lower())
            if length:
                return head + await reader.readexactly(int(length[1]))
            return head + (await reader.readuntil(b"0\r\n\r\n") if b"chunked" in head else b"")
        return b""
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def request(*headers: str, method: str = "POST", path: str = "/save", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: app.example.com", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


def status(answer: bytes) -> int:
    return int(answer[9:12]) if answer else 0


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


async def enter(port: int) -> tuple[str, str]:
    """(cookie, token) of a visitor."""
    answer = await speak(port, request(method="GET", path="/form"))
    cookie = re.search(rb"set-cookie: ([^;]+)", answer)[1].decode()
    return cookie, re.search(rb"d1\.[A-Za-z0-9._-]{100}", answer)[0].decode()


def hostile(cookie: str, token: str) -> dict[str, bytes]:
    """Requests none of which may reach the handler."""
    form = f"csrf_token={token}".encode()
    same, kind, cookies = "Sec-Fetch-Site: same-origin", f"Content-Type: {FORM}", f"Cookie: {cookie}"
    length = f"Content-Length: {len(form)}"
    upload_kind, upload = multipart(("csrf_token", token.encode(), "token.txt"))
    return {
        "nothing": request(),
        "cross-site": request("Sec-Fetch-Site: cross-site", kind, cookies, length, body=form),
        "foreign origin": request(f"Origin: {EVIL}", kind, cookies, length, body=form),
        "two origins": request(f"Origin: {APP}", f"Origin: {EVIL}", kind, cookies, length, body=form),
        "origin list": request(f"Origin: {APP}, {EVIL}", kind, cookies, length, body=form),
        "user info": request("Origin: https://app.example.com@evil.example", kind, cookies, length, body=form),
        "null": request("Origin: null", kind, cookies, length, body=form),
        "obsolete fold": request("Origin: https://evil.example\r\n https://app.example.com", kind, cookies, length, body=form),
        "two cookies": request(same, kind, cookies, cookies, length, body=form),
        "cookie twice in one": request(same, kind, f"{cookies}; {cookie}", length, body=form),
        "no cookie, no vouching": request(f"Origin: {APP}", kind, length, body=form),
        "two fields": request(same, kind, cookies, f"Content-Length: {2 * len(form) + 1}", body=form + b"&" + form),
        "two headers": request(same, cookies, f"X-CSRF-Token: {token}", f"x-csrf-token: {token}"),
        "wrong type": request(same, "Content-Type: text/plain", cookies, length, body=form),
        "two types": request(same, kind, "Content-Type: text/plain", cookies, length, body=form),
        "file part": request(same, f"Content-Type: {upload_kind}", cookies, f"Content-Length: {len(upload)}", body=upload),
        "odd method": request(f"Origin: {EVIL}", method="PURGE"),
        "override": request(f"Origin: {EVIL}", "X-HTTP-Method-Override: DELETE", method="GET"),
        "encoded slash": request(f"Origin: {EVIL}", path="/a%2f..%2fsave"),
        "dots": request(f"Origin: {EVIL}", path="/../save"),
        "null byte": request(f"Origin: {EVIL}", path="/save%00"),
        "long token": request(same, cookies, "X-CSRF-Token: " + "d1." + "A" * 20000),
        "not ascii": request(same, cookies, "X-CSRF-Token: dé1.é"),
        "too long": request(same, kind, cookies, "Content-Length: 200001"),
        "length and chunked": request(same, kind, cookies, length, "Transfer-Encoding: chunked", body=chunked(b"a=1")),
        "chunked without token": request(same, kind, cookies, "Transfer-Encoding: chunked", body=chunked(b"a=", b"1")),
        "chunked, endless": request(same, kind, cookies, "Transfer-Encoding: chunked", body=chunked(*[b"x" * 9000] * 40)),
        "websocket": request(
            f"Origin: {EVIL}", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==", method="GET", path="/ws",
        ),
    }  # fmt: skip


async def test_hostile_bytes_are_refused_and_never_reach_the_handler():
    """Each answer is a refusal or a request that the server itself does not accept; none is a 500."""
    async with serving() as (port, handler):
        cookie, token = await enter(port)
        for name, data in hostile(cookie, token).items():
            answer = await speak(port, data)
            assert status(answer) in (0, 400, 403, 413, 426, 431) or name == "websocket", (name, answer)
            assert handler.calls == [], name
            if b"application/json" in answer:
                assert json.loads(answer.partition(b"\r\n\r\n")[2])["requestId"], name


async def test_genuine_bytes_pass_however_they_are_cut():
    """Declared, chunked and chunk by chunk; header names in any case."""
    async with serving() as (port, handler):
        cookie, token = await enter(port)
        form = f"a=1&csrf_token={token}&b=2".encode()
        head = ["SEC-FETCH-SITE: same-origin", f"content-TYPE: {FORM}", f"COOKIE: x=1; {cookie}; y=2"]
        whole = request(*head, f"Content-Length: {len(form)}", body=form)
        cut = request(*head, "Transfer-Encoding: chunked", body=chunked(*[form[i : i + 1] for i in range(len(form))]))
        for data in (whole, cut):
            assert status(await speak(port, data)) == 200
        assert [body for _, _, body in handler.calls] == [form, form]


async def test_form_that_never_ends_is_refused_in_time_and_its_connection_ends():
    """Neither silence nor a byte now and then holds a connection: 408 with a request id, and the server hangs up."""
    async with serving(search_timeout=0.2) as (port, handler):
        cookie, token = await enter(port)
        sent = ["Sec-Fetch-Site: same-origin", f"Content-Type: {FORM}", f"Cookie: {cookie}", "Content-Length: 5000"]
        for start in (b"", b"a=1&b", f"csrf_token={token}&a=".encode()):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request(*sent, body=start))
            answer = await asyncio.wait_for(reader.read(), 10)
            writer.close()
            assert (status(answer), b"DOD157" in answer, b"requestId" in answer) == (408, True, True), start
        assert handler.calls == []


async def test_report_mode_hands_a_slow_form_on():
    """What was read by then is given to the application again, and so is what comes after."""
    async with serving(search_timeout=0.05, mode="report") as (port, handler):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request(f"Content-Type: {FORM}", "Content-Length: 7", body=b"a=1"))
        await asyncio.sleep(0.2)  # not a wait: the pause is the input
        writer.write(b"&b=2")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
        writer.close()
        assert (status(head), [body for _, _, body in handler.calls]) == (200, [b"a=1&b=2"])
