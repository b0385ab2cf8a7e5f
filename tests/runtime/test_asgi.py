"""The ASGI layer behind a real uvicorn: what people get, and the one line about it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from tests.support.wait import until_async

import dodai.asgi
from dodai.asgi.layer import network_of
from dodai.core.request import current, is_request_id
from dodai.runtime import RuntimeConfig

Config = Callable[..., RuntimeConfig]
Lines = Callable[..., list[dict[str, Any]]]


async def hello(request: Request) -> Response:
    dodai.asgi.set_user(42)
    return PlainTextResponse("hello " + (request.headers.get("x-edge-key") or "no key"))


async def boom(_: Request) -> Response:
    raise ValueError("taro@example.com")


async def late(_: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        yield b"first"
        raise ValueError("taro@example.com")

    return StreamingResponse(body())


async def stream(_: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"x" * 100

    return StreamingResponse(body())


async def endless(_: Request) -> Response:
    async def body() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * 1000
            await asyncio.sleep(0.005)

    return StreamingResponse(body())


async def background(request: Request) -> Response:
    async def work() -> None:
        if "fail" in request.query_params:
            raise ValueError("taro@example.com")
        await asyncio.sleep(0.3)

    return PlainTextResponse("done", background=BackgroundTask(work))


async def own_500(_: Request) -> Response:
    return JSONResponse({"mine": True}, status_code=500)


async def plain_500(_: Request) -> Response:
    return PlainTextResponse("Internal Server Error", status_code=500)


async def own_id(_: Request) -> Response:
    return PlainTextResponse("x", headers={"X-Request-Id": "mine-0123456789"})


async def times_out(_: Request) -> Response:
    raise TimeoutError


async def echo_id(_: Request) -> Response:
    return PlainTextResponse(await asyncio.to_thread(lambda: current().request_id))


APP = Starlette(
    routes=[
        Route("/hello/{name}", hello),
        Route("/healthz", hello),
        Route("/boom", boom),
        Route("/late", late),
        Route("/stream", stream),
        Route("/endless", endless),
        Route("/background", background),
        Route("/own-500", own_500),
        Route("/plain-500", plain_500),
        Route("/own-id", own_id),
        Route("/times-out", times_out),
        Route("/echo-id", echo_id),
        Mount("/api", routes=[Route("/users/{id}", hello)]),
    ]
)


@asynccontextmanager
async def serving(app: Any) -> AsyncIterator[httpx2.AsyncClient]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", lifespan="on", proxy_headers=False))
    task = asyncio.ensure_future(server._serve())
    while not server.started:
        await asyncio.sleep(0.005)
        assert not task.done(), "uvicorn did not start"
    url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    async with httpx2.AsyncClient(base_url=url) as client:
        yield client
    server.should_exit = True
    await task


async def test_every_response_has_an_id_and_every_request_one_line(config: Config, lines: Lines):
    """200, 404, 405, refusals, 500s and streams: the id in the header is the id in the one line."""
    paths = ("/hello/taro", "/nope", "/boom", "/stream", "/own-500", "/-/dodai/nope", "/api/users/7")
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        seen = [await client.get(path) for path in paths]
        seen.append(await client.post("/hello/taro"))
    found = lines("web", "http")
    assert [line["requestId"] for line in found] == [response.headers["x-request-id"] for response in seen]
    assert [line["status"] for line in found] == [response.status_code for response in seen]
    assert [response.status_code for response in seen] == [200, 404, 500, 200, 500, 404, 200, 405]
    first = found[0]
    assert next(iter(first)) == "ts"
    assert (first["userId"], first["version"], first["env"], first["outcome"]) == ("42", "r1", "test", "ok")
    assert (first["clientNetwork"], first["bytesOut"]) == ("127.0.0.0", len("hello no key"))


async def test_unhandled_exception_is_our_500_in_the_clients_format_and_language(config: Config, lines: Lines):
    """JSON by default, HTML in Japanese for a Japanese browser; both show the request id, neither the exception."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        plain = await client.get("/boom")
        page = await client.get("/boom", headers={"accept": "text/html,*/*;q=0.8", "accept-language": "ja,en;q=0.7"})
    body = plain.json()
    assert body["requestId"] == plain.headers["x-request-id"]
    assert (body["error"]["code"], body["error"]["name"]) == ("DOD061", "unhandled-error")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["x-request-id"] in page.text
    assert '<html lang="ja">' in page.text
    assert "リクエスト ID" in page.text
    assert "taro" not in plain.text + page.text
    line = lines("web", "http")[0]
    assert (line["error"], line["code"], line["outcome"]) == ("ValueError", "DOD061", "server_error")
    assert "boom" in line["stack"]
    assert "taro" not in str(line)


