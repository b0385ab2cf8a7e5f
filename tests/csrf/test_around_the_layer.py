"""Ways around the layer: nobody has judged the request, and so no handler that changes something runs for it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from asgiref.wsgi import WsgiToAsgi
from flask import Flask
from litestar import Litestar
from litestar import Request as LitestarRequest
from litestar import asgi as litestar_asgi
from litestar import post as litestar_post
from litestar.exceptions import LitestarException
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute
from tests.csrf.driver import KEYS, call, guarded
from tests.csrf.test_exemptions import FORGED, RAN, exempt, starlette_app
from tests.csrf.test_exemptions import _nothing_ran as _nothing_ran  # noqa: PLC0414 - the fixture, for this module too
from werkzeug.middleware.dispatcher import DispatcherMiddleware
from werkzeug.test import Client

import dodai.asgi
import dodai.wsgi
from dodai.asgi.layer import UnknownProtocolError
from dodai.core.errors import DodaiError
from dodai.csrf.enforce.entrance import NotBehindLayerError
from dodai.observability.policy import ObservabilityPolicy
from dodai.runtime import RuntimeConfig, spawn

HERE = "https://app.example.com"
WIRE = {key.title(): value for key, value in FORGED if key != "host"}


def config(**more: Any) -> RuntimeConfig:
    """A deployed service without lines."""
    silent = ObservabilityPolicy(stdout=False, heartbeat_s=0.0)
    return RuntimeConfig(**{"csrf_keys": KEYS, "origins": (HERE,), "policy": silent, **more})


class Losing:
    """Middleware that calls the application with a scope and in a context of its own making."""

    def __init__(self, app: Any, **changes: Any) -> None:
        self.app = app
        self.changes = changes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        own = {key: value for key, value in scope.items() if not key.startswith("dodai")} | self.changes
        await contextvars.Context().run(asyncio.get_running_loop().create_task, self.app(own, receive, send))


@pytest.mark.parametrize("asked", [("POST", "/hook"), ("GET", "/form")])
@pytest.mark.parametrize("inside", [True, False])
async def test_request_that_lost_its_scope_and_its_context_changes_nothing(asked, inside):
    """Neither an exempt request nor a read becomes another's write, with or without an exemption."""
    lost = {"path": "/transfer", "method": "POST"}
    inner = starlette_app(middleware=[Middleware(Losing, **lost)] if inside else [])
    for section in (exempt("POST /hook"), {}):
        served = inner if inside else Losing(inner, **lost)
        app = dodai.asgi.wrap(served, config=config(sections={"csrf": section}))
        answer = await call(app, *asked, FORGED)
        assert (answer.status, RAN) == (403, []), answer.text
        code = "DOD161" if section or asked[0] == "GET" else "DOD150"
        assert f'"code":"{code}"' in answer.text.replace(" ", "")


async def test_read_that_lost_its_scope_and_its_context_is_served():
    """Nothing is to be judged about it."""
    inner = starlette_app(middleware=[Middleware(Losing)])
    assert (await call(dodai.asgi.wrap(inner, config=config()), "GET", "/form")).text == "form"


async def test_task_that_middleware_spawns_is_still_the_request_that_was_judged():
    """`spawn` gives it a context of its own, for its line; what it may enter stays that of the request."""
    tasks = []

    class Spawning:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            async def ignore(_: Any) -> None:
                return None

            own = {key: value for key, value in scope.items() if not key.startswith("dodai")}
            work = self.app({**own, "method": "POST", "path": "/transfer"}, receive, ignore)
            tasks.append(spawn(work, name="later"))
            await PlainTextResponse("queued")(scope, receive, send)

    inner = starlette_app(middleware=[Middleware(Spawning)])
    await call(dodai.asgi.wrap(inner, config=config(sections={"csrf": exempt("POST /hook")})), "POST", "/hook", FORGED)
    await asyncio.gather(*tasks, return_exceptions=True)
    assert (len(tasks), RAN) == (1, [])


