"""Code in front of every check: what may answer or act by itself is a row of its own, what passes requests on is none."""

from __future__ import annotations

from datetime import date

import pytest
from tests.agent.test_audit import audit, verdicts

from dodai.core.fact import Unknown
from dodai.core.manifest import Manifest, read
from dodai.core.rule import evaluate
from dodai.csrf.check import RULES
from dodai.csrf.route_table import RouteTable
from dodai.runtime.manifest_location import reference

FLASK = """
from flask import Flask, request, render_template_string
from flask_wtf import CSRFProtect
def purge(): raise AssertionError("a handler ran")
app = Flask(__name__)
app.config["SECRET_KEY"] = "only for the test"

@app.post("/save")
def save(): raise AssertionError("a handler ran")
"""
DJANGO = """
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
settings.configure(SECRET_KEY="x" * 40, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], HOOKS="/stripe", MIDDLEWARE=%s)
django.setup()
def charge(request): raise AssertionError("a handler ran")
def view(request, **kwargs): raise AssertionError("a handler ran")
urlpatterns = [path("save", view)]
"""
DJANGO_APP = """
from django.core.wsgi import get_wsgi_application
app = get_wsgi_application()
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route, WebSocketRoute
import os
PREFIX = os.environ.get("PREFIX", "/raw")
def purge(): raise AssertionError("a handler ran")
async def save(request): raise AssertionError("a handler ran")
async def raw(scope, receive, send):
    purge()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"done"})
inner = Starlette(routes=[Route("/save", save, methods=["POST"])])
"""
LITESTAR = """
from litestar import Litestar, Request, Response, post
from litestar.config.csrf import CSRFConfig
from litestar.exceptions import NotFoundException
def purge(): raise AssertionError("a handler ran")
@post("/save")
async def save() -> None: raise AssertionError("a handler ran")
def lost(request: Request, error: NotFoundException) -> Response:
    if request.url.path.startswith("/purge"): purge()
    return Response("lost", status_code=404)
app = Litestar([save], csrf_config=CSRFConfig(secret="s" * 32), exception_handlers={NotFoundException: lost})
"""
DJANGO_CHECK = "'django.middleware.csrf.CsrfViewMiddleware'"
WRAP = "import dodai.asgi\napp = dodai.asgi.wrap(inner)\n"
OWN_CHECK = """
class OwnCheck:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["method"] == "POST" and scope["path"] in ("/save",) and b"x-csrf-token" not in dict(scope["headers"]):
            await PlainTextResponse("csrf token missing", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
inner.add_middleware(OwnCheck)
app = inner
def signed_in(): return {"x-csrf-token": "t"}
"""
DJANGO_HOOKS = """
class Hooks:
    def __init__(self, get_response): self.get_response = get_response
    def __call__(self, request):
        if request.path.startswith(settings.HOOKS):
            charge(request)
            return HttpResponse("done")
        return self.get_response(request)
"""