async def test_own_500_is_left_alone(config: Config, lines: Lines):
    """A 500 the application means, even one in the framework's words, reaches the client as it is."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        own = await client.get("/own-500")
        plain = await client.get("/plain-500")
    assert own.json() == {"mine": True}
    assert plain.text == "Internal Server Error"
    assert plain.headers["x-request-id"] == lines("web", "http")[1]["requestId"]
    assert all("code" not in line for line in lines("web", "http"))


async def test_own_error_handler_wins_and_the_error_is_still_in_the_line(config: Config, lines: Lines):
    """Starlette answers with the handler's page and raises again: the page stays, the line has the error."""

    async def page(_: Request, __: Exception) -> Response:
        return PlainTextResponse("our page", status_code=500)

    app = Starlette(routes=[Route("/boom", boom)], exception_handlers={500: page})
    async with serving(dodai.asgi.wrap(app, config=config())) as client:
        response = await client.get("/boom")
    assert response.text == "our page"
    (line,) = lines("web", "http")
    assert (line["status"], line["error"], line["outcome"]) == (500, "ValueError", "server_error")


async def test_stream_that_fails_half_way_is_aborted_and_cut(config: Config, lines: Lines, caplog: Any):
    """The client sees a broken body, the line says aborted with the error, the log says no word of the exception."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.get("/late")
        (line,) = await until_async(lambda: lines("web", "http"))
    assert (line["status"], line["outcome"], line["error"]) == (200, "aborted", "ValueError")
    assert "taro" not in caplog.text + str(line)


async def test_client_that_leaves_is_client_gone(config: Config, lines: Lines):
    """A download cut by the client is neither ok nor our error."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        async with client.stream("GET", "/endless") as response:
            async for _ in response.aiter_bytes():
                break
        (line,) = await until_async(lambda: lines("web", "http"))
    assert (line["status"], line["outcome"]) == (200, "client_gone")
    assert line["bytesOut"] > 0


async def test_stream_has_its_time_to_first_byte(config: Config, lines: Lines):
    """A streamed response says when it began."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        await client.get("/stream")
    (line,) = lines("web", "http")
    assert 0 < line["ttfbMs"] <= line["latencyMs"]
    assert line["bytesOut"] == 300


async def test_background_work_is_not_latency(config: Config, lines: Lines):
    """The line is written when the answer is out, not when the background task ends."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        await client.get("/background")
    (line,) = lines("web", "http")
    assert line["latencyMs"] < 250


async def test_background_failure_is_a_line_of_its_own(config: Config, lines: Lines, caplog: Any):
    """The request was fine; the task below it failed."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        response = await client.get("/background?fail=1")
        (task,) = await until_async(lambda: lines("web", "task"))
    (line,) = lines("web", "http")
    assert (response.status_code, line["outcome"]) == (200, "ok")
    assert (task["requestId"], task["error"], task["outcome"]) == (line["requestId"], "ValueError", "server_error")
    assert "taro" not in caplog.text + str(task)


async def test_timeout_of_a_dependency_is_504(config: Config, lines: Lines):
    """An unhandled TimeoutError answers 504 and counts as a timeout, not as our failure."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        response = await client.get("/times-out")
    assert (response.status_code, response.json()["error"]["code"]) == (504, "DOD065")
    assert lines("web", "http")[0]["outcome"] == "timeout"


async def test_our_id_replaces_the_applications(config: Config, lines: Lines):
    """One X-Request-Id on the response, the one in the line."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        response = await client.get("/own-id")
    assert response.headers.get_list("x-request-id") == [lines()[0]["requestId"]]


async def test_context_reaches_threads(config: Config):
    """`asyncio.to_thread` sees the request of its caller."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        response = await client.get("/echo-id")
    assert response.text == response.headers["x-request-id"]


