"""The routes of Starlette and FastAPI: none is missed, and `match` says what the router will do."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, Depends, FastAPI
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, Router, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.testclient import TestClient

from dodai import frameworks

UNSAFE = {"POST", "PUT", "PATCH", "DELETE", "WEBSOCKET", "*"}


async def page(request):
    return PlainTextResponse("page")


def item(item_id: str) -> str:
    return item_id


async def opaque(scope, receive, send):
    raise AssertionError("never called")


class Both(HTTPEndpoint):
    async def get(self, _):
        return PlainTextResponse("get")

    async def post(self, _):
        return PlainTextResponse("post")


class Around:
    """Middleware of one route."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


def guard_csrf() -> None:
    """A dependency that somebody might call a check."""


def starlette_app() -> Starlette:
    return Starlette(
        routes=[
            Route("/save", page, methods=["POST"]),
            Route("/items/{id:int}", page, methods=["PUT", "GET"]),
            Route("/class", Both),
            Route("/around", page, methods=["POST"], middleware=[Middleware(Around)]),
            Route("/raw", Around(opaque), methods=None),
            Mount(
                "/api",
                routes=[
                    Route("/grade", page, methods=["POST"]),
                    Mount("/v2", Router([Route("/x", page, methods=["DELETE"])])),
                ],
            ),
            Mount(
                "/u/{user}", Starlette(routes=[Route("/me", page, methods=["PATCH"])]), middleware=[Middleware(Around)]
            ),
            Mount("/static", StaticFiles(directory="/")),
            Mount("/legacy", opaque),
            Host("admin.example.com", Starlette(routes=[Route("/purge", page, methods=["POST"])])),
            WebSocketRoute("/ws", page),
        ]
    )


def fastapi_app() -> FastAPI:
    inner = APIRouter(prefix="/inner")
    inner.post("/items/{item_id}")(item)
    outer = APIRouter(prefix="/api", dependencies=[Depends(guard_csrf)])
    outer.include_router(inner)
    sub = FastAPI(root_path="")
    sub.delete("/files/{name:path}")(lambda name: name)
    app = FastAPI()
    app.include_router(outer)
    app.include_router(inner, prefix="/v2")
    app.post("/direct", include_in_schema=False)(lambda: 1)
    app.api_route("/many", methods=["PUT", "PATCH"])(lambda: 1)
    app.mount("/sub", sub)
    app.websocket("/live")(opaque)
    return app


def unsafe(app) -> set[str]:
    return {route.id for route in frameworks.routes(app) if route.method in UNSAFE}


def scope(method: str, path: str, host: str = "app.example.com") -> dict:
    kind = "websocket" if method == "WEBSOCKET" else "http"
    found = {"type": kind, "path": path, "headers": [(b"host", host.encode())], "root_path": "", "query_string": b""}
    return found | ({} if kind == "websocket" else {"method": method})


def test_every_state_changing_route_of_starlette_is_listed():
    """Mounts, nested routers, sub-applications, class endpoints, hosts, websockets; files are left out."""
    assert unsafe(starlette_app()) == {
        "POST /save",
        "PUT /items/{id}",
        "POST /class",
        "POST /around",
        *(f"{method} /raw" for method in ("POST", "PUT", "PATCH", "DELETE")),
        "POST /api/grade",
        "DELETE /api/v2/x",
        "PATCH /u/{user}/me",
        "* /legacy/{path}",
        "POST admin.example.com/purge",
        "WEBSOCKET /ws",
    }


def test_every_state_changing_route_of_fastapi_is_listed():
    """Included routers keep their prefixes (FastAPI >= 0.137 hides them), and a router included twice counts twice."""
    assert unsafe(fastapi_app()) == {
        "POST /api/inner/items/{item_id}",
        "POST /v2/inner/items/{item_id}",
        "POST /direct",
        "PUT /many",
        "PATCH /many",
        "DELETE /sub/files/{name}",
        "WEBSOCKET /live",
    }


def test_routes_say_where_they_are_written():
    """File, line and dotted name of the handler, through partials and decorators."""
    found = {route.id: route for route in frameworks.routes(fastapi_app())}["POST /v2/inner/items/{item_id}"]
    assert found.source == __file__
    assert found.line == item.__code__.co_firstlineno
    assert found.endpoint.endswith(".item")