# name: (application, the row, what it calls)
BY_THEMSELVES = {
    "a hook of Flask that answers": (
        FLASK
        + """
@app.before_request
def hook():
    if request.path == "/purge":
        purge()
        return "done"
CSRFProtect(app)
""",
        "* /purge",
        "purge()",
    ),
    "a hook of Flask that acts in passing": (
        FLASK
        + """
@app.before_request
def hook():
    if request.path == "/purge": purge()
CSRFProtect(app)
""",
        "* /purge",
        "purge()",
    ),
    "a hook of Flask that is a lambda": (
        FLASK + "app.before_request(lambda: purge() if request.path == '/purge' else None)\nCSRFProtect(app)\n",
        "* /purge",
        "purge()",
    ),
    "a 404 handler of Flask": (
        FLASK
        + """
CSRFProtect(app)
@app.errorhandler(404)
def lost(error):
    if request.path.startswith("/api/"):
        purge()
    return "lost", 404
""",
        "* /api/",
        "purge()",
    ),
    "a WSGI layer outside of the one of dodai": (
        FLASK
        + """
import dodai.wsgi
class Hooks:
    def __init__(self, app): self.app = app
    def __call__(self, environ, start_response):
        if environ["PATH_INFO"].startswith("/ho" + "oks"):
            purge()
            start_response("200 OK", [])
            return [b"done"]
        return self.app(environ, start_response)
app = Hooks(dodai.wsgi.wrap(app))
""",
        "* /ho",
        "purge()",
    ),
    "a WSGI closure inside of Flask": (
        FLASK
        + """
CSRFProtect(app)
def hooks(inner):
    def served(environ, start_response):
        if environ["PATH_INFO"] == "/hooks":
            start_response("200 OK", [])
            return [str(purge()).encode()]
        return inner(environ, start_response)
    return served
app.wsgi_app = hooks(app.wsgi_app)
""",
        "* /hooks",
        "purge()",
    ),
    "a subclass of Flask": (
        FLASK
        + """
class Own(Flask):
    def full_dispatch_request(self):
        if request.path == "/purge": return purge()
        return super().full_dispatch_request()
app = Own(__name__)
app.config["SECRET_KEY"] = "only for the test"
CSRFProtect(app)
@app.post("/save")
def saved(): raise AssertionError("a handler ran")
""",
        "* /purge",
        "purge()",
    ),
    "middleware of Django": (
        DJANGO % f"[__name__ + '.Hooks', {DJANGO_CHECK}]" + DJANGO_HOOKS + DJANGO_APP,
        "* /{shop.Hooks}",
        "charge(request)",
    ),
    "handler404 of Django": (
        DJANGO % f"[{DJANGO_CHECK}]"
        + """
def handler404(request, exception):
    if request.method == "POST": charge(request)
    return HttpResponse("lost", status=404)
"""
        + DJANGO_APP,
        "* /{shop.handler404}",
        "charge(request)",
    ),
    "a dispatcher of raw callables": (
        STARLETTE
        + WRAP
        + """
class Dispatcher:
    def __init__(self, app, other): self.app, self.other = app, other
    async def __call__(self, scope, receive, send):
        chosen = self.other if scope["path"].startswith(PREFIX) else self.app
        await chosen(scope, receive, send)
app = Dispatcher(app, raw)
""",
        "* /{shop.Dispatcher}",
        "chosen(scope, receive, send)",
    ),
    "a closure around the layer": (
        STARLETTE
        + WRAP
        + """
def outer(protected):
    async def served(scope, receive, send):
        if scope["path"].startswith(PREFIX):
            await raw(scope, receive, send)
        else:
            await protected(scope, receive, send)
    return served
app = outer(app)
""",
        "* /{shop.outer.<locals>.served}",
        "raw(scope, receive, send)",
    ),
    "an exception handler of Starlette": (
        STARLETTE
        + OWN_CHECK
        + """
async def lost(request, error):
    if request.method == "POST": purge()
    return PlainTextResponse("lost", 404)
inner.add_exception_handler(404, lost)
""",
        "* /{shop.lost}",
        "purge()",
    ),
    "a synchronous exception handler": (
        STARLETTE
        + OWN_CHECK
        + """
def lost(request, error):
    if request.method == "POST": purge()
    return PlainTextResponse("lost", 404)
inner.add_exception_handler(404, lost)
""",
        "* /{shop.lost}",
        "purge()",
    ),
    "a route class that chooses itself": (
        STARLETTE
        + OWN_CHECK
        + """
from starlette.routing import Match
class Alias(Route):
    def matches(self, scope):
        if scope["path"] == "/other-save":
            return Match.FULL, {"endpoint": self.endpoint, "path_params": {}}
        return super().matches(scope)
inner.routes.append(Alias("/save", save, methods=["POST"]))
""",
        "* /{shop.Alias.matches}",
        "which requests it takes is known to it alone",
    ),
    "BaseHTTPMiddleware around the layer": (
        STARLETTE
        + """
from starlette.middleware.base import BaseHTTPMiddleware
class Hooks(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        if request.url.path.startswith(PREFIX):
            result = purge()
            return PlainTextResponse(str(result))
        return await call_next(request)
import dodai.asgi
app = Hooks(dodai.asgi.wrap(inner))
""",
        "* /{shop.Hooks}",
        "purge()",
    ),
    "a method that chooses for the layer": (
        STARLETTE
        + WRAP
        + """
class Chooser:
    def __init__(self, app, other): self.app, self.other = app, other
    async def __call__(self, scope, receive, send): await self.choose(scope, receive, send)
    async def choose(self, scope, receive, send):
        if scope["path"].startswith(PREFIX): await self.other(scope, receive, send)
        else: await self.app(scope, receive, send)
app = Chooser(app, raw)
""",
        "* /{shop.Chooser.choose}",
        "self.other(scope, receive, send)",
    ),
    "a layer that hands on whatever it gets": (
        STARLETTE
        + WRAP
        + """
class Loose:
    def __init__(self, app): self.app = app
    async def __call__(self, *given):
        if given[0].get("path") == PREFIX: purge()
        await self.app(*given)
app = Loose(app)
""",
        "* /{shop.Loose}",
        "purge()",
    ),
    "a table of hooks": (
        STARLETTE
        + WRAP
        + """
HOOKS = {"/hook": save}
class Table:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        hook = HOOKS.get(scope.get("path"))
        if hook is not None:
            await hook(scope)
            await PlainTextResponse("done")(scope, receive, send)
        else:
            await self.app(scope, receive, send)
app = Table(app)
""",
        "* /{shop.Table}",
        "hook(scope)",
    ),
    "a hook behind a decorator that reaches through the request": (
        FLASK
        + """
import contextlib
@contextlib.contextmanager
def timed(): yield
@app.before_request
@timed()
def hook():
    if request.method == "POST" and request.path == "/purge":
        request.state.db.execute("delete from cart")
CSRFProtect(app)
""",
        "* /purge",
        "request.state.db.execute('delete from cart')",
    ),
    "a result that nobody looks at": (
        FLASK
        + """
@app.before_request
def hook():
    if request.path == "/purge":
        done = purge()
CSRFProtect(app)
""",
        "* /purge",
        "purge()",
    ),
    "an exception handler of Litestar": (
        LITESTAR,
        "* /purge",
        "purge()",
    ),
}


