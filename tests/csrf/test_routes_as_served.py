"""`dodai routes` says what the running application does: of hidden applications, of routes that look alike, of Django."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

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


def answer_of(folder: Path, source: str, more: str = "") -> dict[str, Any]:
    """What `dodai routes --json` prints."""
    (folder / "web.py").write_text(source, "utf-8")
    manifest = folder / "dodai.toml"
    manifest.write_text(
        '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\napp = "web:app"\npublic = true\n' + more, "utf-8"
    )
    command = [sys.executable, "-m", "dodai", "routes", "--json", "--manifest", str(manifest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout)


def routes_of(folder: Path, source: str, more: str = "") -> dict[str, tuple[str, str]]:
    """(verdict, evidence) of each route as `dodai routes` tells it."""
    rows = answer_of(folder, source, more)["routes"]
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
app.wsgi_app = dodai.wsgi.wrap(app, service="shop/web")
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
    Route("/p/{x}", handler("hook"), methods=["POST"]), Route("/p/{y:path}", handler("files"), methods=["POST"])]), service="shop/web")
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
app = dodai.wsgi.wrap(get_wsgi_application(), service="shop/web")
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


def test_router_that_middleware_holds_is_no_other_application(tmp_path):
    """It is asked for the names of routes, as metrics are."""
    source = STARLETTE_HOOKS.replace(
        "app = dodai.asgi.wrap(Starlette(",
        """class Naming:
    def __init__(self, app): self.app, self.kept = app, {"routes": app.router}
    async def __call__(self, scope, receive, send): await self.app(scope, receive, send)
