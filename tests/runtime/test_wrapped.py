"""An exemption is for one service, and for one application of a process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.csrf.driver import EVIL, FORM, KEYS, call
from werkzeug.test import Client

import dodai.asgi
import dodai.wsgi
from dodai.core.errors import DodaiError
from dodai.runtime import RuntimeConfig

Config = Callable[..., RuntimeConfig]
FORGED = [("host", "app.example.com"), ("origin", EVIL), ("sec-fetch-site", "cross-site"), ("content-type", FORM)]
MADE = f"{__name__}:wrapped"
WEB, ADMIN = {"command": ["web"], "app": MADE}, {"command": ["admin"]}
RPC, JOBS = {"command": ["rpc"], "protocol": "grpc", "app": MADE}, {"command": ["jobs"], "kind": "worker"}
OPEN = {"command": ["inside"], "csrf": "off", "csrf_reason": "nobody reaches it"}
SAID = "one of several that this process has wrapped"


async def hook(_: Any) -> PlainTextResponse:
    return PlainTextResponse("ran")


async def other_hook(_: Any) -> PlainTextResponse:
    return PlainTextResponse("another ran")


async def page(_: Any) -> PlainTextResponse:
    return PlainTextResponse("page")


def app_with(handler: Any = hook, *more: Any) -> Starlette:
    return Starlette(routes=[Route("/hook", handler, methods=["POST"]), *more])


def wrapped(config: RuntimeConfig) -> Any:
    """The factory that `web` and `rpc` name."""
    return dodai.asgi.wrap(app_with(), config=config)


@pytest.fixture
def web(config: Config) -> Config:
    """The config of a process whose manifest exempts `POST /hook`, of the service `of`; `services` are its tables."""

    def make(service: str = "web", services: Any = None, *, of: str = "", **terms: Any) -> RuntimeConfig:
        exemption = {"route": "POST /hook", "service": of, "reason": "r", "owner": "o", "control": "c", **terms}
        sections = {"csrf": {"exemption": [exemption]}, "service": services or {}}
        return config(service, csrf_off="", csrf_keys=KEYS, origins=("https://app.example.com",), sections=sections)

    return make


async def forged(app: Any, path: str = "/hook", *more: tuple[str, str]) -> int:
    return int((await call(app, "POST", path, [*FORGED, *more])).status)


@pytest.mark.parametrize(
    ("service", "services", "named", "status"),
    [
        ("web", {}, "", 200),
        ("web", {"web": WEB}, "", 200),
        ("web", {"web": WEB, "rpc": RPC, "jobs": JOBS, "inside": OPEN}, "", 200),
        ("app", {"web": WEB}, "", 200),
        ("app", {"web": WEB}, "web", 200),
        ("rpc", {"rpc": RPC}, "", 200),
        ("rpc", {"web": WEB, "rpc": RPC}, "", 403),
        ("rpc", {"web": WEB, "rpc": RPC}, "rpc", 200),
        ("web", {"web": WEB, "rpc": RPC}, "rpc", 403),
        ("web", {"web": WEB, "admin": ADMIN}, "web", 200),
        ("web", {"web": WEB, "admin": ADMIN}, "admin", 403),
        ("admin", {"web": WEB, "admin": ADMIN}, "web", 403),
        ("app", {"web": WEB, "admin": ADMIN}, "web", 403),
        ("", {"web": WEB, "admin": ADMIN}, "web", 403),
    ],
)
async def test_exemption_holds_in_its_own_service_alone(web: Config, service, services, named, status):
    """Without a name it is that of the only service that is checked; a process without a name is that service."""
    app = wrapped(web(service, services, of=named))
    assert await forged(app) == status


@pytest.mark.parametrize(("service", "status"), [("admin", 403), ("web", 200)])
async def test_bearer_exemption_of_another_service_does_not_hold(web: Config, service, status):
    """The same for exemptions of requests with a bearer token alone."""
    given = web(service, {"web": WEB, "admin": ADMIN}, of="web", when="bearer")
    assert await forged(wrapped(given), "/hook", ("authorization", "Bearer abc")) == status


@pytest.mark.parametrize("wrap", [dodai.asgi.wrap, dodai.wsgi.wrap], ids=["asgi", "wsgi"])
@pytest.mark.parametrize("service", ["web", "admin", "app"])
def test_nothing_starts_while_nobody_can_say_whose_an_exemption_is(web: Config, wrap, service):
    """Two services are checked and the exemption names neither."""
    with pytest.raises(DodaiError) as caught:
        wrap(app_with(), config=web(service, {"web": WEB, "admin": ADMIN}))
    assert caught.value.code.id == "DOD189"
    assert "`POST /hook` names no `service`, and requests to `web`, `admin` are checked" in caught.value.message


def test_process_that_does_not_say_its_service_says_that_no_exemption_holds(web: Config, capsys):
    """A developer who starts the server by hand is told what to set."""
    dodai.asgi.wrap(app_with(), config=web("app", {"web": WEB, "admin": ADMIN}, of="web"))
    assert "set `DODAI_SERVICE` to the service whose application this is" in capsys.readouterr().err


async def test_exemption_without_a_name_is_for_the_only_application_of_a_process(web: Config, capsys):
    """Of two it holds in neither, whatever they have in common; the second may come when the first has served."""
    first = dodai.asgi.wrap(app_with(), config=web())
    assert await forged(first) == 200
    second = dodai.asgi.wrap(app_with(other_hook, Route("/more", page)), config=web())
    assert [await forged(first), await forged(second)] == [403, 403]
    assert capsys.readouterr().err.count(SAID) == 2


async def test_flask_application_beside_one_of_starlette_counts(web: Config):
    """Flask, whose routes are added after it is wrapped."""
    flask = Flask("late")
    flask.wsgi_app = dodai.wsgi.wrap(flask, config=web())  # type: ignore[method-assign]
    flask.add_url_rule("/hook", "hook", lambda: "ran", methods=["POST"])
    assert Client(flask).post("/hook", headers=dict(FORGED)).status_code == 200
    app = dodai.asgi.wrap(app_with(), config=web())
    assert Client(flask).post("/hook", headers=dict(FORGED)).status_code == 403
    assert await forged(app) == 403


async def test_one_application_that_is_wrapped_twice_keeps_its_exemption(web: Config, capsys):
    """It stands beside itself."""
    app = app_with()
    layers = [dodai.asgi.wrap(app, config=web()) for _ in range(2)]
    assert [await forged(each) for each in layers] == [200, 200]
    assert SAID not in capsys.readouterr().err


@pytest.mark.parametrize("deployed", [True, False])
def test_what_one_factory_makes_twice_is_two_applications(web: Config, deployed):
    """Its handlers stand in the same place, and do what the factory was told; a developer's tests make many."""

    def made(name: str) -> Flask:
        app = Flask(name)
        app.add_url_rule("/hook", "hook", lambda: name, methods=["POST"])
        return app

    given = web() if deployed else replace(web(), csrf_keys="", origins=(), release="")
    first, second = (Client(dodai.wsgi.wrap(made(name), config=given)) for name in ("shop", "bank"))
    expected = 403 if deployed else 200
    assert [each.post("/hook", headers=dict(FORGED)).status_code for each in (first, second)] == [expected] * 2


