"""An exemption holds where its handler is entered: nothing inside the application can lead its requests elsewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi import APIRouter, FastAPI
from flask import Flask, request
from litestar import Litestar
from litestar import post as litestar_post
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, Router, WebSocketRoute
from tests.csrf.driver import EVIL, FORM, KEYS, Browser, call, guarded
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

import dodai.wsgi
from dodai.csrf.enforce.csrf_protection import GRACE
from dodai.runtime import Runtime, RuntimeConfig

FORGED = [("host", "app.example.com"), ("origin", EVIL), ("sec-fetch-site", "cross-site"), ("content-type", FORM)]
RAN: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> Iterator[None]:
    before, Runtime._current = Runtime._current, None
    RAN.clear()
    yield
    Runtime._current = before


def exempt(*routes: str, when: str = "always") -> dict[str, Any]:
    return {"exemption": [{"routes": routes, "reason": "r", "owner": "o", "control": "c", "when": when}]}


def handler(name: str) -> Callable[..., Any]:
    async def run(request):
        RAN.append(f"{request.method} {name}")
        return PlainTextResponse(name)

    return run


def starlette_app(**more: Any) -> Starlette:
    async def talk(websocket):
        RAN.append("talk")
        await websocket.accept()
        await websocket.close()

    routes = [
        Route("/hook", handler("hook"), methods=["POST", "DELETE"]),
        Route("/transfer", handler("transfer"), methods=["POST"]),
        Route("/transfer", handler("read"), methods=["GET"]),
        Route("/form", lambda _: PlainTextResponse("form")),
        Mount("/api", routes=[Route("/hook", handler("api hook"), methods=["POST"])]),
        WebSocketRoute("/ws", talk),
        WebSocketRoute("/other-ws", talk),
    ]
    return Starlette(routes=routes, **more)


class Rewriting:
    """Middleware that changes what it passes on, in place or in a copy."""

    def __init__(self, app: Any, copy: bool = True, **changes: Any) -> None:
        self.app = app
        self.copy = copy
        self.changes = changes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            scope = dict(scope) if self.copy else scope
            scope.update(self.changes)
        await self.app(scope, receive, send)


class Quiet:
    """Middleware that turns every failure of what is inside into a page of its own."""

    def __init__(self, app: Any) -> None:
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            await self.app(scope, receive, send)
        except Exception:  # noqa: BLE001 - as applications do
            await PlainTextResponse("all is well")(scope, receive, send)


@pytest.mark.parametrize("copy", [True, False])
@pytest.mark.parametrize("changes", [{"path": "/transfer"}, {"method": "DELETE"}, {"path": "/api/hook"}])
@pytest.mark.parametrize(
    "arrange",
    [
        lambda layer: layer(starlette_app()),
        lambda layer: starlette_app(middleware=[Middleware(layer)]),
        lambda layer: Quiet(layer(starlette_app())),
        lambda layer: Mount("/", app=layer(starlette_app())).app,
    ],
    ids=["around", "inside", "swallowed", "mounted"],
)
async def test_rewritten_request_does_not_reach_another_handler(arrange, changes, copy):
    """Wherever the middleware stands and however it changes the request, no handler runs and the answer is our 403."""
    app = guarded(arrange(lambda inner: Rewriting(inner, copy, **changes)), **exempt("POST /hook"))
    answer = await call(app, "POST", "/hook", FORGED)
    assert (answer.status, RAN) == (403, [])
    assert answer.json["error"]["code"] == "DOD160"


async def test_middleware_of_a_mount_cannot_lead_elsewhere_below_it():
    """A mounted application's own middleware runs after the mount was chosen."""
    inner = Starlette(
        routes=[
            Route("/hook", handler("hook"), methods=["POST"]),
            Route("/transfer", handler("transfer"), methods=["POST"]),
        ],
        middleware=[Middleware(Rewriting, path="/api/transfer")],
    )
    app = guarded(Starlette(routes=[Mount("/api", app=inner)]), **exempt("POST /api/hook"))
    assert ((await call(app, "POST", "/api/hook", FORGED)).status, RAN) == (403, [])


