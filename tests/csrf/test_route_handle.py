"""A route of Starlette or FastAPI that is called past its router asks before it runs, with the method that it is called with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Host, Match, Mount, Route, Router, WebSocketRoute
from tests.csrf.driver import APP, Browser, call, guarded
from tests.csrf.test_around_the_layer import config
from tests.csrf.test_exemptions import FORGED, RAN, exempt, handler
from tests.csrf.test_exemptions import _nothing_ran as _nothing_ran  # noqa: PLC0414 - the fixture, for this module too

import dodai.asgi
from dodai.csrf.enforce.entrance import NotBehindLayerError

OURS = [("host", "app.example.com"), ("origin", APP), ("sec-fetch-site", "same-origin")]


async def raw(scope: Any, receive: Any, send: Any) -> None:
    RAN.append(f"{scope['method']} raw")
    await PlainTextResponse("raw")(scope, receive, send)


class OwnRoute(BaseRoute):
    """A kind of route of the application's own, which has no endpoint."""

    def matches(self, scope: Any) -> Any:
        return (Match.FULL if scope["path"] == "/own" else Match.NONE), {}

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await raw(scope, receive, send)


class OwnHandle(Route):
    """One that has its own way of calling its endpoint."""

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        await self.app(scope, receive, send)


async def api(request: Request) -> str:
    RAN.append(f"{request.method} api")
    return "api"


async def talk(websocket: Any) -> None:
    RAN.append("talk")
    await websocket.accept()
    await websocket.close()


ROUTES: dict[str, Callable[[], BaseRoute]] = {
    "Route": lambda: Route("/both", handler("both"), methods=["GET", "POST"]),
    "APIRoute": lambda: APIRoute("/both", api, methods=["GET", "POST"]),
    "handle of its own": lambda: OwnHandle("/both", handler("own"), methods=["GET", "POST"]),
    "no endpoint": OwnRoute,
    "Mount": lambda: Mount("/raw", app=raw),
    "Host": lambda: Host("app.example.com", app=raw),
}


class Calling:
    """Middleware that calls something else of the application with what came."""

    def __init__(self, app: Any, target: Any, at: str = "/lead", **changes: Any) -> None:
        self.app, self.target, self.at, self.changes = app, target, at, changes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        leads = scope["type"] != "lifespan" and scope["path"] == self.at
        async with contextlib.AsyncExitStack() as stack:  # as FastAPI puts one there behind the last middleware
            changes = {"fastapi_middleware_astack": stack, **self.changes} if leads else {}
            target = getattr(self.target, "handle", self.target) if leads else self.app
            await target({**scope, **changes}, receive, send)


def leading(route: BaseRoute, make: Any = Starlette, **changes: Any) -> Any:
    hook = Route("/hook", handler("hook"), methods=["POST"])
    by_handle = Middleware(Calling, target=route, **changes)
    return make(routes=[hook, Route("/form", handler("form"))], middleware=[by_handle])


@pytest.mark.parametrize("make", [Starlette, FastAPI])
@pytest.mark.parametrize("kind", ROUTES)
async def test_read_does_not_become_a_write_of_a_route_that_middleware_calls(kind, make):
    """Neither does an exempt request become another route's; what has a token is led as the application likes."""
    app = leading(ROUTES[kind](), make, method="POST")
    assert ((await call(guarded(app), "GET", "/lead", FORGED)).status, RAN) == (403, [])
    exempted = leading(ROUTES[kind](), make, at="/hook")
    answer = await call(guarded(exempted, **exempt("POST /hook")), "POST", "/hook", FORGED)
    if kind in ("no endpoint", "Mount", "Host"):
        assert answer.status == 403, "what belongs to no route that dodai knows is told by its answer"
    else:
        assert (answer.status, RAN) == (403, [])
    RAN.clear()
    browser = Browser(guarded())
    await browser.get()
    browser.app = guarded(leading(ROUTES[kind](), make))
    assert ((await browser.post("/lead")).status, len(RAN)) == (200, 1)
    assert ((await call(browser.app, "GET", "/lead", FORGED)).status, len(RAN)) == (200, 2)


async def test_read_does_not_become_a_write_by_the_choice_of_a_router_alone():
    """`router.app` is the router without its middleware, and without what stands behind it."""
    for include in (False, True):
        app = FastAPI()
        if include:
            router = APIRouter()
            router.add_api_route("/both", api, methods=["GET", "POST"])
            app.include_router(router, prefix="/v1")
        else:
            app.add_api_route("/v1/both", api, methods=["GET", "POST"])
        app.add_middleware(Calling, target=app.router.app, path="/v1/both", method="POST")
        assert ((await call(guarded(app, **exempt("POST /v1/both")), "GET", "/lead", FORGED)).status, RAN) == (403, [])
        assert (await call(guarded(app, **exempt("POST /v1/both")), "POST", "/v1/both", FORGED)).status == 200
        assert RAN.pop() == "POST api"


