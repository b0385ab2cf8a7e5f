"""Applications that nobody finds: code in front of them holds them in ways that cannot be seen, and leads requests there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import pytest
from fastapi import FastAPI
from flask import Flask, request
from flask_wtf import CSRFProtect
from litestar import Litestar
from litestar import post as litestar_post
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router
from tests.csrf.driver import KEYS, call, guarded
from tests.csrf.test_exemptions import FORGED, RAN, exempt, forged, handler
from tests.csrf.test_exemptions import _nothing_ran as _nothing_ran  # noqa: PLC0414 - the fixture, for this module too
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.routing import Map, Rule
from werkzeug.test import Client
from werkzeug.wrappers import Response

import dodai.wsgi
from dodai.core.errors import DodaiError
from dodai.runtime import RuntimeConfig

HERE = "https://shop.example"
OURS = {"Origin": HERE, "Sec-Fetch-Site": "same-origin", "Referer": HERE + "/"}
THEIRS = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Cookie": "session=victim"}
HIDDEN: dict[str, Any] = {}


class Overriding:
    """Middleware that reads `_method`, and calls what `called` gives."""

    def __init__(self, called: Callable[[], Any]) -> None:
        self.called = called

    def __call__(self, environ: Any, start_response: Any) -> Any:
        wanted = parse_qs(environ["QUERY_STRING"]).get("_method", [environ["REQUEST_METHOD"]])[0]
        return self.called()({**environ, "REQUEST_METHOD": wanted}, start_response)


class InAnAttribute(Overriding):
    def __init__(self, app: Any) -> None:
        self.s = SimpleNamespace(a=app)
        super().__init__(self.get)

    def get(self) -> Any:
        return self.s.a


class InATable(Overriding):
    """What it calls is not held: it is looked up in a table when a request comes."""

    def __init__(self, app: Any) -> None:
        HIDDEN["in front"] = app
        super().__init__(lambda: HIDDEN["in front"])


def shop(name: str, *, check: bool = False) -> Flask:
    app = Flask(name)
    app.config["SECRET_KEY"] = "x" * 40
    if check:
        CSRFProtect(app)
    for path in ("hook", "transfer"):
        app.add_url_rule(f"/{path}", path, lambda path=path: RAN.append(f"{name} {path}") or path, methods=["POST"])
    app.add_url_rule("/form", "form", lambda: "form")
    return app


def bare(environ: Any, start_response: Any) -> list[bytes]:
    if environ["REQUEST_METHOD"] == "POST":
        RAN.append("bare")
    start_response("200 OK", [])
    return [b"form"]


def of_werkzeug(environ: Any, start_response: Any) -> Any:
    """A small application that is made of Werkzeug alone."""
    rules = [Rule("/transfer", methods=["POST"], endpoint="transfer"), Rule("/form", endpoint="form")]
    endpoint, _ = Map(rules).bind_to_environ(environ).match()
    if endpoint == "transfer":
        RAN.append("werkzeug")
    return Response(endpoint)(environ, start_response)


def served(inside: Any, hide: Callable[[Any], Any], *, check: bool = False, **csrf: Any) -> Client:
    """A shop, wrapped, with `inside` below /b behind a dispatcher that `hide` hides."""
    app = shop("main", check=check)
    app.wsgi_app = hide(DispatcherMiddleware(app.wsgi_app, {"/b": inside}))
    config = RuntimeConfig(csrf_keys=KEYS, origins=(HERE,), sections={"csrf": csrf})
    app.wsgi_app = dodai.wsgi.wrap(app, config=config)
    return Client(app, use_cookies=False)


@pytest.mark.parametrize("mode", ["both", "header", "either", "framework"])
@pytest.mark.parametrize("hide", [InAnAttribute, InATable])
@pytest.mark.parametrize("inside", [shop("second"), shop("second", check=True), bare], ids=["flask", "wtf", "bare"])
def test_read_that_becomes_a_write_of_an_application_that_nobody_found(inside, hide, mode):
    """A dispatcher and every Flask of the process ask what the request was judged as; a read is served."""
    if inside is bare and mode == "framework" and hide is InAnAttribute:
        with pytest.raises(DodaiError, match="the framework's own check has run"):
            served(inside, hide, check=True, mode=mode)
        return
    client = served(inside, hide, check=mode == "framework", mode=mode)
    answer = client.get("/b/transfer?_method=POST", base_url=HERE, headers=THEIRS)
    assert (answer.status_code, RAN) == (403, [])
    assert answer.json["error"]["code"] == "DOD160"
    assert client.get("/b/form", base_url=HERE, headers=THEIRS).text == "form"


@pytest.mark.parametrize("hide", [InAnAttribute, InATable])
def test_application_that_nobody_found_and_that_has_no_check_of_its_own(hide):
    """Mode `framework` leaves the token to the check of whoever serves the request: without one nothing runs."""
    client = served(shop("second"), hide, check=True, mode="framework")
    answer = client.post("/b/transfer", base_url=HERE, headers=OURS)
    assert (answer.status_code, RAN) == (403, [])
    assert answer.json["error"]["code"] == "DOD163"
    client = served(shop("second", check=True), hide, check=True, mode="framework")
    assert client.post("/b/transfer", base_url=HERE, headers=OURS).status_code == 400, "Flask-WTF asks for its token"


@pytest.mark.parametrize("hide", [InAnAttribute, InATable])
def test_exemption_is_not_that_of_the_same_path_of_another_application(hide):
    """Rules of two Flask applications are equal when they look alike."""
    main, second = shop("main"), shop("second")

    class Switching:
        def __init__(self, first: Any) -> None:
            self.first = first

        def __call__(self, environ: Any, start_response: Any) -> Any:
            app = second.wsgi_app if "HTTP_X_OTHER" in environ else self.first
            return app(environ, start_response)

    main.wsgi_app = hide(Switching(main.wsgi_app))
    config = RuntimeConfig(csrf_keys=KEYS, origins=(HERE,), sections={"csrf": exempt("POST /hook")})
    client = Client(dodai.wsgi.wrap(main, config=config), use_cookies=False)
    assert (forged(client), RAN) == (200, ["main hook"])
    assert (forged(client, **{"X-Other": "1"}), RAN) == (403, ["main hook"])


class Alone(HTTPEndpoint):
    """A class endpoint is an application by itself."""

    async def post(self, request: Any) -> Any:
        return await handler("alone")(request)


def litestar_app() -> Litestar:
    @litestar_post("/transfer")
    async def transfer() -> str:
        return RAN.append("transfer") or "transfer"

    return Litestar([transfer], openapi_config=None)


def fastapi_app() -> FastAPI:
    app = FastAPI()
    app.post("/transfer")(lambda: RAN.append("transfer"))
    return app


def nested_app() -> Starlette:
    app = Starlette()
    app.mount("/in", Router(routes=[Route("/transfer", handler("transfer"), methods=["POST"])]))
    return app


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize(
    ("make", "path"),
    [
        (lambda: Starlette(routes=[Route("/transfer", handler("transfer"), methods=["POST"])]), "/transfer"),
        (lambda: Router(routes=[Route("/transfer", handler("transfer"), methods=["POST"])]), "/transfer"),
        (nested_app, "/in/transfer"),
        (lambda: Route("/transfer", handler("transfer"), methods=["POST"]), "/transfer"),
        (lambda: Alone, "/transfer"),
        (fastapi_app, "/transfer"),
        (litestar_app, "/transfer"),
    ],
    ids=["starlette", "router", "mount", "route", "endpoint", "fastapi", "litestar"],
)
async def test_read_that_becomes_a_write_of_an_asgi_application_that_nobody_found(make, path, late):
    """Also of one that is made after `wrap`, which has an exemption to misuse besides."""
    if not late:
        HIDDEN["asgi"] = make()

    class Leading:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["path"] == "/form":
                await self.app(scope, receive, send)
                return
            await HIDDEN["asgi"]({**scope, "path": path, "method": "POST"}, receive, send)

    main = Starlette(
        routes=[
            Route("/form", lambda _: PlainTextResponse("form")),
            Route("/hook", handler("hook"), methods=["POST"]),
        ]
    )
    app = guarded(Leading(main), **exempt("POST /hook"))
    assert (await call(app, "GET", "/form", FORGED)).text == "form"
    if late:
        HIDDEN["asgi"] = make()
    for method, asked in (("GET", "/x"), ("POST", "/hook")):
        answer = await call(app, method, asked, FORGED)
        assert (answer.status, RAN) == (403, []), answer.text
    outside = await call(HIDDEN["asgi"], "POST", path, FORGED)
    assert (outside.status < 300, len(RAN)) == (True, 1), "served by itself, it is nobody's business"


DJANGO = """
import sys, types, django
from django.conf import settings
settings.configure(SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], ROOT_URLCONF="urls_x", LOGGING_CONFIG=None)
django.setup()
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import path
from tests.csrf.test_hidden_applications import HERE, THEIRS, InAnAttribute, InATable, served
ran = []
urls = types.ModuleType("urls_x")
urls.urlpatterns = [path("transfer", lambda request: ran.append(request.method) or HttpResponse("done"))]
sys.modules["urls_x"] = urls
for hide in (InAnAttribute, InATable):
    client = served(WSGIHandler(), hide)
    answer = client.get("/b/transfer?_method=POST", base_url=HERE, headers=THEIRS)
    print(answer.status_code, answer.json["error"]["code"], ran)