@pytest.mark.parametrize("query", ["?_method=POST", "?_method=PUT"])
async def test_read_that_middleware_turns_into_a_write_is_refused(query):
    """`GET` passes without a token, so it must still be one where the handler is entered."""

    class Override:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            wanted = scope["query_string"].removeprefix(b"_method=").decode()
            await self.app({**scope, "method": wanted or scope["method"]}, receive, send)

    app = guarded(Override(starlette_app()))
    assert ((await call(app, "GET", "/transfer" + query, FORGED)).status, RAN) == (403, [])
    assert ((await call(app, "GET", "/transfer", FORGED)).status, RAN) == (200, ["GET read"])


async def test_request_with_a_token_may_be_rewritten():
    """It proved itself: its own page asked for whatever runs."""
    browser = Browser(guarded(starlette_app(), **exempt("POST /hook")))
    app = guarded(Rewriting(starlette_app(), path="/transfer"), **exempt("POST /hook"))
    browser.app = guarded()
    await browser.get()
    browser.app = app
    assert ((await browser.post("/api/hook")).status, RAN) == (200, ["POST transfer"])


async def test_granted_request_that_middleware_answers_itself():
    """What answers in the handler's place was not judged; its refusals are left as they are."""
    for status, expected in ((200, 403), (303, 403), (401, 401), (500, 500)):

        async def answer(request, _call_next, status=status):
            return PlainTextResponse("mine", status) if request.url.path == "/hook" else None

        app = guarded(
            starlette_app(middleware=[Middleware(BaseHTTPMiddleware, dispatch=answer)]), **exempt("POST /hook")
        )
        assert (await call(app, "POST", "/hook", FORGED)).status == expected


@pytest.mark.parametrize("kind", ["routes", "mounts", "fastapi"])
async def test_exemption_of_an_id_that_two_handlers_have_holds_for_neither(kind):
    """A converter is not in the id: `/p/{x:path}` takes what `/p/{x}` does not, and deletes files."""
    app = FastAPI() if kind == "fastapi" else Starlette()
    for path, name in (("/p/{x}", "hook"), ("/p/{x:path}", "delete")):
        if kind == "mounts":
            app.mount("/in", Starlette(routes=[Route(path, handler(name), methods=["POST"])]))
        else:
            app.add_route(path, handler(name), methods=["POST"])
    app.add_route("/p/{y}", handler("alone"), methods=["DELETE"])
    at = "/in" * (kind == "mounts")
    exempted = guarded(app, **exempt(f"POST {at}/p/{{x}}", "DELETE /p/{y}"))
    answers = [(await call(exempted, "POST", f"{at}{path}", FORGED)).status for path in ("/p/a", "/p/a/b")]
    assert (answers[0], set(answers) - {404}, RAN) == (403, {403}, [])
    assert ((await call(exempted, "DELETE", "/p/a", FORGED)).status, RAN) == (200, ["DELETE alone"])


async def test_exempt_websocket_is_the_one_that_is_accepted():
    """A handshake led to another route is not accepted."""
    app = guarded(starlette_app(), **exempt("WEBSOCKET /ws"))
    assert (await call(app, path="/ws", headers=FORGED, kind="websocket")).status == 101
    led = guarded(Rewriting(starlette_app(), path="/other-ws"), **exempt("WEBSOCKET /ws"))
    RAN.clear()
    answer = await call(led, path="/ws", headers=FORGED, kind="websocket")
    assert (answer.status, answer.closed, RAN) == (0, True, [])


async def test_exemptions_hold_in_fastapi_with_included_routers_and_mounts():
    """Included routers are matched by the router that includes them."""
    router = APIRouter(prefix="/v1")
    router.post("/hook")(lambda: RAN.append("hook"))
    router.post("/transfer")(lambda: RAN.append("transfer"))
    app = FastAPI()
    app.include_router(router)
    app.mount("/sub", starlette_app())
    rules = exempt("POST /v1/hook", "POST /sub/hook")
    assert (await call(guarded(app, **rules), "POST", "/v1/hook", FORGED)).status == 200
    assert (await call(guarded(app, **rules), "POST", "/sub/hook", FORGED)).status == 200
    assert RAN == ["hook", "POST hook"]
    led = guarded(Rewriting(app, path="/v1/transfer"), **rules)
    assert ((await call(led, "POST", "/v1/hook", FORGED)).status, RAN) == (403, ["hook", "POST hook"])