app = dodai.asgi.wrap(Naming(Starlette(""",
    ).replace('"files"), methods=["POST"])])', '"files"), methods=["POST"])]))')
    held = source.replace("self.app", "self.kept_too")
    for name, text in (("known", source), ("hidden", held)):
        (tmp_path / name).mkdir()
        found = routes_of(tmp_path / name, text)
        assert {route: row[0] for route, row in found.items()} == dict.fromkeys(
            ("POST /p/{x}", "POST /p/{y}"), "protected"
        )


SHARED = """
from starlette.applications import Starlette
from starlette.routing import Route
import dodai.asgi
async def hook(_): raise AssertionError("a handler ran")
async def other(_): raise AssertionError("a handler ran")
routes = [Route("/hook", hook, methods=["POST"]), Route("/a", hook, methods=["POST"])]
app = dodai.asgi.wrap(Starlette(routes=routes), service="shop/web")
admin = dodai.asgi.wrap(Starlette(routes=[Route("/hook", other, methods=["POST"])]))
"""
HOOK = '[[csrf.exemption]]\nroute = "POST /hook"\nreason = "r"\nowner = "o"\ncontrol = "c"\n'


@pytest.mark.parametrize(
    ("named", "said", "verdict"), [("app", "web", "exempt"), ("app", "staff", "protected"), ("admin", "", "protected")]
)
def test_exemption_is_told_for_the_application_that_says_it_is_the_service(tmp_path, named, said, verdict):
    """The service's own process wraps two, and so does the audit; one that says nothing, or another, is not exempt."""
    (tmp_path / "web.py").write_text(SHARED.replace("shop/web", f"shop/{said or 'web'}"), "utf-8")
    text = f'[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\napp = "web:{named}"\npublic = true\n'
    other = '[service.staff]\ncommand = ["y"]\napp = "staff:app"\n'
    (tmp_path / "staff.py").write_text("app = None\n", "utf-8")
    (tmp_path / "dodai.toml").write_text(text + other + HOOK + 'service = "web"\n', "utf-8")
    command = [sys.executable, "-m", "dodai", "routes", "--json", "--manifest", str(tmp_path / "dodai.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [row for row in json.loads(done.stdout)["routes"] if row["path"] == "/hook"]
    assert [row["verdict"] for row in rows] == [verdict], rows
    assert ("the application does not say that it is this service" in done.stdout) == (verdict != "exempt")


def test_exemption_of_one_service_leaves_the_other_as_it_is(tmp_path):
    """Two services serve the same route, and one of them is exempt."""
    alone = SHARED.partition("admin =")[0]
    (tmp_path / "staff.py").write_text(alone.replace("shop/web", "shop/staff"), "utf-8")
    more = '[service.staff]\ncommand = ["y"]\napp = "staff:app"\n' + HOOK + 'service = "staff"\n'
    (tmp_path / "web.py").write_text(alone, "utf-8")
    text = '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\napp = "web:app"\npublic = true\n' + more
    (tmp_path / "dodai.toml").write_text(text, "utf-8")
    command = [sys.executable, "-m", "dodai", "routes", "--json", "--manifest", str(tmp_path / "dodai.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = [row for row in json.loads(done.stdout)["routes"] if row["path"] == "/hook"]
    assert {row["source"]: row["verdict"] for row in rows} == {"web.py": "protected", "staff.py": "exempt"}


ALIKE = """
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount, Route, WebSocketRoute
import dodai.asgi
def handler(name):
    async def run(*_): raise AssertionError("a handler ran")
    run.__qualname__ = name
    return run
def to(path, name): return Route(path, handler(name), methods=["POST"])
three = [to("/i/{id:int}", "a"), to("/i/{id}", "b"), to("/i/{id:path}", "c")]
"""
MOUNTS = (
    '[Mount("/{i:int}", routes=[to("/{id}", "a")]), Mount("/{i}", routes=[to("/{id:int}", "b"), to("/{id}", "c")])]'
)
SOCKETS = '[WebSocketRoute("/i/{id:int}", handler("a")), WebSocketRoute("/i/{id}", handler("b")), to("/i", "c")]'


@pytest.mark.parametrize(
    "made",
    [
        "Starlette(routes=three)",
        "FastAPI(openapi_url=None, routes=three)",
        'Starlette(routes=[*three, to("/i/{id}", "never"), to("/i/{id:path}", "never")])',
        f"Starlette(routes={MOUNTS})",
        f"Starlette(routes={SOCKETS})",
    ],
    ids=["starlette", "fastapi", "never-served", "mounts", "websockets"],
)
def test_routes_that_are_printed_alike_are_counted_each(tmp_path, made):
    """Each was asked by itself; one that the router never gets to, of the same pattern as another, is none of them."""
    done = answer_of(tmp_path, f"{ALIKE}app = dodai.asgi.wrap({made})\n")
    assert sorted(row["endpoint"].rpartition(".")[2] for row in done["routes"]) == ["a", "b", "c"]
    assert {(row["verdict"], row["method"]) for row in done["routes"]} <= {
        ("protected", "POST"),
        ("protected", "WEBSOCKET"),
    }
    assert (done["summary"]["stateChanging"], done["summary"]["protected"]) == (3, 3)


@pytest.mark.parametrize("when", ["always", "bearer"])
@pytest.mark.parametrize("said", [True, False])
def test_exemption_that_does_not_hold_fails_the_check(tmp_path, when, said):
    """All was green, and in production the webhook was refused."""
    source = SHARED.partition("admin =")[0]
    (tmp_path / "web.py").write_text(source if said else source.replace(', service="shop/web"', ""), "utf-8")
    text = '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\napp = "web:app"\npublic = true\n'
    (tmp_path / "dodai.toml").write_text(f'{text}{HOOK}when = "{when}"\n', "utf-8")
    command = [sys.executable, "-m", "dodai", "check", "csrf", "--json", "--manifest", str(tmp_path / "dodai.toml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = [row for row in json.loads(done.stdout)["findings"] if row["code"] == "DOD122"]
    assert [row["message"].partition(" does not hold")[0] for row in found] == ["the exemption of `POST /hook`"] * (
        not said
    )
