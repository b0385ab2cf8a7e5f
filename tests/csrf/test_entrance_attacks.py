"""Ways around the entrance of a handler: what is added, replaced or rebuilt inside the application after `wrap`."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from fastapi import FastAPI
from flask import Flask, request
from flask.views import MethodView
from litestar import Litestar, put
from litestar import post as litestar_post
from starlette.applications import Starlette
from starlette.endpoints import HTTPEndpoint
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router
from tests.csrf.driver import KEYS, call, guarded
from tests.csrf.test_exemptions import (
    DJANGO,
    FORGED,
    RAN,
    Rewriting,
    exempt,
    flask_app,
    forged,
    handler,
    starlette_app,
    wsgi_client,
)
from tests.csrf.test_exemptions import _nothing_ran as _nothing_ran  # noqa: PLC0414 - the fixture, for this module too
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

import dodai.wsgi
from dodai.runtime import RuntimeConfig

HOOK, TRANSFER = Route("/hook", handler("hook"), methods=["POST"]), Route("/transfer", handler("pay"), methods=["POST"])


class Rebuilding:
    """Middleware that passes on a scope of its own making."""

    def __init__(self, app: Any, drop: bool = True, **changes: Any) -> None:
        self.app = app
        self.drop = drop
        self.changes = changes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        kept = [key for key in scope if not key.startswith("dodai")] if self.drop else ["type", "headers", "root_path"]
        await self.app({"query_string": b"", **{key: scope[key] for key in kept}, **self.changes}, receive, send)


@pytest.mark.parametrize("drop", [True, False])
@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("inside", [True, False])
async def test_rebuilt_scope_is_still_the_request_that_was_judged(drop, method, inside):
    """Neither an exempt request nor a read becomes another's write when our key is lost on the way."""
    changes = {"drop": drop, "path": "/transfer", "method": "POST"}
    inner = starlette_app(middleware=[Middleware(Rebuilding, **changes)] if inside else [])
    app = guarded(inner if inside else Rebuilding(inner, **changes), **exempt("POST /hook"))
    assert ((await call(app, method, "/hook", FORGED)).status, RAN) == (403, [])


async def test_rebuilt_scope_of_an_honest_request_is_served():
    """The context of the request says that it is the exempt one."""
    app = guarded(Rebuilding(starlette_app(), path="/hook", method="POST"), **exempt("POST /hook"))
    assert ((await call(app, "POST", "/hook", FORGED)).status, RAN) == (200, ["POST hook"])


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("served_before", [True, False])
@pytest.mark.parametrize("make", [starlette_app, FastAPI])
async def test_middleware_of_a_mount_that_came_after_wrap(make, method, served_before):
    """The routers of mounts that are added later, at startup say, are watched as well."""
    inner = make()
    app = guarded(inner, **exempt("POST /late/hook"))
    if served_before:
        await call(app, "GET", "/form")
    late = Starlette(
        routes=[HOOK, TRANSFER, Route("/hook", handler("read"))],
        middleware=[Middleware(Rewriting, path="/late/transfer", method="POST")],
    )
    inner.mount("/late", late)
    assert ((await call(app, method, "/late/hook", FORGED)).status, RAN) == (403, [])


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("make", [starlette_app, FastAPI])
async def test_route_that_was_replaced_in_its_place(make, method):
    """The list is as long as before, and the mount in it another one."""
    inner = make()
    inner.mount("/late", Starlette())
    app = guarded(inner, **exempt("POST /late/hook"))
    await call(app, "GET", "/form")
    late = Starlette(
        routes=[HOOK, TRANSFER, Route("/hook", handler("read"))],
        middleware=[Middleware(Rewriting, path="/late/transfer", method="POST")],
    )
    place = next(n for n, entry in enumerate(inner.routes) if isinstance(entry, Mount))
    inner.router.routes[place] = Mount("/late", late)
    assert ((await call(app, method, "/late/hook", FORGED)).status, RAN) == (403, [])


async def test_exemption_below_a_mount_that_came_after_wrap_holds():
    """What was added is watched when it is first asked for, so the exemption can be kept to."""
    inner = starlette_app()
    app = guarded(inner, **exempt("POST /late/hook"))
    inner.mount("/late", Starlette(routes=[HOOK]))
    assert ((await call(app, "POST", "/late/hook", FORGED)).status, RAN) == (200, ["POST hook"])