async def test_application_inside_is_not_served_by_mistake():
    """Whoever serves it instead of what `wrap` returned learns so from the first request that changes something."""
    inner = starlette_app()
    dodai.asgi.wrap(inner, config=config())
    with pytest.raises(NotBehindLayerError, match=r"DOD161 .*fix: "):
        await call(inner, "POST", "/transfer")
    assert ((await call(inner, "GET", "/transfer")).text, RAN) == ("read", ["GET read"])


async def test_application_inside_is_served_while_developing_and_told_once(tmp_path, monkeypatch, capsys):
    """A test may well call it."""
    monkeypatch.chdir(tmp_path)
    inner = starlette_app()
    dodai.asgi.wrap(inner, config=config(origins=(), env="local"))
    for _ in range(2):
        await call(inner, "POST", "/transfer")
    assert (RAN, capsys.readouterr().err.count("DOD161")) == (["POST transfer"] * 2, 1)


async def test_service_that_is_off_is_served_beside_a_protected_wrap_of_the_same_application():
    """It is behind a layer, which says why there is no check; in the other order, too."""
    for first in ({}, {"csrf_off": "no browser gets here"}):
        inner, second = starlette_app(), {} if first else {"csrf_off": "no browser gets here"}
        one = dodai.asgi.wrap(inner, config=config(**first))
        other = dodai.asgi.wrap(inner, config=config(**second))
        on, off = (one, other) if not first else (other, one)
        assert (await call(off, "POST", "/transfer", FORGED)).status == 200
        assert (await call(on, "POST", "/transfer", FORGED)).status == 403
        with pytest.raises(NotBehindLayerError):
            await call(inner, "POST", "/transfer")


async def test_mode_that_refuses_nothing_does_not_refuse_this_either():
    """`report` counts what would have been refused."""
    inner = starlette_app()
    guarded(inner, mode="report")
    assert (await call(inner, "POST", "/transfer")).status == 200


async def test_mode_that_refuses_nothing_counts_a_read_that_becomes_a_write(tmp_path):
    """It is told in the line, and served."""

    class Writing:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await self.app({**scope, "method": "POST"}, receive, send)

    sections = {"csrf": {"mode": "report"}}
    app = dodai.asgi.wrap(Writing(starlette_app()), config=config(sections=sections, state=tmp_path))
    assert ((await call(app, "GET", "/transfer", FORGED)).status, RAN) == (200, ["POST transfer"])
    app.runtime.flush()
    (line,) = [json.loads(text) for file in (tmp_path / "lines").iterdir() for text in file.read_text().splitlines()]
    assert line["csrf"] == "report:handler_not_judged"


async def test_litestar_application_that_nobody_wrapped_is_left_alone():
    """The place where its handlers are entered is shared by all of its kind in the process."""

    @litestar_post("/transfer")
    async def transfer() -> str:
        RAN.append("transfer")
        return "done"

    protected, apart = (Litestar([transfer], openapi_config=None) for _ in range(2))
    dodai.asgi.wrap(protected, config=config())
    assert (await call(protected, "POST", "/transfer")).status == 403 or RAN == []
    assert RAN == []
    assert (await call(apart, "POST", "/transfer")).status == 201


def litestar_app(*more: Any) -> Litestar:
    async def ran(request: Any) -> str:
        return RAN.append(request.url.path) or "done"

    ran.__annotations__ = {"request": LitestarRequest, "return": str}
    return Litestar([litestar_post(["/hook", "/transfer"])(ran), *more], openapi_config=None)


def flask_app(name: str = "inner") -> Flask:
    app = Flask(name)
    app.add_url_rule("/transfer", "t", lambda: RAN.append(name) or "done", methods=["POST"])
    return app


def flask_over_asgi() -> Any:
    inner = WsgiToAsgi(flask_app())

    async def bridge(scope: Any, receive: Any, send: Any) -> None:  # Litestar wants to see the annotations
        await inner(scope, receive, send)

    return bridge