print(client.get("/b/transfer", base_url=HERE, headers=THEIRS).status_code, ran)
"""


def test_read_that_becomes_a_write_of_a_django_behind_flask():
    """In a process of its own: Django is configured once."""
    done = subprocess.run(
        [sys.executable, "-c", DJANGO], capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.splitlines() == ["403 DOD160 []"] * 2 + ["200 ['GET']"], done.stderr


class OwnWay(Flask):
    """An application that has its own way of both methods, and calls neither of Flask's."""

    def full_dispatch_request(self) -> Any:
        return self.finalize_request(self.dispatch_request())

    def dispatch_request(self) -> Any:
        return self.view_functions[request.url_rule.endpoint]()


def test_application_with_a_way_of_its_own_that_nobody_found():
    """Its class is one of Flask's."""
    app = OwnWay("own")
    app.add_url_rule("/transfer", "transfer", lambda: RAN.append("own") or "done", methods=["POST"])
    client = served(bare, InATable)
    HIDDEN["in front"] = app
    answer = client.get("/transfer?_method=POST", base_url=HERE, headers=THEIRS)
    assert (answer.status_code, RAN) == (403, [])


@pytest.mark.parametrize("mode", ["both", "framework"])
def test_application_of_werkzeug_alone_that_nobody_found(mode):
    """Without a dispatcher: it asks its map of URLs for a handler, and that is where it is asked itself."""
    client = served(bare, InATable, check=mode == "framework", mode=mode)
    HIDDEN["in front"] = of_werkzeug
    answers = [client.get("/transfer?_method=POST", base_url=HERE, headers=THEIRS)]
    answers.append(client.post("/transfer", base_url=HERE, headers=OURS))
    assert ([answer.status_code for answer in answers], RAN) == ([403, 403], [])
    assert client.get("/form", base_url=HERE, headers=THEIRS).text == "form"


def test_flask_that_binds_its_own_map_keeps_its_exemptions():
    """A way of its own to choose hosts is still that of this application."""

    class Hosted(Flask):
        def create_url_adapter(self, request: Any) -> Any:
            return self.url_map.bind_to_environ(request.environ, server_name="shop.example") if request else None

    app = Hosted("hosted")
    app.add_url_rule("/hook", "hook", lambda: RAN.append("hook") or "hook", methods=["POST"])
    config = RuntimeConfig(csrf_keys=KEYS, origins=(HERE,), sections={"csrf": exempt("POST /hook")})
    assert (forged(Client(dodai.wsgi.wrap(app, config=config), use_cookies=False)), RAN) == (200, ["hook"])