@pytest.mark.parametrize("changes", [{"method": "PUT"}, {"path": "/transfer"}])
async def test_exemption_holds_for_its_own_handler_in_litestar(changes):
    """Its middleware runs after routing, and a changed method still chooses another handler there."""
    from litestar import put

    @litestar_post("/hook")
    async def hook() -> str:
        RAN.append("hook")
        return "hook"

    @put("/hook")
    async def change() -> str:
        RAN.append("change")
        return "change"

    @litestar_post("/transfer")
    async def transfer() -> str:
        RAN.append("transfer")
        return "transfer"

    handlers = [hook, change, transfer]
    served = guarded(Litestar(handlers), **exempt("POST /hook"))
    for path in ("/hook", "/hook/", "//hook"):  # one route to Litestar
        assert (await call(served, "POST", path, FORGED)).status == 201
    for path in ("/transfer", "/transfer/", "/hook/x", "/hook/../transfer", "/hook%2F", "/Hook"):
        assert (await call(served, "POST", path, FORGED)).status == 403
    for app in (
        Litestar(handlers, middleware=[lambda app: Rewriting(app, copy=False, **changes)]),
        Rewriting(Litestar(handlers), **changes),
    ):
        RAN.clear()
        answer = await call(guarded(app, **exempt("POST /hook")), "POST", "/hook", FORGED)
        if "path" not in changes or isinstance(app, Rewriting):
            assert (answer.status, RAN) == (403, [])
        else:
            assert (answer.status, RAN) == (201, ["hook"]), "routed before, so the path changes nothing"


def flask_app(**settings: Any) -> Flask:
    app = Flask(__name__, subdomain_matching=bool(settings), **settings)
    app.config["SERVER_NAME"] = "shop.example" if settings else None
    app.post("/hook", endpoint="hook")(lambda: RAN.append("hook") or "hook")
    app.post("/transfer", endpoint="transfer")(lambda: RAN.append("transfer") or "transfer")
    return app


def wsgi_client(app: Any, **csrf: Any) -> Client:
    config = RuntimeConfig(csrf_keys=KEYS, origins=("https://shop.example",), sections={"csrf": csrf})
    return Client(dodai.wsgi.wrap(app, config=config), use_cookies=False)


def forged(client: Client, path: str = "/hook", host: str = "shop.example", **more: Any) -> int:
    headers = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Cookie": "session=victim", **more}
    return client.post(path, base_url=f"https://{host}", headers=headers).status_code


def test_exempt_flask_rule_is_not_that_of_another_subdomain():
    """The application's own URL adapter decides, which knows subdomains."""
    app = flask_app(static_folder=None)
    app.post("/hook", subdomain="admin", endpoint="admin")(lambda: RAN.append("admin") or "admin")
    client = wsgi_client(app, **exempt("POST /hook"))
    assert (forged(client), forged(client, host="admin.shop.example"), RAN) == (200, 403, ["hook"])
    RAN.clear()
    client = wsgi_client(app, **exempt("POST admin/hook"))
    assert (forged(client), forged(client, host="admin.shop.example"), RAN) == (403, 200, ["admin"])


@pytest.mark.parametrize("lazy", [False, True])
def test_rewritten_flask_request_does_not_reach_another_view(lazy):
    """Also when the middleware is a generator, whose work begins when the server asks for the body."""
    app = flask_app()
    inner = app.wsgi_app

    def rewriting(environ, start_response):
        return inner({**environ, "PATH_INFO": "/transfer"}, start_response)

    def generating(environ, start_response):
        yield from rewriting(environ, start_response)

    app.wsgi_app = generating if lazy else rewriting
    assert (forged(wsgi_client(app, **exempt("POST /hook"))), RAN) == (403, [])


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_rule_that_a_hook_of_flask_chooses_runs_for_no_request_that_was_let_through(method):
    """`request.url_rule` decides what runs: a forged GET would reach what takes POST alone."""
    app = flask_app()
    app.get("/")(lambda: RAN.append("home") or "home")

    @app.before_request
    def choose() -> None:
        request.url_rule = next(rule for rule in app.url_map.iter_rules() if rule.rule == "/transfer")

    client = wsgi_client(app, **exempt("POST /hook"))
    headers = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Cookie": "session=victim"}
    path = "/" if method == "GET" else "/hook"
    assert (client.open(path, base_url="https://shop.example", method=method, headers=headers).status_code, RAN) == (
        403,
        [],
    )