@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_router_that_was_replaced_after_wrap(method):
    """Who sets `app.router` anew has the entrance there, too."""
    inner = starlette_app(middleware=[Middleware(Rewriting, path="/transfer", method="POST")])
    app = guarded(inner, **exempt("POST /hook"))
    inner.router = Router(routes=[HOOK, TRANSFER, Route("/hook", handler("read"))])
    assert ((await call(app, method, "/hook", FORGED)).status, RAN) == (403, [])


async def test_exemption_does_not_hold_where_the_entrance_was_taken_away():
    """Between one request and the next; nobody would keep it to its handler."""
    inner = starlette_app()
    app = guarded(inner, **exempt("POST /hook"))
    assert (await call(app, "POST", "/hook", FORGED)).status == 200
    inner.router.middleware_stack = inner.router.app
    RAN.clear()
    assert ((await call(app, "POST", "/hook", FORGED)).status, RAN) == (403, [])


async def test_exemption_does_not_hold_below_a_mount_that_can_call_another_application():
    """What stands in front of the mounted application may choose one that is not watched."""

    class Switch:
        def __init__(self, app: Any, other: Any) -> None:
            self.app, self.other = app, other

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.other(scope, receive, send)

    mount = Mount(
        "/api",
        app=Switch(Starlette(routes=[HOOK]), Starlette(routes=[Route("/hook", handler("other"), methods=["POST"])])),
    )
    app = guarded(Starlette(routes=[mount]), **exempt("POST /api/hook"))
    assert ((await call(app, "POST", "/api/hook", FORGED)).status, RAN) == (403, [])


async def test_unknown_application_in_the_place_of_the_mounted_one_is_answered_by_us():
    """An exempt request is proven where its handler is entered, not at the mount on the way there."""

    class Taking:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await PlainTextResponse("mine")(scope, receive, send)

    app = guarded(Starlette(routes=[Mount("/api", app=Taking(Starlette(routes=[HOOK])))]), **exempt("POST /api/hook"))
    assert (await call(app, "POST", "/api/hook", FORGED)).status == 403


async def test_middleware_of_one_route_cannot_make_a_read_a_write():
    """A class endpoint obeys the method that stands in the scope when it is called."""

    class Page(HTTPEndpoint):
        get, post = staticmethod(handler("read")), staticmethod(handler("write"))

    app = guarded(Starlette(routes=[Route("/page", Page, middleware=[Middleware(Rewriting, method="POST")])]))
    assert ((await call(app, "GET", "/page", FORGED)).status, RAN) == (403, [])
    plain = guarded(
        Starlette(routes=[Route("/page", Page, middleware=[Middleware(Rewriting)])]), **exempt("POST /page")
    )
    assert (await call(plain, "GET", "/page", FORGED)).status == 200
    assert (await call(plain, "POST", "/page", FORGED)).status == 200


@pytest.mark.parametrize("middle", [lambda app: app, Rebuilding, lambda app: Mount("/", app=app).app])
async def test_exemption_of_both_holds_in_an_application_that_is_wrapped_twice(middle):
    """Each layer judges for itself, and both are asked at the entrance."""
    inner, rules = starlette_app(), exempt("POST /hook")
    both = guarded(middle(guarded(inner, **rules)), **rules)
    assert ((await call(both, "POST", "/hook", FORGED)).status, RAN) == (200, ["POST hook"])
    RAN.clear()
    outer_only = guarded(middle(guarded(inner)), **rules)
    assert ((await call(outer_only, "POST", "/hook", FORGED)).status, RAN) == (403, [])
    led = guarded(Rewriting(guarded(inner, **exempt("POST /transfer")), path="/transfer"), **rules)
    assert ((await call(led, "POST", "/hook", FORGED)).status, RAN) == (403, [])


async def test_rebuilt_scope_does_not_reach_another_handler_in_litestar():
    """Our key is lost, and the context of the request says what was judged."""

    @litestar_post("/hook")
    async def hook() -> str:
        return RAN.append("hook") or "hook"

    @put("/hook")
    async def change() -> str:
        return RAN.append("change") or "change"

    def led(app: Any) -> Any:
        async def pop(scope: Any, receive: Any, send: Any) -> None:
            scope.pop("dodai.csrf", None)
            scope["method"] = "PUT"
            await app(scope, receive, send)

        return pop

    app = guarded(Litestar([hook, change], middleware=[led]), **exempt("POST /hook"))
    assert ((await call(app, "POST", "/hook", FORGED)).status, RAN) == (403, [])
    assert ((await call(app, "GET", "/hook", FORGED)).status in (403, 405), RAN) == (True, [])


