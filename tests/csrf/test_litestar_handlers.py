"""ASGI handlers and WebSockets of Litestar are asked like its routes: the entrance is the last of their guards."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from litestar import Litestar, WebSocket, websocket
from litestar import asgi as litestar_asgi
from litestar import post as litestar_post
from litestar.config.csrf import CSRFConfig
from litestar.exceptions import LitestarException
from litestar.types import Receive, Scope, Send
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.csrf.driver import APP, EVIL, Browser, call, guarded
from tests.csrf.test_around_the_layer import config
from tests.csrf.test_exemptions import FORGED, RAN, Rewriting, exempt, handler
from tests.csrf.test_exemptions import _nothing_ran as _nothing_ran  # noqa: PLC0414 - the fixture, for this module too

import dodai.asgi
from dodai.csrf.enforce.entrance import NotBehindLayerError
from dodai.frameworks import native_tokens
from dodai.runtime import RuntimeConfig

OURS = [("host", "app.example.com"), ("origin", APP), ("sec-fetch-site", "same-origin")]
PATHS = {"mount": "/admin/x", "plain": "/raw", "guarded": "/guarded", "application": "/in/x"}


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    RAN.append(f"{scope.get('method', 'WEBSOCKET')} raw")
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await PlainTextResponse("raw")(scope, receive, send)


def allow(*_: Any) -> None:
    """A guard of the application's own."""


def litestar_app(**more: Any) -> Litestar:
    @litestar_post("/hook")
    async def hook() -> str:
        return RAN.append("hook") or "hook"

    async def talk(socket: WebSocket) -> None:
        RAN.append("talk")
        await socket.accept()
        await socket.close()

    inner = Starlette(routes=[Route("/x/", handler("inner"), methods=["GET", "POST"])])
    handlers = [
        litestar_asgi("/admin", is_mount=True, copy_scope=True)(raw),
        litestar_asgi("/raw", copy_scope=True)(raw),
        litestar_asgi("/guarded", copy_scope=True, guards=[allow])(raw),
        litestar_asgi("/in", is_mount=True, copy_scope=True)(inner),
        *(websocket(path)(talk) for path in ("/ws", "/other-ws")),
        websocket("/guarded-ws", guards=[allow])(talk),
    ]
    return Litestar([hook, *handlers], openapi_config=None, **more)


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
async def test_asgi_handler_is_not_served_by_mistake(path):
    """The application inside, in production, instead of what `wrap` returned."""
    inner = litestar_app()
    served = dodai.asgi.wrap(inner, config=config())
    with contextlib.suppress(NotBehindLayerError, LitestarException):
        assert (await call(inner, "POST", path, FORGED)).status == 500
    assert RAN == []
    assert (await call(inner, "GET", path, FORGED)).status == 200, "nothing is to be judged about a read"
    assert (await call(served, "POST", path, FORGED)).status == 403
    assert len(RAN) == 1


@pytest.mark.parametrize("path", ["/ws", "/guarded-ws", "/raw"])
async def test_websocket_is_not_served_by_mistake(path):
    """The application inside, in production, instead of what `wrap` returned."""
    inner = litestar_app()
    served = dodai.asgi.wrap(inner, config=config())
    with contextlib.suppress(NotBehindLayerError, LitestarException):
        assert (await call(inner, path=path, headers=FORGED, kind="websocket")).status == 0
    assert ((await call(served, path=path, headers=FORGED, kind="websocket")).status, RAN) == (0, [])
    assert ((await call(served, path=path, headers=OURS, kind="websocket")).status, len(RAN)) == (101, 1)


async def test_handlers_are_served_while_developing_and_told_once(tmp_path, monkeypatch, capsys):
    """A test may well call the application inside."""
    monkeypatch.chdir(tmp_path)
    inner = litestar_app()
    dodai.asgi.wrap(inner, config=config(origins=(), env="local"))
    assert (await call(inner, "POST", "/raw")).status == 200
    assert (await call(inner, path="/ws", kind="websocket")).status == 101
    assert (len(RAN), capsys.readouterr().err.count("DOD161")) == (2, 1)