async def test_handshake_is_that_of_the_route_it_was_let_through_for():
    """Another WebSocket that middleware calls is not run, and none of another site's."""
    route = WebSocketRoute("/ws", talk)
    for app in (
        Starlette(routes=[WebSocketRoute("/hook", talk)], middleware=[Middleware(Calling, route, at="/hook")]),
        Starlette(
            routes=[WebSocketRoute("/hook", talk)],
            middleware=[Middleware(Calling, route.__call__, at="/hook", path="/ws")],
        ),
    ):
        served = guarded(app, **exempt("WEBSOCKET /hook"))
        answer = await call(served, path="/hook", headers=FORGED, kind="websocket")
        assert (answer.status, RAN) == (0, [])
        honest = await call(guarded(app), path="/hook", headers=OURS, kind="websocket")
        assert (honest.status, RAN.pop()) == (101, "talk")


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("asked", ["POST", "GET"])
async def test_handler_that_calls_another_route(asked, method):
    """What an exempt request or a read was let through for is the handler, and not what it calls in its turn."""
    other = Route("/pay", handler("pay"), methods=["POST", "PUT"])

    async def hook(scope: Any, receive: Any, send: Any) -> None:
        await other.handle({**scope, "method": method}, receive, send)

    class Hook:
        def __init__(self, *given: Any) -> None:
            self.given = given

        def __await__(self) -> Any:
            return hook(*self.given).__await__()

    app = guarded(Starlette(routes=[Route("/hook", Hook, methods=["GET", "POST"]), other]), **exempt("POST /hook"))
    assert ((await call(app, asked, "/hook", FORGED)).status, RAN) == (403, [])


async def test_exempt_routes_below_mounts_hosts_and_included_routers_are_served():
    """By whatever way their own routers lead to them."""
    router = APIRouter(prefix="/v1")
    router.add_api_route("/hook", api, methods=["POST"])
    router.routes.append(Route("/plain", handler("plain"), methods=["POST"]))
    outer = APIRouter(prefix="/outer")
    outer.include_router(router)
    app = FastAPI()
    app.include_router(outer)
    hook = Route("/hook", handler("hook"), methods=["POST"])
    app.mount("/in", Starlette(routes=[Mount("/deep", routes=[hook]), Host("app.example.com", app=Router([hook]))]))
    app.router.routes.append(OwnHandle("/own", handler("own"), methods=["POST"]))
    ids = ["/outer/v1/hook", "/outer/plain", "/in/deep/hook", "/own"]
    served = guarded(app, **exempt(*(f"POST {path}" for path in ids), "POST app.example.com/in/hook"))
    for path in (*ids, "/in/hook"):
        assert (await call(served, "POST", path, FORGED)).status == 200, path
    assert RAN == ["POST api", "POST plain", "POST hook", "POST own", "POST hook"]


async def test_route_that_middleware_calls_is_not_served_by_mistake(tmp_path, monkeypatch, capsys):
    """The application inside, instead of what `wrap` returned; while developing it is told once."""
    inner = leading(ROUTES["Route"](), at="/both")
    dodai.asgi.wrap(inner, config=config())
    with contextlib.suppress(NotBehindLayerError):
        assert (await call(inner, "POST", "/both", FORGED)).status == 500
    assert ((await call(inner, "GET", "/both", FORGED)).status, RAN) == (200, ["GET both"])
    monkeypatch.chdir(tmp_path)
    local = leading(ROUTES["Route"](), at="/both")
    dodai.asgi.wrap(local, config=config(origins=(), env="local"))
    for _ in range(2):
        assert (await call(local, "POST", "/both")).status == 200
    assert capsys.readouterr().err.count("DOD161") == 1
    apart = leading(ROUTES["Route"](), at="/both")
    assert (await call(apart, "POST", "/both", FORGED)).status == 200, "nobody wrapped it"


async def test_what_a_service_that_is_off_let_in_is_asked_by_the_layer_inside():
    """Each layer judges for itself."""
    pay = Route("/pay", handler("pay"), methods=["POST"])
    inner = guarded(leading(pay, at="/in/hook"), **exempt("POST /hook"))
    outer = dodai.asgi.wrap(
        Starlette(routes=[Mount("/in", app=inner)]), config=config(csrf_off="a proxy asks for passwords")
    )
    assert ((await call(outer, "POST", "/in/hook", FORGED)).status, RAN) == (403, [])