class ByPath:
    """A dispatcher of the application's own, which holds applications in a dict."""

    def __init__(self, main: Any, **held: Any) -> None:
        self.main, self.held = main, held

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        first, _, rest = scope["path"].removeprefix("/").partition("/")
        app, path = (self.held[first], "/" + rest) if first in self.held else (self.main, scope["path"])
        await app({**scope, "path": path, "raw_path": path.encode()}, receive, send)


def below_litestar(app: Any) -> Litestar:
    return litestar_app(litestar_asgi("/in", is_mount=True, copy_scope=True)(app))


OUTER = {
    "litestar": below_litestar,
    "starlette": lambda app: Starlette(routes=[Mount("/in", app=app)]),
    "dict": lambda app: ByPath(starlette_app(), **{"in": app}),
}


@pytest.mark.parametrize("outer", OUTER)
@pytest.mark.parametrize("make", [litestar_app, starlette_app, flask_over_asgi])
async def test_application_that_wrap_found_is_not_served_by_itself(make, outer):
    """Wherever it stands below the one that is wrapped; and neither is what stands between."""
    inner = make()
    between = OUTER[outer](inner)
    served = dodai.asgi.wrap(between, config=config())
    for app, path in ((inner, "/transfer"), (between, "/in/transfer")):
        with contextlib.suppress(NotBehindLayerError, LitestarException):  # Starlette raises it again once it answered
            assert (await call(app, "POST", path, FORGED)).status == 500
        assert RAN == []
    assert ((await call(served, "POST", "/in/transfer", FORGED)).status, RAN) == (403, [])
    alone = dodai.asgi.wrap(inner, config=config(csrf_off="no browser gets here"))
    assert ((await call(alone, "POST", "/transfer", FORGED)).status < 300, len(RAN)) == (True, 1), (
        "behind its own layer"
    )


async def test_application_that_wrap_found_is_served_while_developing_and_told_once(tmp_path, monkeypatch, capsys):
    """The one inside as much as the one that is wrapped."""
    monkeypatch.chdir(tmp_path)
    inner = litestar_app()
    dodai.asgi.wrap(below_litestar(inner), config=config(origins=(), env="local"))
    for _ in range(2):
        await call(inner, "POST", "/transfer")
    assert (len(RAN), capsys.readouterr().err.count("DOD161")) == (2, 1)


async def test_exempt_request_that_lost_everything_does_not_reach_a_mounted_litestar():
    """The Litestar below another one has handlers of its own."""
    outer = below_litestar(litestar_app())
    app = dodai.asgi.wrap(Losing(outer, path="/in/transfer"), config=config(sections={"csrf": exempt("POST /hook")}))
    assert ((await call(app, "POST", "/hook", FORGED)).status >= 400, RAN) == (True, [])


def bare(environ: Any, start_response: Any) -> list[bytes]:
    RAN.append("bare")
    start_response("200 OK", [])
    return [b"done"]


def test_dispatcher_inside_is_not_served_by_mistake():
    """With all that it leads to, a function of one's own among them."""
    second = flask_app("second")
    inside = DispatcherMiddleware(flask_app("main"), {"/admin": second, "/bare": bare})
    layer = dodai.wsgi.wrap(inside, config=config())
    for app, path in ((inside, "/transfer"), (inside, "/admin/transfer"), (inside, "/bare"), (second, "/transfer")):
        with contextlib.suppress(NotBehindLayerError):
            assert Client(app).post(path, base_url=HERE, headers=WIRE).status_code == 500
    assert Client(layer).post("/admin/transfer", base_url=HERE, headers=WIRE).status_code == 403
    assert RAN == []