@pytest.mark.parametrize("wrapped_first", [True, False])
async def test_application_that_nobody_wrapped_is_left_alone(wrapped_first):
    """The place where its handlers are asked for guards is shared by all of its kind in the process."""
    apart = None if wrapped_first else litestar_app()
    dodai.asgi.wrap(litestar_app(), config=config())
    apart = apart or litestar_app()
    assert (await call(apart, "POST", "/raw", FORGED)).status == 200
    assert (await call(apart, path="/ws", headers=FORGED, kind="websocket")).status == 101


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
async def test_read_that_becomes_a_write_does_not_reach_an_asgi_handler(path):
    """Whether the method is changed around the application or in middleware of its own."""
    rewriting = [lambda app: Rewriting(app, copy=False, method="POST")]
    for app in (Rewriting(litestar_app(), method="POST"), litestar_app(middleware=rewriting)):
        assert ((await call(guarded(app), "GET", path, FORGED)).status, RAN) == (403, [])


async def test_guard_cannot_make_a_read_a_write():
    """The entrance is behind the last of them."""

    def override(connection: Any, _: Any) -> None:
        connection.scope["method"] = "POST"

    app = guarded(Litestar([litestar_asgi("/raw", copy_scope=True, guards=[override])(raw)], openapi_config=None))
    assert ((await call(app, "GET", "/raw", FORGED)).status, RAN) == (403, [])


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
async def test_exempt_request_does_not_reach_an_asgi_handler(path):
    """It is refused in front of it, not when it has answered."""
    app = guarded(Rewriting(litestar_app(), path=path, raw_path=path.encode()), **exempt("POST /hook"))
    assert ((await call(app, "POST", "/hook", FORGED)).status, RAN) == (403, [])
    own = litestar_app(middleware=[lambda app: Rewriting(app, copy=False, path=path)])
    assert ((await call(guarded(own, **exempt("POST /hook")), "POST", "/hook", FORGED)).status, RAN) == (201, ["hook"])


async def test_exempt_websocket_is_the_one_that_runs():
    """A handshake that is led to another one is not, and what a mount leads to has no exemption."""
    app = guarded(litestar_app(), **exempt("WEBSOCKET /ws", "WEBSOCKET /raw"))
    assert ((await call(app, path="/ws", headers=FORGED, kind="websocket")).status, RAN) == (101, ["talk"])
    RAN.clear()
    for path in ("/other-ws", "/raw"):
        led = guarded(Rewriting(litestar_app(), path=path), **exempt("WEBSOCKET /ws"))
        assert ((await call(led, path="/ws", headers=FORGED, kind="websocket")).status, RAN) == (0, [])
        assert ((await call(app, path=path, headers=FORGED, kind="websocket")).status, RAN) == (0, [])


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS)
async def test_honest_requests_reach_asgi_handlers(path):
    """Reads, and what has a token."""
    browser = Browser(guarded(), other_cookies="")
    await browser.get()
    browser.app = guarded(litestar_app())
    assert (await browser.post(path)).status == 200
    assert (await browser.post(path, site="cross-site", more=(("origin", EVIL),))).status == 403
    for method in ("GET", "HEAD"):
        assert (await call(browser.app, method, path, FORGED)).status == 200
    assert [line.partition(" ")[0] for line in RAN] == ["POST", "GET", "HEAD"]


async def test_asgi_handler_waits_for_the_check_of_litestar():
    """In mode `framework`; an application of a framework below it has a check of its own, or none."""
    app = litestar_app(csrf_config=CSRFConfig(secret="s" * 40, exclude="/raw"))
    given = RuntimeConfig(origins=(APP,), release="r1", sections={"csrf": {"mode": "framework"}})
    served = dodai.asgi.wrap(app, config=given)
    assert ((await call(served, "POST", "/raw", OURS)).status, RAN) == (403, [])
    tokens = native_tokens(app, APP)
    assert tokens is not None
    genuine = [*OURS, ("cookie", tokens["cookie"]), (tokens["header"], tokens["token"])]
    for path in ("/admin/x", "/guarded", "/in/x"):
        assert (await call(served, "POST", path, OURS)).status == 403, path
        assert (await call(served, "POST", path, genuine)).status == 200, path
    assert len(RAN) == 3