@pytest.mark.parametrize(("source", "route", "calls"), BY_THEMSELVES.values(), ids=BY_THEMSELVES.keys())
def test_what_may_answer_or_act_in_front_of_the_check_is_a_row(tmp_path, source, route, calls):
    """None of it is run; every route behind the check is as proven as before."""
    table = audit(tmp_path, source, policy={"sign_in": "shop:signed_in"} if "def signed_in" in source else {})
    found = verdicts(table)
    row = next(row for row in table.rows if row.id == route)
    assert f"may answer or act by itself (`{calls}`)" in row.evidence
    assert "`[[csrf.outer]]`" in row.fix
    assert found.pop(route) == "unknown"
    assert set(found.values()) == {"protected"}


HARMLESS = {
    "a layer that hands on whatever it gets": STARLETTE
    + WRAP
    + """
class Loose:
    def __init__(self, app): self.app = app
    async def __call__(self, *given): return await self.app(*given)
app = Loose(app)
""",
    "a dispatch with names of its own": STARLETTE
    + """
from starlette.middleware.base import BaseHTTPMiddleware
async def tagged(asked, following):
    if asked.url.path.startswith("/api"): asked.state.api = asked.headers.get("x-api")
    answer = await following(asked)
    answer.headers["x-tag"] = "1"
    return answer
app = BaseHTTPMiddleware(inner, dispatch=tagged)
import dodai.asgi
app = BaseHTTPMiddleware(dodai.asgi.wrap(inner), dispatch=tagged)
""",
    "a login wall": FLASK
    + """
CSRFProtect(app)
@app.before_request
def wall():
    user = request.cookies.get("user")
    if user is None and not request.path.startswith(("/static", "/save")):
        return redirect(url_for("static", filename="login.html"))
from flask import redirect, url_for
""",
    "a page for what is not found": FLASK
    + """
CSRFProtect(app)
@app.errorhandler(404)
def lost(error):
    if request.path.startswith("/api/"): return {"error": "lost"}, 404
    return render_template_string("lost {{ request.path }}"), 404
@app.after_request
def headers(response):
    response.headers["x-frame-options"] = "DENY"
    return response
""",
    "a layer that counts": STARLETTE
    + """
import time
class Timing:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        began = time.monotonic()
        async def timed(message):
            if message["type"] == "http.response.start":
                message["headers"].append((b"x-time", str(time.monotonic() - began).encode()))
            await send(message)
        await self.app(scope, receive, timed)
"""
    + WRAP
    + "app = Timing(app)\n",
    "an answer that is always the same": STARLETTE
    + """
from starlette.middleware.base import BaseHTTPMiddleware
class Health(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        if request.url.path == "/healthz":
            return PlainTextResponse("ok")
        response = await call_next(request)
        response.headers["x-served-by"] = "web"
        return response
"""
    + WRAP
    + "app = Health(app)\n",
    "a check of its own": STARLETTE + OWN_CHECK,
    "middleware of Django": DJANGO % f"[__name__ + '.middleware', {DJANGO_CHECK}]"
    + """
def middleware(get_response):
    def served(request):
        request.tenant = request.headers.get("x-tenant", "")
        if not request.tenant and request.path.startswith("/tenants/"): return HttpResponse("which tenant?", status=400)
        response = get_response(request)
        response["x-tenant"] = request.tenant
        return response
    return served
"""
    + DJANGO_APP,
}