@pytest.mark.parametrize(
    "value",
    [b"a" * 10_000, b"short", b"with space", b"x" * 31 + b"\x85", b"caf\xc3\xa9-0123456", b"{0123456789abcdef}"],
    ids=["10kB", "short", "space", "nel", "non-ascii", "braces"],
)
async def test_hostile_id_is_neither_echoed_nor_kept(config: Config, lines: Lines, value: bytes):
    """A malformed id leaves no trace; the request is served under a minted one."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        response = await client.get("/hello/taro", headers=[(b"x-request-id", value)])
    assert len(response.headers["x-request-id"]) == 32
    assert "clientRequestId" not in lines()[0]


async def test_untrusted_id_is_kept_beside_ours(config: Config, lines: Lines):
    """Without the edge key a client's id, trace and user count for nothing."""
    headers = {
        "x-request-id": "client-chosen-1",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
        "x-user-id": "root",
        "x-forwarded-for": "203.0.113.9",
        "cf-ray": "abc-NRT",
    }
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        await client.get("/api/users/7", headers=headers)
    (line,) = lines()
    assert (line["clientRequestId"], line["userClaimed"]) == ("client-chosen-1", "root")
    assert line["requestId"] == line["traceId"] != "a" * 32
    assert "parentSpanId" not in line
    assert "cfRay" not in line
    assert line["clientNetwork"] == "127.0.0.0"


async def test_ray_is_noted_where_the_manifest_names_cloudflare_and_counts_for_nothing_else(
    config: Config, lines: Lines
):
    """Without a key anybody may say it, so it is a hint for a lookup at the edge; id, user and address stay theirs."""
    headers = {"x-request-id": "client-chosen-1", "x-forwarded-for": "203.0.113.9", "cf-ray": "8f00ba-NRT"}
    sections = {"env": {"production": {"edge": "cloudflare"}, "staging": {"edge": "local"}}}
    for env in ("production", "staging"):
        behind = config(env=env, sections=sections)
        async with serving(dodai.asgi.wrap(APP, config=behind)) as client:
            await client.get("/api/users/7", headers=headers)
            await client.get("/api/users/7", headers={"cf-ray": 'no ray"'})
    told, forged, *others = lines()
    assert (told["cfRay"], told["clientRequestId"], told["clientNetwork"]) == (
        "8f00ba-NRT",
        "client-chosen-1",
        "127.0.0.0",
    )
    assert not any("cfRay" in line for line in (forged, *others))