def test_application_that_stands_in_front_of_the_layer_is_served():
    """A dispatcher that is put around the layer later leads to others that have none, before and after a first request."""
    main, second = flask_app("main"), flask_app("second")
    main.wsgi_app = DispatcherMiddleware(dodai.wsgi.wrap(main, config=config()), {"/admin": second, "/bare": bare})
    for path in ("/admin/transfer", "/bare", "/transfer", "/admin/transfer", "/bare"):
        expected = 403 if path == "/transfer" else 200
        assert Client(main).post(path, base_url=HERE, headers=WIRE).status_code == expected
    assert RAN == ["second", "bare"] * 2


@pytest.mark.parametrize("changes", [{"PATH_INFO": "/transfer"}, {"REQUEST_METHOD": "POST", "PATH_INFO": "/transfer"}])
@pytest.mark.parametrize("asked", [("POST", "/hook"), ("GET", "/form")])
def test_environ_that_lost_everything_changes_nothing_in_flask(asked, changes):
    """Middleware that calls the application in a context of its own."""
    app = Flask(__name__)
    for name in ("hook", "transfer"):
        app.add_url_rule(f"/{name}", name, lambda name=name: RAN.append(name) or name, methods=["POST"])
    app.add_url_rule("/form", "form", lambda: "form")
    inner = app.wsgi_app

    def losing(environ, start_response):
        own = {key: value for key, value in environ.items() if not key.startswith("dodai")} | changes
        return contextvars.Context().run(inner, own, start_response)

    app.wsgi_app = losing
    app.wsgi_app = dodai.wsgi.wrap(app, config=config(sections={"csrf": exempt("POST /hook")}))
    answer = Client(app).open(asked[1], method=asked[0], base_url=HERE, headers=WIRE)
    assert (answer.status_code >= 400, RAN) == (True, [])


DJANGO = """
import contextvars, sys, types, django
from django.conf import settings
settings.configure(SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], ROOT_URLCONF="urls_x", LOGGING_CONFIG=None)
django.setup()
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import path
from werkzeug.test import Client
import dodai.wsgi
from tests.csrf.test_around_the_layer import HERE, WIRE, config, exempt

ran = []
urls = types.ModuleType("urls_x")
urls.urlpatterns = [path(f"{n}/", lambda _, n=n: ran.append(n) or HttpResponse(n)) for n in ("hook", "transfer", "form")]
sys.modules["urls_x"] = urls
inner = WSGIHandler()
def losing(environ, start_response):
    own = {k: v for k, v in environ.items() if not k.startswith("dodai")}
    own |= {"PATH_INFO": "/transfer/", "REQUEST_METHOD": "POST"}
    return contextvars.Context().run(inner, own, start_response)
losing.app = inner
served = dodai.wsgi.wrap(losing, config=config(sections={"csrf": exempt("POST /hook/")}))
for method, asked in (("POST", "/hook/"), ("GET", "/form/")):
    answer = Client(served).open(asked, method=method, base_url=HERE, headers=WIRE)
    print(answer.status_code >= 400, ran)
"""


def test_environ_that_lost_everything_changes_nothing_in_django():
    """In a process of its own: Django is configured once."""
    done = subprocess.run(
        [sys.executable, "-c", DJANGO], capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]
    )
    assert done.stdout.splitlines() == ["True []"] * 2, done.stdout + done.stderr


@pytest.mark.parametrize("kind", ["webtransport", "https"])
async def test_protocol_that_nobody_knows_does_not_reach_the_application(kind):
    """As ASGI wants it: an application raises for a scope whose type it does not know."""

    async def inner(scope: Any, receive: Any, send: Any) -> None:
        RAN.append(scope["type"])

    app = dodai.asgi.wrap(inner, config=config())
    with pytest.raises(UnknownProtocolError, match=kind):
        await app({"type": kind, "path": "/", "headers": []}, None, None)
    await app({"type": "channel", "channel": "work"}, None, None)  # a worker of Django Channels: no client is behind it
    assert RAN == ["channel"]


