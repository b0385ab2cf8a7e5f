"""The CSRF layer where it belongs: inside the context and the edge gate, outside the application."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import dodai.asgi
from dodai.core.errors import DodaiError
from dodai.runtime import RuntimeConfig

Config = Callable[..., RuntimeConfig]
Lines = Callable[..., list[dict[str, Any]]]
KEYS = "abcd:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"


async def post(_: Request) -> Response:
    return PlainTextResponse("written")


APP = Starlette(routes=[Route("/answer/{id}", post, methods=["POST"])])


async def test_post_without_token_is_refused_with_request_id_and_one_line(config: Config, lines: Lines):
    """The 403 body, its header and the line share the id; the line has code, reason and route template."""
    app = dodai.asgi.wrap(APP, config=config(csrf_off="", csrf_keys=KEYS, origins=("http://testserver",)))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://testserver") as client:
        response = await client.post("/answer/7", headers={"sec-fetch-site": "same-origin"})
    assert response.status_code == 403
    (line,) = lines("web", "http")
    assert response.json()["requestId"] == response.headers["x-request-id"] == line["requestId"]
    assert line["code"] == response.json()["error"]["code"]
    assert (line["route"], line["csrf"], line["outcome"]) == ("/answer/{id}", "token_missing", "client_error")


class Overriding:
    """Middleware that routes a request by the `_method` in its query, as several frameworks let forms do."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        wanted = scope["query_string"].removeprefix(b"_method=").decode()
        if wanted:
            scope["method" if wanted.isupper() else "path"] = wanted
        await self.app(scope, receive, send)


@pytest.mark.parametrize(
    ("query", "noted"),
    [("", "exempt"), ("?_method=DELETE", "handler_not_judged"), ("?_method=/other", "handler_not_judged")],
)
async def test_exemption_holds_for_its_own_handler_alone(config: Config, lines: Lines, query, noted):
    """What is inside changes method or path after the decision: refused before the handler, and the line says so."""
    routes = [Route("/hook", post, methods=["POST", "DELETE"]), Route("/other", post, methods=["POST"])]
    exemption = {"route": "POST /hook", "reason": "r", "control": "c", "owner": "o"}
    sections = {"csrf": {"exemption": [exemption]}}
    app = Overriding(Starlette(routes=routes))
    app = dodai.asgi.wrap(
        app, config=config(csrf_off="", csrf_keys=KEYS, origins=("http://testserver",), sections=sections)
    )
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://testserver") as client:
        answer = await client.post("/hook" + query)
    assert answer.text == "written" if noted == "exempt" else answer.json()["error"]["code"] == "DOD160"
    assert [line["csrf"] for line in lines("web", "http")] == [noted]


async def test_with_a_reason_for_it_the_layer_is_absent(config: Config, lines: Lines):
    """A service that no browser can reach is not asked for tokens."""
    app = dodai.asgi.wrap(APP, config=config(csrf_off="called by the web tier only"))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://testserver") as client:
        assert (await client.post("/answer/7")).text == "written"


def test_a_manifest_without_keys_does_not_start_unprotected(config: Config):
    """A secret that got lost stops the release; it never switches the protection off."""
    with pytest.raises(DodaiError) as caught:
        dodai.asgi.wrap(APP, config=config(csrf_off="", sections={"csrf": {"mode": "both"}}))
    assert caught.value.code.id == "DOD180"


@pytest.mark.parametrize(
    ("sent", "noted"),
    [
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, ("https://evil.example", "cross-site")),
        ({"origin": "taro@example.com", "sec-fetch-site": "taro"}, ("invalid", "invalid")),
        ({"origin": "null"}, ("null", None)),
    ],
)
async def test_line_of_a_refusal_says_where_the_request_came_from(config: Config, lines: Lines, sent, noted):
    """What a browser sends, and never a text of the client's own."""
    app = dodai.asgi.wrap(APP, config=config(csrf_off="", csrf_keys=KEYS, origins=("http://testserver",)))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://testserver") as client:
        assert (await client.post("/answer/7", headers=sent)).status_code == 403
    (line,) = lines("web", "http")
    assert (line.get("origin"), line.get("fetchSite")) == noted


async def test_refused_websocket_carries_the_request_id(config: Config, lines: Lines):
    """Where the server cannot send a response to a handshake, the reason of the close has it."""
    app = dodai.asgi.wrap(Starlette(), config=config(csrf_keys=KEYS, origins=("https://app.example.com",), csrf_off=""))
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"app.example.com"), (b"origin", b"https://evil.example")]
    await app({"type": "websocket", "path": "/ws", "headers": headers, "scheme": "wss"}, receive, send)
    (line,) = lines("web", "ws")
    assert sent[0]["type"] == "websocket.close"
    assert sent[0]["reason"] == f"DOD150 {line['requestId']}"