@pytest.mark.parametrize(
    "value", [b"Bearer ", b"Bearer", b"Bearer  ", b"Bearer \t", b"Bearer a,Basic dTpw", b"Bearer a Basic dTpw"]
)
async def test_bearer_scheme_without_one_token_is_no_bearer_token(value):
    """The header has to carry what the exemption is for."""
    app = guarded(starlette_app(), **exempt("POST /hook", when="bearer"))
    sent = [("host", "app.example.com"), ("authorization", value)]
    assert ((await call(app, "POST", "/hook", sent)).status, RAN) == (403, [])


class Page(MethodView):
    """A page that is read and written under one rule."""

    def get(self) -> str:
        return RAN.append("read") or "read"

    def post(self) -> str:
        return RAN.append("write") or "write"


def test_hook_of_flask_cannot_make_a_read_a_write():
    """`request.method` decides which method of a view class runs, also when a hook has set it."""
    app = Flask(__name__)
    app.add_url_rule("/page", view_func=Page.as_view("page"))
    app.before_request(lambda: setattr(request, "method", request.args.get("as", request.method)))
    client = wsgi_client(app, **exempt("POST /page"))
    assert client.get("/page", base_url="https://shop.example").status_code == 200
    assert client.get("/page?as=POST", base_url="https://shop.example").status_code == 403
    assert RAN == ["read"]
    assert (forged(client, "/page"), RAN) == (200, ["read", "write"])


@pytest.mark.parametrize("method", ["POST", "GET"])
def test_rebuilt_environ_is_still_the_request_that_was_judged(method):
    """Neither an exempt request nor a read becomes another's write when our key is lost on the way."""
    app = flask_app()
    inner = app.wsgi_app

    def rebuilding(environ, start_response):
        kept = {key: value for key, value in environ.items() if not key.startswith("dodai")}
        return inner({**kept, "PATH_INFO": "/transfer", "REQUEST_METHOD": "POST"}, start_response)

    app.wsgi_app = rebuilding
    client = wsgi_client(app, **exempt("POST /hook"))
    answer = client.open("/hook", method=method, base_url="https://shop.example", headers=dict(FORGED))
    assert (answer.status_code, RAN) == (403, [])


def test_mount_that_a_dispatcher_got_after_wrap():
    """It takes what the URL map would have; the exemption is over from then on."""
    outer = DispatcherMiddleware(flask_app(), {})
    client = wsgi_client(outer, **exempt("POST /hook"))
    assert (forged(client), RAN) == (200, ["hook"])

    def unknown(environ, start_response):
        RAN.append("unknown")
        start_response("200 OK", [])
        return [b""]

    outer.mounts["/hook"] = unknown
    RAN.clear()
    assert (forged(client), RAN) == (403, [])


def test_flask_dispatch_that_was_replaced_after_wrap():
    """An extension that puts a method of its own in the entrance's place takes the exemptions with it."""
    app = flask_app()
    client = wsgi_client(app, **exempt("POST /hook"))
    assert forged(client) == 200
    app.full_dispatch_request = type(app).full_dispatch_request.__wrapped__.__get__(app)
    RAN.clear()
    assert (forged(client), RAN) == (403, [])


def test_exemption_of_both_holds_in_flask_wrapped_twice():
    """Each layer judges for itself, and both are asked at the entrance."""
    rules = exempt("POST /hook")
    config = RuntimeConfig(csrf_keys=KEYS, origins=("https://shop.example",), sections={"csrf": rules})
    app = flask_app()
    app.wsgi_app = dodai.wsgi.wrap(app, config=config)
    assert (forged(Client(dodai.wsgi.wrap(app, config=config), use_cookies=False)), RAN) == (200, ["hook"])
    RAN.clear()
    closed = RuntimeConfig(csrf_keys=KEYS, origins=("https://shop.example",))
    assert (forged(Client(dodai.wsgi.wrap(app, config=closed), use_cookies=False)), RAN) == (403, [])