@pytest.mark.parametrize("wrap", ["asgi", "wsgi"])
async def test_only_a_question_for_liveness_gets_past_the_edge_gate(wrap, tmp_path):
    """Nothing that changes something, and no WebSocket, comes in by `/healthz` without the edge's key."""
    key = tmp_path / "edge.key"
    key.write_text("k" * 43)

    async def health(request: Any) -> Any:
        RAN.append(request.method)
        return PlainTextResponse("ok")

    async def talk(websocket: Any) -> None:
        RAN.append("WEBSOCKET")
        await websocket.accept()
        await websocket.close()

    methods = ["GET", "POST", "DELETE", "OPTIONS"]
    if wrap == "asgi":
        routes = [Route("/healthz", health, methods=methods), WebSocketRoute("/healthz", talk)]
        app = dodai.asgi.wrap(Starlette(routes=routes), config=config(edge_key_file=key, csrf_off="to see the gate"))
        found = {method: (await call(app, method, "/healthz")).status for method in (*methods, "HEAD")}
        assert (await call(app, "GET", "/healthz", kind="websocket")).closed
    else:
        flask = Flask(__name__)
        flask.add_url_rule("/healthz", "h", lambda: RAN.append("ran") or "ok", methods=methods)
        served = dodai.wsgi.wrap(flask, config=config(edge_key_file=key, csrf_off="to see the gate"))
        found = {m: Client(served).open("/healthz", method=m).status_code for m in (*methods, "HEAD")}
    assert found == {"GET": 200, "HEAD": 200, "POST": 403, "DELETE": 403, "OPTIONS": 403}
    assert len(RAN) == 2


def test_reason_of_a_service_called_app_is_not_that_of_a_process_without_a_name(tmp_path):
    """`app` is what a process is called that does not say which service it is: that opens nothing."""
    text = '[project]\nname = "shop"\n[service.app]\ncommand = ["x"]\ncsrf = "off"\ncsrf_reason = "mTLS only"\n'
    (tmp_path / "dodai.toml").write_text(text)
    given = RuntimeConfig.from_environment({"DODAI_MANIFEST": str(tmp_path / "dodai.toml")})
    with pytest.raises(DodaiError) as caught:
        dodai.wsgi.wrap(Flask(__name__), config=given)
    assert caught.value.code.id == "DOD188"


@pytest.mark.parametrize("held", ["application", "method"])
def test_read_that_hidden_middleware_turns_into_a_write_is_refused_in_flask(held):
    """Middleware that is a function keeps what it calls in a closure: it is found there, and watched."""
    app = Flask(__name__)
    app.add_url_rule("/transfer", "transfer", lambda: RAN.append("transfer") or "done", methods=["POST"])
    inner = app if held == "application" else app.wsgi_app

    def overriding(environ, start_response):
        own = {key: value for key, value in environ.items() if not key.startswith("dodai")}
        return inner(own | {"REQUEST_METHOD": "POST"}, start_response)

    served = dodai.wsgi.wrap(overriding, config=config())
    answer = Client(served).get("/transfer", base_url=HERE, headers=WIRE)
    assert (answer.status_code, RAN) == (403, [])


async def test_read_that_hidden_middleware_turns_into_a_write_is_refused():
    """The same over ASGI; a read that stays one is served."""
    inner = starlette_app()

    async def overriding(scope: Any, receive: Any, send: Any) -> None:
        method = "POST" if scope["query_string"] == b"_method=POST" else "GET"
        await inner({**scope, "method": method}, receive, send)

    app = dodai.asgi.wrap(overriding, config=config(sections={"csrf": exempt("POST /transfer")}))
    assert ((await call(app, "GET", "/transfer?_method=POST", FORGED)).status, RAN) == (403, [])
    assert ((await call(app, "GET", "/transfer", FORGED)).text, RAN) == ("read", ["GET read"])
    assert ((await call(app, "POST", "/transfer", FORGED)).status, RAN) == (403, ["GET read"])