def test_exemptions_do_not_hold_beside_a_dispatcher_of_unknown_applications():
    """A mount takes what the URL map would have, and nobody sees what runs there; a known one is watched as well."""

    def unknown(environ, start_response):
        RAN.append("unknown")
        start_response("200 OK", [])
        return [b""]

    for mounted in (unknown, flask_app()):
        app = DispatcherMiddleware(flask_app(), {"/hook": mounted})
        assert (forged(wsgi_client(app, **exempt("POST /hook"))), RAN) == (403, [])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("authorization", "Bearer abc")], 200),
        ([("authorization", "bearer abc"), ("origin", EVIL), ("sec-fetch-site", "cross-site")], 200),
        ([("authorization", "Bearer abc"), ("cookie", "session=victim")], 403),
        ([("authorization", "Bearer abc"), ("cookie", "")], 403),
        ([("authorization", "Basic dTpw")], 403),
        ([("authorization", "Digest x")], 403),
        ([("authorization", "Bearer")], 403),
        ([("authorization", "Bearer a"), ("authorization", "Basic dTpw")], 403),
        ([("proxy-authorization", "Bearer abc")], 403),
        ([], 403),
    ],
)
async def test_bearer_exemption_holds_for_requests_no_page_can_make(headers, status):
    """One block for a whole API: no cookie, and a token that a browser never adds by itself."""
    app = guarded(starlette_app(), **exempt("POST /api/*", when="bearer"))
    assert (await call(app, "POST", "/api/hook", [("host", "app.example.com"), *headers])).status == status
    assert (await call(app, "POST", "/hook", [("host", "app.example.com"), *headers])).status == 403