def test_dependency_that_looks_like_a_check_is_named():
    """A check inside a dependency cannot be proven from outside; the table says which one it is."""
    found = {route.id: route for route in frameworks.routes(fastapi_app())}
    assert found["POST /api/inner/items/{item_id}"].guard.endswith("guard_csrf")
    assert found["POST /direct"].guard == ""


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/save", "POST /save"),
        ("GET", "/save", None),
        ("post", "/save", None),
        ("POST", "/save/", None),
        ("POST", "//save", None),
        ("PUT", "/items/5", "PUT /items/{id}"),
        ("PUT", "/items/x", None),
        ("PUT", "/class", "PUT /class"),
        ("POST", "/api/grade", "POST /api/grade"),
        ("POST", "/api/../save", None),
        ("DELETE", "/api/v2/x", "DELETE /api/v2/x"),
        ("PATCH", "/u/ann/me", "PATCH /u/{user}/me"),
        ("POST", "/legacy/anything", None),
        ("POST", "/purge", None),
        ("WEBSOCKET", "/ws", "WEBSOCKET /ws"),
        ("POST", "/nothing", None),
        ("POST", "", None),
    ],
)
def test_match_of_starlette(method, path, expected):
    """The first full match, mounts entered and never left; no match is None."""
    assert frameworks.match(starlette_app(), scope(method, path)) == expected


def test_match_of_a_host():
    """Routes of a host carry its name."""
    assert (
        frameworks.match(starlette_app(), scope("POST", "/purge", "admin.example.com"))
        == "POST admin.example.com/purge"
    )


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/api/inner/items/5", "POST /api/inner/items/{item_id}"),
        ("POST", "/v2/inner/items/5", "POST /v2/inner/items/{item_id}"),
        ("DELETE", "/sub/files/a/b", "DELETE /sub/files/{name}"),
        ("PATCH", "/many", "PATCH /many"),
        ("POST", "/many", None),
        ("POST", "/inner/items/5", None),
        ("WEBSOCKET", "/live", "WEBSOCKET /live"),
    ],
)
def test_match_of_fastapi(method, path, expected):
    """Included routers match with the prefixes under which they were included."""
    assert frameworks.match(fastapi_app(), scope(method, path)) == expected


def test_match_leaves_the_scope_alone():
    """The router itself sees the scope afterwards."""
    given = scope("POST", "/api/inner/items/5")
    before = dict(given)
    frameworks.match(fastapi_app(), given)
    assert given == before


@pytest.mark.parametrize(
    ("make", "method", "path", "expected"),
    [
        (starlette_app, "POST", "/api/grade", "/api/grade"),
        (starlette_app, "PATCH", "/u/ann/me", "/u/{user}/me"),
        (starlette_app, "POST", "/save", "/save"),
        (fastapi_app, "POST", "/api/inner/items/5", "/api/inner/items/{item_id}"),
        (fastapi_app, "POST", "/v2/inner/items/5", "/v2/inner/items/{item_id}"),
        (fastapi_app, "DELETE", "/sub/files/a/b", "/sub/files/{name}"),
        (fastapi_app, "POST", "/direct", "/direct"),
    ],
)
def test_label_after_the_call_is_the_whole_template(make, method, path, expected):
    """Two routers with the same inner path never share a label."""
    seen = {}
    app = make()

    async def outside(scope, receive, send):
        await app(scope, receive, send)
        if scope["type"] == "http":
            seen["label"] = frameworks.route_label(scope)

    TestClient(outside, raise_server_exceptions=False).request(method, path)
    assert seen["label"] == expected


def test_label_of_an_unmatched_request_is_none():
    """A path that nobody serves never becomes a label."""
    assert frameworks.route_label(scope("POST", "/nothing")) is None


@pytest.mark.parametrize("make", [starlette_app, fastapi_app])
def test_planted_tripwires_are_reached_instead_of_handlers(make):
    """Every listed route has an example path that leads to its tripwire, and no handler runs."""
    app = make()
    hits = []
    planted = frameworks.plant(app, lambda route: hits.append(route.id))
    client = TestClient(app)
    for route in planted:
        if route.method not in {"POST", "PUT", "PATCH", "DELETE"}:
            continue
        hits.clear()
        host = {"host": route.host} if route.host else {}
        assert client.request(route.method, route.example, headers=host).status_code == 204, route
        assert [hit.partition(" ")[2] for hit in hits] == [route.host + route.path]


def test_middleware_of_one_route_still_runs_around_its_tripwire():
    """Protection that is attached to a single route counts."""
    seen = []

    class Noting(Around):
        async def __call__(self, scope, receive, send):
            seen.append(scope["path"])
            await self.app(scope, receive, send)

    app = Starlette(routes=[Route("/x", page, methods=["POST"], middleware=[Middleware(Noting)])])
    frameworks.plant(app, print)
    assert TestClient(app).post("/x").status_code == 204
    assert seen == ["/x"]


def test_application_inside_middleware_is_found():
    """What the server runs is usually wrapped."""
    assert frameworks.recognise(Around(Around(starlette_app()))) == "starlette"
    assert frameworks.recognise(fastapi_app()) == "fastapi"
    assert frameworks.recognise(opaque) is None


def test_unknown_application_is_named_in_the_error():
    """The message says what was found instead of a framework."""
    with pytest.raises(LookupError, match="function"):
        frameworks.routes(opaque)