@pytest.mark.parametrize(("layers", "status"), [(1, 200), (2, 403)])
async def test_application_that_is_mounted_in_another_needs_no_layer_of_its_own(web: Config, layers, status):
    """With one, both are wrapped, and that is two."""
    inside = app_with() if layers == 1 else dodai.asgi.wrap(app_with(), config=web())
    outer = dodai.asgi.wrap(Starlette(routes=[Route("/page", page), Mount("/", inside)]), config=web())
    assert await forged(outer) == status


async def serve_one_after_the_other(state: str) -> list[int]:
    """What becomes of a forged request to each of three, of which the one before is gone when the next one comes."""
    exemption = {"route": "POST /hook", "reason": "r", "owner": "o", "control": "c"}
    sections = {"csrf": {"exemption": [exemption]}}
    given = RuntimeConfig(service="web", release="r1", state=Path(state), csrf_keys=KEYS, sections=sections)
    given = replace(given, origins=("https://app.example.com",))
    found = []
    for handler in (other_hook, page, hook):
        app = dodai.asgi.wrap(app_with(handler, Route(f"/{handler.__name__}", page)), config=given)
        found.append(await forged(app))
        del app
    return found


def test_application_that_nobody_serves_any_more_closes_nothing(tmp_path):
    """What a reload has left behind is gone; in a process of its own, where no other test holds on to anything."""
    program = "import asyncio, sys; from tests.runtime import test_wrapped as t; "
    program += "print(asyncio.run(t.serve_one_after_the_other(sys.argv[1])))"
    root = Path(__file__).parents[2]
    env = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'src'}"}
    argv = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(argv, cwd=root, env=env, capture_output=True, text=True, check=False)
    assert "[200, 200, 200]" in done.stdout.splitlines(), done.stdout + done.stderr
    assert SAID not in done.stderr