def test_routes_of_a_bearer_exemption_are_listed_and_stay_protected(tmp_path):
    """Each route of the group has its own row, judged by what browsers can send."""
    (tmp_path / "shop.py").write_text(SHOP, "utf-8")
    manifest = tmp_path / "dodai.toml"
    manifest.write_text(
        '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\napp = "shop:app"\npublic = true\n'
        '[[csrf.exemption]]\nroutes = ["POST /api/*"]\nwhen = "bearer"\nreason = "API"\nowner = "o"\ncontrol = "c"\n',
        "utf-8",
    )
    command = [sys.executable, "-m", "dodai", "routes", "--json", "--manifest", str(manifest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    table = json.loads(done.stdout)
    assert [(row["path"], row["verdict"], row["exemption"]) for row in table["routes"]] == [
        ("/api/one", "protected", None),
        ("/api/two", "protected", None),
        ("/save", "protected", None),
    ]
    said = [row["evidence"].partition("; ")[2] for row in table["routes"]]
    assert said == ["exempt for bearer tokens without cookies (API)"] * 2 + [""]
    assert table["summary"]["coverage"] == 1.0
    assert table["binding"] == f"the visitor's cookie, not to who is signed in ({GRACE})"
    manifest.write_text(manifest.read_text("utf-8") + '[csrf]\nsession_cookie = "sid"\n', "utf-8")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert json.loads(done.stdout)["binding"] == f"the visitor's cookie and the session cookie `sid` ({GRACE})"
    command[3] = "check"
    done = subprocess.run([*command, "csrf"], capture_output=True, text=True, check=False)
    said = f"tokens are bound to the visitor's cookie and the session cookie `sid` ({GRACE})"
    (seen,) = json.loads(done.stdout)["seen"]
    assert re.sub(r", asked with \d+ requests", "", seen) == f"csrf: 3 state-changing routes of `web`; {said}"


SHOP = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
import dodai.asgi
async def ok(_): return PlainTextResponse("ok")
routes = [Route(p, ok, methods=["POST"]) for p in ("/api/one", "/api/two", "/save")]
app = dodai.asgi.wrap(Starlette(routes=routes), service="shop/web")
"""


async def test_pattern_matches_nothing_in_an_exemption_that_always_holds():
    """Only requests that prove nothing needs protection may be covered by a pattern."""
    for pattern in ("POST /api/*", "* /api/hook", "POST *"):
        assert (await call(guarded(starlette_app(), **exempt(pattern)), "POST", "/api/hook", FORGED)).status == 403
    app = guarded(starlette_app(), **exempt("* /api/*", when="bearer"))
    assert (await call(app, "POST", "/api/hook", [("authorization", "Bearer a")])).status == 200


async def test_application_whose_handlers_cannot_be_watched_has_no_exemptions():
    """An older router without the place to stand at is protected all the same."""

    class Old(Router):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app(scope, receive, send)

    old = Old(routes=[Route("/hook", handler("hook"), methods=["POST"])])
    del old.middleware_stack
    assert ((await call(guarded(old, **exempt("POST /hook")), "POST", "/hook", FORGED)).status, RAN) == (403, [])


DJANGO = """
MORE = []
import asyncio, json, sys, types
import django
from django.conf import settings
from django.http import HttpResponse
ran = []
def view(name):
    def run(request, *_, **__):
        ran.append(name)
        return HttpResponse(name)
    run.__name__ = name
    return run
class ToTransfer:
    def __init__(self, get_response): self.get_response = get_response
    def __call__(self, request):
        request.path_info = request.GET.get("to", request.path_info)
        request.method = request.GET.get("as", request.method)
        return self.get_response(request)
sys.modules["shop_site"] = site = types.ModuleType("shop_site")
class OtherHost:
    def __init__(self, get_response): self.get_response = get_response
    def __call__(self, request):
        if "host" in request.GET: request.urlconf = request.GET["host"]
        return self.get_response(request)
class Answering:
    def __init__(self, get_response): self.get_response = get_response
    def __call__(self, request):
        return answered(request) if "answer" in request.GET else self.get_response(request)
answered = view("answered")
site.ToTransfer = ToTransfer
site.OtherHost, site.Answering = OtherHost, Answering
sys.modules["other_site"] = other = types.ModuleType("other_site")
settings.configure(SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], ROOT_URLCONF="shop_site", USE_I18N=True,
    LANGUAGES=[("en", "E"), ("ja", "J"), ("de", "D")], LANGUAGE_CODE="en", LOGGING_CONFIG=None,
    MIDDLEWARE=["django.middleware.locale.LocaleMiddleware", "shop_site.ToTransfer"] + MORE)
django.setup()
from django.urls import path
from django.conf.urls.i18n import i18n_patterns
site.urlpatterns = [path("hook/", view("hook")), path("app/hook/", view("app_hook")), path("transfer/", view("transfer")),
    *i18n_patterns(path("paid/", view("paid")), prefix_default_language=False), path("ja/paid/", view("shadow"))]
hook = site.urlpatterns[0].callback
other.urlpatterns = [path("hook/", view("other")), path("transfer/", hook), path("answered/", answered)]
from django.core.handlers.wsgi import WSGIHandler
from django.core.handlers.asgi import ASGIHandler
import dodai.wsgi
from werkzeug.test import Client
from dodai.runtime import RuntimeConfig
from tests.csrf.driver import KEYS, call, guarded
FORGED = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Cookie": "session=victim"}
ROUTES = ["POST /hook/", "POST /app/hook/", "POST /paid/"]
def rules(*routes): return {"exemption": [{"routes": routes, "reason": "r", "owner": "o", "control": "c"}]}
def wsgi(method, target, *routes, **more):
    config = RuntimeConfig(csrf_keys=KEYS, origins=("https://shop.example",), sections={"csrf": rules(*routes)})
    client = Client(dodai.wsgi.wrap(WSGIHandler(), config=config), use_cookies=False)
    ran.clear()
    return client.open(target, method=method, headers=FORGED, **more).status_code, list(ran)
def inside(target):
    # Another handler of the same project, served beside the one that was wrapped.
    wsgi("GET", "/hook/")
    ran.clear()
    client = Client(WSGIHandler(), use_cookies=False)
    return client.open(target, method="POST", headers=FORGED).status_code, list(ran)
def passed_on(method, target):
    # The exempt view, or one that is read, sends a request to its own project.
    from django.test import Client as OwnClient
    from django.core.handlers.base import BaseHandler
    def page(request): return OwnClient().post(target)
    def again(request):
        request.path_info = target
        return WSGIHandler()(dict(request.META, PATH_INFO=target, REQUEST_METHOD="POST"), lambda *_: None)
    answers = []
    for view in (page, again):
        site.urlpatterns[:] = [path("page/", view), *site.urlpatterns[-5:]]
        from django.urls import clear_url_caches
        clear_url_caches()
        answers.append(wsgi(method, "/page/", "POST /page/")[1])
    return answers
def asgi(target, root_path, *routes):
    ran.clear()
    sent = [(name.lower(), value) for name, value in FORGED.items()]
    app = guarded(ASGIHandler(), **rules(*routes))
    return asyncio.run(call(app, "POST", target, sent, root_path=root_path)).status, list(ran)
"""


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ('wsgi("POST", "/hook/", "POST /hook/")', [200, ["hook"]]),
        ('wsgi("POST", "/hook/?to=/transfer/", "POST /hook/")', [403, []]),
        ('wsgi("POST", "/hook/?as=PUT", "POST /hook/")', [403, []]),
        ('wsgi("GET", "/transfer/?as=POST", "POST /hook/")', [403, []]),
        ('asgi("/app/hook/", "", "POST /app/hook/")', [200, ["app_hook"]]),
        ('asgi("/app/hook/", "/app", "POST /app/hook/")', [403, []]),
        ('asgi("/app/hook/", "/app", "POST /hook/")', [200, ["hook"]]),
        ('(wsgi("GET", "/de/paid/"), wsgi("POST", "/paid/", "POST /paid/"))[1]', [200, ["paid"]]),
        ('wsgi("POST", "/ja/paid/", "POST /paid/")', [403, []]),
        ('wsgi("POST", "/ja/paid/", "POST /ja/paid/")', [403, []]),
        ('inside("/transfer/")', [500, []]),
        ('passed_on("POST", "/transfer/")', [[], []]),
        ('passed_on("GET", "/transfer/")', [[], []]),
    ],
)
def test_exemptions_of_django_hold_for_the_view_that_is_resolved(asked, answer):
    """Middleware, `root_path` and languages choose among views; the one that runs is the one that is exempt."""
    code = DJANGO + f"print('ANSWER', json.dumps({asked}))\n"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert said, done.stderr
    assert json.loads(said[0].removeprefix("ANSWER")) == answer, done.stderr


@pytest.mark.parametrize(
    ("more", "asked", "answer"),
    [
        ("OtherHost", 'wsgi("POST", "/hook/", "POST /hook/")', [200, ["hook"]]),
        ("OtherHost", 'wsgi("POST", "/hook/?host=other_site", "POST /hook/")', [403, []]),
        ("OtherHost", 'wsgi("POST", "/transfer/?host=other_site", "POST /hook/")', [403, []]),
        ("OtherHost", 'wsgi("POST", "/transfer/?host=other_site", "POST /transfer/")', [403, []]),
        ("Answering", 'wsgi("POST", "/hook/", "POST /hook/")', [200, ["hook"]]),
        ("Answering", 'wsgi("POST", "/hook/?answer=1", "POST /hook/")', [403, ["answered"]]),
        (
            "Answering; site.urlpatterns.append(path('a', answered))",
            'wsgi("POST", "/hook/?answer=1", "POST /hook/")',
            [403, []],
        ),
    ],
)
def test_exemptions_of_django_beside_middleware_that_chooses(more, asked, answer):
    """Another URLconf is another pattern, which the entrance tells; middleware that names a view ends all exemptions.

    A function of its own that is no view of the project can be told only by its answer, which is replaced.
    """
    name, _, then = more.partition("; ")
    code = (
        DJANGO.replace("MORE = []", f'MORE = ["shop_site.{name}"]') + f"{then}\nprint('ANSWER', json.dumps({asked}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    assert said, done.stderr
    assert json.loads(said[0].removeprefix("ANSWER")) == answer, done.stderr
