"""Litestar, audited in a process of its own: controllers, websockets, mounts, and its own double submit."""

from __future__ import annotations

import pytest
from litestar import Controller, Litestar, delete, get, post, put
from tests.csrf.driver import call
from tests.frameworks.test_flask_django_routes import audit, verdicts

from dodai import frameworks

SOURCE = """
from litestar import Controller, Litestar, WebSocket, asgi, delete, get, post, put, websocket
from litestar.config.csrf import CSRFConfig
from litestar.types import Receive, Scope, Send

@get("/")
async def index() -> str: return ""

@post("/save")
async def save() -> None: raise AssertionError("a handler ran")

@put("/items/{number:int}/{key:uuid}", exclude_from_csrf=True)
async def item() -> None: raise AssertionError("a handler ran")

class Quiz(Controller):
    path = "/quiz"
    @delete("/{name:str}")
    async def remove(self) -> None: raise AssertionError("a handler ran")

@websocket("/ws")
async def live(socket: WebSocket) -> None: raise AssertionError("a handler ran")

@asgi("/legacy", is_mount=True, copy_scope=True)
async def legacy(scope: Scope, receive: Receive, send: Send) -> None: raise AssertionError("a handler ran")

handlers = [index, save, item, Quiz, live]
"""
HTTP = {"POST /save", "PUT /items/{number}/{key}", "DELETE /quiz/{name}"}


def test_plain_litestar_is_unprotected(tmp_path):
    """Every handler is listed and red."""
    found = verdicts(audit(tmp_path, SOURCE + "app = Litestar(handlers)\n", "shop"))
    assert found == dict.fromkeys(HTTP | {"WEBSOCKET /ws"}, ("unprotected", ""))


def test_litestar_behind_dodai_is_protected(tmp_path):
    """HTTP handlers and websockets alike."""
    source = SOURCE + "import dodai.asgi\napp = dodai.asgi.wrap(Litestar(handlers))\n"
    found = verdicts(audit(tmp_path, source, "shop"))
    assert found == dict.fromkeys(HTTP | {"WEBSOCKET /ws"}, ("protected", "dodai"))


def test_litestars_own_protection_counts_and_its_exclusions_do_not(tmp_path):
    """Double submit refuses what has no token; websockets and excluded handlers stay red."""
    source = SOURCE + 'app = Litestar(handlers, csrf_config=CSRFConfig(secret="x" * 40))\n'
    found = verdicts(audit(tmp_path, source, "shop"))
    assert found == {
        "POST /save": ("protected", "litestar"),
        "DELETE /quiz/{name}": ("protected", "litestar"),
        "PUT /items/{number}/{key}": ("unprotected", ""),
        "WEBSOCKET /ws": ("unprotected", ""),
    }


def test_opaque_mount_of_litestar_is_covered_by_the_layer_alone(tmp_path):
    """A raw ASGI application cannot be listed: it is the layer in front that refuses below it."""
    source = SOURCE + "import dodai.asgi\napp = dodai.asgi.wrap(Litestar([*handlers, legacy]))\n"
    assert verdicts(audit(tmp_path, source, "shop"))["* /legacy/{path}"] == ("protected", "dodai")


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/save", "POST /save"),
        ("PUT", "/items/5", "PUT /items/{number}"),
        ("PUT", "/items/x", None),
        ("DELETE", "/quiz/x", "DELETE /quiz/{name}"),
        ("DELETE", "/quiz/x/y", None),
        ("POST", "/save/", "POST /save"),
        ("POST", "//save", "POST /save"),
        ("PUT", "/items//5/", "PUT /items/{number}"),
        ("POST", "/save/x", None),
        ("POST", "/save%2F", None),
        ("POST", "/nothing", None),
        ("POST", "/quiz/x", None),
    ],
)
async def test_match_of_litestar(method, path, expected):
    """The router's own answer, and None for everything it would not serve: the application itself says which."""

    @get("/")
    async def index() -> str:
        return ""

    @post("/save")
    async def save() -> None: ...

    @put("/items/{number:int}")
    async def item() -> None: ...

    class Quiz(Controller):
        path = "/quiz"

        @delete("/{name:str}")
        async def remove(self) -> None: ...

    app = Litestar([index, save, item, Quiz])
    scope = {"type": "http", "method": method, "path": path, "headers": [], "root_path": "", "query_string": b""}
    assert frameworks.match(app, scope) == expected
    answer = await call(app, method, path)
    assert (answer.status < 400) == (expected is not None)
