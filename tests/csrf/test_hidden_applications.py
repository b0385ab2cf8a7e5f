"""Applications that nobody finds: code in front of them holds them in ways that cannot be seen, and leads requests there."""

from __future__ import annotations

import json
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
from starlette.responses import PlainTextResponse
from starlette.routing import Route, Router
from tests.csrf.driver import KEYS, call, guarded
from tests.csrf.test_exemptions import FORGED, RAN, exempt, forged, handler
from tests.csrf.test_exemptions import _nothing_ran as _nothing_ran  # noqa: PLC0414 - the fixture, for this module too
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

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
        (fastapi_app, "/transfer"),
        (litestar_app, "/transfer"),
    ],
    ids=["starlette", "router", "mount", "fastapi", "litestar"],
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


SHOPS = """
from types import SimpleNamespace
from flask import Flask
from werkzeug.middleware.dispatcher import DispatcherMiddleware
import dodai.wsgi
class Overriding:
    def __init__(self, app): self.s = SimpleNamespace(a=app)
    def __call__(self, environ, start_response):
        method = "POST" if "_method=POST" in environ["QUERY_STRING"] else environ["REQUEST_METHOD"]
        return self.s.a({**environ, "REQUEST_METHOD": method}, start_response)
app, second = Flask("main"), Flask("second")
def ran(): raise AssertionError("a handler ran")
app.add_url_rule("/orders", "orders", ran, methods=["POST"])
second.add_url_rule("/transfer", "transfer", ran, methods=["POST"])
app.wsgi_app = Overriding(DispatcherMiddleware(app.wsgi_app, {"/b": second}))
"""


def routes_of(folder: Path, source: str, more: str = "") -> dict[str, tuple[str, str]]:
    """(verdict, evidence) of each route as `dodai routes` tells it."""
    (folder / "web.py").write_text(source, "utf-8")
    manifest = folder / "dodai.toml"
    manifest.write_text(
        '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\napp = "web:app"\npublic = true\n' + more, "utf-8"
    )
    command = [sys.executable, "-m", "dodai", "routes", "--json", "--manifest", str(manifest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = json.loads(done.stdout)["routes"]
    return {f"{row['method']} {row['path']}": (row["verdict"], row["evidence"]) for row in rows}


@pytest.mark.parametrize(
    ("tail", "verdict"), [("app.wsgi_app = dodai.wsgi.wrap(app)\n", "protected"), ("", "unprotected")]
)
def test_application_below_a_hidden_dispatcher_is_listed(tmp_path, tail, verdict):
    """Under the prefix of the dispatcher, and asked like every other one; none of its handlers runs."""
    found = routes_of(tmp_path, SHOPS + tail)
    assert {route: row[0] for route, row in found.items()} == {"POST /orders": verdict, "POST /b/transfer": verdict}


FLASK_HOOKS = """
from flask import Flask
import dodai.wsgi
app = Flask("hooks")
def ran(**_): raise AssertionError("a handler ran")
for name, rule in (("hook", "/p/<x>"), ("files", "/p/<path:x>"), ("year", "/y/<int:year>/<path:rest>")):
    app.add_url_rule(rule, name, lambda **_: ran(), methods=["POST"])
app.add_url_rule("/y/<int:year>/<x>", "exempt_year", ran, methods=["POST"])
app.wsgi_app = dodai.wsgi.wrap(app)
"""
STARLETTE_HOOKS = """
from starlette.applications import Starlette
from starlette.routing import Route
import dodai.asgi
def handler(name):
    async def run(_): raise AssertionError("a handler ran")
    run.__qualname__ = name
    return run
app = dodai.asgi.wrap(Starlette(routes=[
    Route("/p/{x}", handler("hook"), methods=["POST"]), Route("/p/{y:path}", handler("files"), methods=["POST"])]))
"""
DJANGO_HOOKS = """
import django
from django.conf import settings
settings.configure(SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[])
django.setup()
from django.core.wsgi import get_wsgi_application
from django.urls import path
from django.views.decorators.http import require_POST
import dodai.wsgi
@require_POST
def hook(request, x): raise AssertionError("a handler ran")
@require_POST
def files(request, y): raise AssertionError("a handler ran")
urlpatterns = [path("p/<x>", hook), path("p/<path:y>", files)]
app = dodai.wsgi.wrap(get_wsgi_application())
"""


@pytest.mark.parametrize(
    ("source", "exempt_id", "other"),
    [
        (FLASK_HOOKS, "POST /p/<x>", "POST /p/<path:x>"),
        (FLASK_HOOKS, "POST /y/<int:year>/<x>", "POST /y/<int:year>/<path:rest>"),
        (STARLETTE_HOOKS, "POST /p/{x}", "POST /p/{y}"),
        (DJANGO_HOOKS, "POST /p/<x>", "POST /p/<path:y>"),
    ],
)
def test_route_beside_an_exempt_one_is_asked_under_a_path_of_its_own(tmp_path, source, exempt_id, other):
    """`/p/x` is one of both, and the router takes it for the exempt one; the running app refuses `/p/x/y`."""
    row = f'[[csrf.exemption]]\nroute = "{exempt_id}"\nreason = "r"\nowner = "o"\ncontrol = "c"\n'
    found = {route: row[0] for route, row in routes_of(tmp_path, source, row).items()}
    assert (found[exempt_id], found[other]) == ("exempt", "protected")


DJANGO_NAMED = DJANGO_HOOKS.replace("MIDDLEWARE=[]", 'MIDDLEWARE=[__name__ + ".Naming"]').replace(
    "urlpatterns = [",
    """from django.views.decorators.csrf import csrf_exempt
@csrf_exempt
@require_POST
def webhook(request): raise AssertionError("a handler ran")
class Naming:
    def __init__(self, get_response): self.get_response = get_response
    def __call__(self, request): return self.get_response(request)
    def process_view(self, request, view, args, kwargs):
        if view is webhook: request.urlconf = __name__
urlpatterns = [path("webhook", webhook), """,
)


def test_view_that_django_middleware_names_is_no_other_one_in_the_audit(tmp_path):
    """Its exemption does not hold in the running app; the audit, which puts others in the place of views, says so."""
    row = '[[csrf.exemption]]\nroute = "POST /webhook"\nreason = "r"\nowner = "o"\ncontrol = "c"\n'
    verdict, evidence = routes_of(tmp_path, DJANGO_NAMED, row)["POST /webhook"]
    assert (verdict, "its exemption does not hold" in evidence) == ("protected", True)


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


def test_router_that_middleware_holds_is_no_other_application(tmp_path):
    """It is asked for the names of routes, as metrics are."""
    source = STARLETTE_HOOKS.replace(
        "app = dodai.asgi.wrap(Starlette(",
        """class Naming:
    def __init__(self, app): self.app, self.kept = app, {"routes": app.router}
    async def __call__(self, scope, receive, send): await self.app(scope, receive, send)
app = dodai.asgi.wrap(Naming(Starlette(""",
    ).replace('"files"), methods=["POST"])]))', '"files"), methods=["POST"])])))')
    held = source.replace("self.app", "self.kept_too")
    for name, text in (("known", source), ("hidden", held)):
        (tmp_path / name).mkdir()
        found = routes_of(tmp_path / name, text)
        assert {route: row[0] for route, row in found.items()} == dict.fromkeys(
            ("POST /p/{x}", "POST /p/{y}"), "protected"
        )