VIEWS = (
    DJANGO.replace(
        "class ToTransfer:",
        """
from django.views import View
class Page(View):
    def get(self, request):
        ran.append("read")
        return HttpResponse("read")
    def post(self, request):
        ran.append("write")
        return HttpResponse("write")
class AsyncPage(View):
    async def get(self, request):
        ran.append("read")
        return HttpResponse("read")
    async def post(self, request):
        ran.append("write")
        return HttpResponse("write")
class Overriding:
    def __init__(self, get_response): self.get_response = get_response
    def __call__(self, request):
        if "drop" in request.GET: request.META.pop("dodai.csrf", None); request.path_info = "/transfer/"
        return self.get_response(request)
    def process_view(self, request, view, arguments, named):
        request.method = request.GET.get("late", request.method)
class ToTransfer:""",
    )
    .replace("site.ToTransfer = ToTransfer", "site.ToTransfer, site.Overriding = ToTransfer, Overriding")
    .replace('"shop_site.ToTransfer"]', '"shop_site.ToTransfer", "shop_site.Overriding"]')
    .replace(
        "site.urlpatterns = [",
        'site.urlpatterns = [path("page/", Page.as_view()), path("slow/", AsyncPage.as_view()), ',
    )
)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ('wsgi("GET", "/page/", "POST /page/")', [200, ["read"]]),
        ('wsgi("GET", "/page/?late=POST", "POST /page/")', [403, []]),
        ('wsgi("GET", "/slow/?late=POST", "POST /page/")', [403, []]),
        ('wsgi("POST", "/page/", "POST /page/")', [200, ["write"]]),
        ('wsgi("POST", "/slow/", "POST /slow/")', [200, ["write"]]),
        ('wsgi("POST", "/hook/?drop=1", "POST /hook/")', [403, []]),
        ('wsgi("GET", "/hook/?drop=1&as=POST", "POST /hook/")', [403, []]),
        ('asgi("/slow/", "", "POST /slow/")', [200, ["write"]]),
        ('asgi("/page/", "", "POST /page/")', [200, ["write"]]),
        ('asgi("/page/?late=PUT", "", "POST /page/")', [403, []]),
    ],
)
def test_view_middleware_of_django_cannot_lead_elsewhere(asked, answer):
    """It runs after the view is resolved, and the view is asked again when it is called."""
    code = VIEWS + f"print('ANSWER', json.dumps({asked}))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert said, done.stderr
    assert json.loads(said[0].removeprefix("ANSWER")) == answer, done.stderr


CALLING = """
from django.urls import get_resolver, resolve as asked
from django.views.decorators.http import require_POST
class Calling:
    def __init__(self, get_response): self.get_response = get_response
    def __call__(self, request):
        if "call" not in request.GET: return self.get_response(request)
        found = asked(request.GET["call"])
        return found.func(request, *found.args, **found.kwargs)
site.Calling = Calling
"""
CALLS = (
    VIEWS.replace('sys.modules["other_site"] =', CALLING.strip("\n") + '\nsys.modules["other_site"] =', 1)
    .replace('"shop_site.Overriding"]', '"shop_site.Overriding", "shop_site.Calling"]')
    .replace('path("page/", Page', 'path("post/", require_POST(view("post"))), path("page/", Page')
)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ('wsgi("GET", "/hook/?as=POST&call=/page/")', [403, []]),
        ('wsgi("GET", "/hook/?as=POST&call=/post/")', [403, []]),
        ('wsgi("POST", "/hook/?call=/page/", "POST /hook/")', [403, []]),
        ('wsgi("POST", "/hook/?call=/hook/", "POST /hook/")', [200, ["hook"]]),
        ('wsgi("GET", "/hook/?call=/page/")', [200, ["read"]]),
        ('asgi("/hook/?as=PUT&call=/page/", "", "POST /hook/")', [403, []]),
    ],
)
def test_view_that_middleware_of_django_resolves_and_calls_by_itself(asked, answer):
    """It is asked what the request was judged as, class or function, like one that the handler calls."""
    done = subprocess.run(
        [sys.executable, "-c", CALLS + f"print('ANSWER', json.dumps({asked}))\n"],
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert said, done.stderr
    assert json.loads(said[0].removeprefix("ANSWER")) == answer, done.stderr


def test_view_that_django_resolves_is_still_that_view():
    """Code compares it, looks at it and asks whether it is to be awaited."""
    code = (
        CALLS
        + """
from asgiref.sync import iscoroutinefunction
wsgi("GET", "/hook/")
hook, page, slow = (asked(path).func for path in ("/hook/", "/page/", "/slow/"))
print("ANSWER", json.dumps([
    [p.callback for p in site.urlpatterns[:4]].index(hook) == 3, hook in {p.callback for p in site.urlpatterns[:4]}, hook == page, hook == asked("/hook/").func, hook.__name__,
    page.view_class is Page, iscoroutinefunction(slow), iscoroutinefunction(page), hasattr(hook, "csrf_exempt")]))
"""
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert said, done.stderr
    expected = [True, True, False, True, "hook", True, True, False, False]
    assert json.loads(said[0].removeprefix("ANSWER")) == expected