async def test_probe_answers_204_without_the_app_and_bounds_its_body(config: Config, lines: Lines):
    """POST /-/dodai/probe is ours: 204, or 413 above 64 KiB; other methods and paths are 404."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        answers = [
            await client.post("/-/dodai/probe", content=b"x" * 65_536),
            await client.post("/-/dodai/probe", content=b"x" * 65_537),
            await client.get("/-/dodai/probe"),
            await client.get("/-/dodai"),
            await client.get("/-/dodaix"),
        ]
    assert [answer.status_code for answer in answers] == [204, 413, 404, 404, 404]
    assert [line.get("code") for line in lines()] == [None, "DOD063", "DOD062", "DOD062", None]


async def test_routes_are_templates_and_scanners_add_none(config: Config, lines: Lines):
    """Mounted routes keep their prefix; 300 bogus paths and odd methods are one route each."""
    async with serving(dodai.asgi.wrap(APP, config=config())) as client:
        await client.get("/api/users/7")
        await client.request("BREW", "/hello/taro")
        for index in range(300):
            await client.get(f"/wp-{index}/" + "x!" * index)
    found = lines()
    assert found[0]["route"] == "/api/users/{id}"
    assert found[1]["method"] == "_OTHER"
    assert {line["route"] for line in found[2:]} == {"<unmatched>"}
    assert max(len(line["path"]) for line in found[2:]) == 128


async def test_application_without_lifespan_still_flushes(config: Config, lines: Lines, tmp_path: Path):
    """A bare ASGI function has no lifespan; the segment is closed under its final name all the same."""

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})

    async with serving(dodai.asgi.wrap(bare, config=config())) as client:
        await client.get("/")
    assert [path.name for path in (tmp_path / "state" / "lines").glob("*.open.jsonl")] == []
    assert len(lines()) == 1


async def test_application_without_an_answer_is_a_500(config: Config, lines: Lines):
    """Returning without a response gets ours, with an id."""

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    async with serving(dodai.asgi.wrap(silent, config=config())) as client:
        response = await client.get("/")
    assert response.json()["requestId"] == lines()[0]["requestId"]
    assert lines()[0]["error"] == "dodai.asgi.layer.NoResponseError"


async def _converse(app: Any, incoming: list[dict[str, Any]], **scope: Any) -> list[dict[str, Any]]:
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await app({"type": "websocket", "path": "/ws", "headers": [], **scope}, receive, send)
    return sent


async def _websocket_echo(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    if scope["path"] == "/refuse":
        await send({"type": "websocket.close", "code": 1008})
        return
    if scope["path"] == "/early":
        raise ValueError("taro@example.com")
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message["text"] == "boom":
            raise ValueError("taro@example.com")
        await send({"type": "websocket.send", "text": message["text"]})


_CONNECT = {"type": "websocket.connect"}


@pytest.mark.parametrize(
    ("path", "messages", "expected"),
    [
        ("/ws", ["a", 1000], (101, "ok", 1000)),
        ("/ws", ["a", 1006], (101, "client_gone", 1006)),
        ("/ws", ["boom"], (101, "server_error", 1011)),
        ("/refuse", [], (403, "client_error", None)),
        ("/early", [], (403, "server_error", None)),
    ],
    ids=["closed", "broken", "error", "refused", "early-error"],
)
async def test_websocket_has_one_line_that_says_how_it_ended(
    config: Config, lines: Lines, path: str, messages: list[Any], expected: tuple[Any, ...]
):
    """Orderly close, broken connection, error, refusal: status, outcome and close code."""
    incoming = [_CONNECT]
    for message in messages:
        is_text = isinstance(message, str)
        incoming.append(
            {"type": "websocket.receive", "text": message}
            if is_text
            else {"type": "websocket.disconnect", "code": message}
        )
    sent = await _converse(dodai.asgi.wrap(_websocket_echo, config=config()), incoming, path=path)
    (line,) = lines("web", "ws")
    assert (line["status"], line["outcome"], line.get("closeCode")) == expected
    if sent[0]["type"] == "websocket.accept":
        assert sent[0]["headers"] == [(b"x-request-id", line["requestId"].encode())]
    assert "taro" not in str(line)


async def test_websocket_that_the_application_refuses_carries_the_id(config: Config, lines: Lines):
    """Whoever was refused can name the request, also where the application answers, and says an id of its own."""

    async def refusing(_: Any, __: Any, send: Any) -> None:
        headers = [(b"X-Request-Id", b"of-its-own"), (b"content-type", b"text/plain")]
        await send({"type": "websocket.http.response.start", "status": 401, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"sign in"})

    app = dodai.asgi.wrap(refusing, config=config())
    sent = await _converse(app, [_CONNECT], extensions={"websocket.http.response": {}})
    (line,) = lines("web", "ws")
    ids = [value for name, value in sent[0]["headers"] if name.lower() == b"x-request-id"]
    assert (ids, line["status"]) == ([line["requestId"].encode()], 401)


async def test_websocket_without_the_edge_key_is_denied_with_our_answer(config: Config, lines: Lines, tmp_path: Path):
    """Where the server can send a response to a handshake, it is the same 403 as for HTTP."""
    (tmp_path / "edge.key").write_text("edge-key-0123456789abcdef\n")
    app = dodai.asgi.wrap(_websocket_echo, config=config(edge_key_file=tmp_path / "edge.key"))
    sent = await _converse(app, [_CONNECT], extensions={"websocket.http.response": {}})
    assert sent[0]["status"] == 403
    assert json.loads(sent[1]["body"])["requestId"] == lines("web", "ws")[0]["requestId"]


def test_client_address_is_cut_to_its_network():
    """/24 for IPv4, /48 for IPv6, nothing for anything else."""
    assert network_of("203.0.113.77") == "203.0.113.0"
    assert network_of("2001:db8:1:2::7%eth0") == "2001:db8:1::"
    assert network_of("unix:/run/x.sock") == ""
    assert network_of("") == ""


@settings(deadline=None, max_examples=50)
@given(st.binary(max_size=80))
def test_only_the_id_alphabet_is_an_id(value: bytes):
    """Whatever passes is 8 to 64 bytes of the alphabet, so it can be a header, a file name and a grep pattern."""
    allowed = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:-"
    assert is_request_id(value) == (8 <= len(value) <= 64 and all(byte in allowed for byte in value))