@pytest.mark.parametrize("source", HARMLESS.values(), ids=HARMLESS.keys())
def test_what_passes_requests_on_or_only_refuses_is_no_row(tmp_path, source):
    """A list that is full of these is read by nobody."""
    table = audit(tmp_path, source, policy={"sign_in": "shop:signed_in"} if "def signed_in" in source else {})
    assert set(verdicts(table)) & {"POST /save", "* /save"} == set(verdicts(table))
    assert table.summary.coverage == 1.0


def test_layer_behind_dodais_is_covered(tmp_path):
    """The same hook, inside: whatever it would answer, a hostile request is refused in front of it."""
    hooks = BY_THEMSELVES["a hook of Flask that answers"][0]
    table = audit(tmp_path, hooks + "import dodai.wsgi\napp = dodai.wsgi.wrap(app)\n")
    assert (set(verdicts(table)), table.summary.coverage) == ({"POST /save"}, 1.0)


OUTER = """
[project]
name = "shop"

[[csrf.outer]]
layer = "{layer}"
reason = "called by a service"
control = "{control}"
owner = "team"
expires = "{expires}"
"""


@pytest.mark.parametrize(
    ("layer", "control", "expires", "verdict", "codes"),
    [
        ("shop.hook", "signature", "2027-01-01", "exempt", []),
        ("shop.hook", "signature", "2026-11-30", "exempt", ["DOD116"]),
        ("shop.hook", "", "2027-01-01", "exempt", ["DOD106"]),
        ("shop.hook", "signature", "2026-11-01", "unknown", ["DOD103", "DOD105"]),
        ("shop.other", "signature", "2027-01-01", "unknown", ["DOD103", "DOD107"]),
    ],
)
def test_declared_layer_is_exempt_while_it_holds(tmp_path, layer, control, expires, verdict, codes):
    """It is held to what an exemption is held to: control, owner, a last day, and that it is there."""
    manifest = read(OUTER.format(layer=layer, control=control, expires=expires).encode(), reference())
    table = audit(tmp_path, BY_THEMSELVES["a hook of Flask that answers"][0], policy=manifest.data["csrf"])
    assert verdicts(table)["* /purge"] == verdict
    report = evaluate(
        [rule for rule in RULES if set(rule.needs) <= {Manifest, RouteTable}],
        {Manifest: manifest, RouteTable: table},
        today=date(2026, 11, 23),
    )
    assert (
        sorted({finding.code.id for finding in report.findings} & {"DOD103", "DOD105", "DOD106", "DOD107", "DOD116"})
        == codes
    )


def test_route_that_the_first_request_adds_leaves_a_gap(tmp_path):
    """Its handler was never replaced, so it is not asked, and said to be missing."""
    source = (
        STARLETTE
        + """
class Lazy:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and not any(route.path == "/late" for route in inner.routes):
            inner.routes.append(Route("/late", save, methods=["POST"]))
        await self.app(scope, receive, send)
inner.add_middleware(Lazy)
"""
        + WRAP
    )
    table = audit(tmp_path, source)
    assert isinstance(table, RouteTable)
    (gap,) = table.gaps
    assert isinstance(gap, Unknown)
    assert gap.reason == "`POST /late`: added by the first request"
