"""An exemption is for one service, and for an id that no other application of the process has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
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
WEB, ADMIN = {"command": ["web"]}, {"command": ["admin"]}
RPC, JOBS = {"command": ["rpc"], "protocol": "grpc"}, {"command": ["jobs"], "kind": "worker"}
OPEN = {"command": ["inside"], "csrf": "off", "csrf_reason": "nobody reaches it"}
SAID = "`POST /hook` is a route of several applications"


async def hook(_: Any) -> PlainTextResponse:
    return PlainTextResponse("ran")


async def other_hook(_: Any) -> PlainTextResponse:
    return PlainTextResponse("another ran")


async def page(_: Any) -> PlainTextResponse:
    return PlainTextResponse("page")


def app_with(handler: Any = hook, *more: Any) -> Starlette:
    return Starlette(routes=[Route("/hook", handler, methods=["POST"]), *more])


def flask_with(name: str) -> Flask:
    app = Flask(name)
    app.add_url_rule("/hook", "hook", lambda: "ran", methods=["POST"])
    app.add_url_rule(f"/{name}", "page", lambda: "page")
    return app


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
    app = dodai.asgi.wrap(app_with(), config=web(service, services, of=named))
    assert await forged(app) == status


async def test_bearer_exemption_of_another_service_does_not_hold(web: Config):
    """The same for exemptions of requests with a bearer token alone."""
    bearer = ("authorization", "Bearer abc")
    for service, status in (("admin", 403), ("web", 200)):
        given = web(service, {"web": WEB, "admin": ADMIN}, of="web", when="bearer")
        assert await forged(dodai.asgi.wrap(app_with(), config=given), "/hook", bearer) == status


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


async def test_id_that_two_applications_have_is_exempt_in_neither(web: Config, capsys):
    """Whichever is asked first, and it is said once, where the second one is wrapped."""
    first = dodai.asgi.wrap(app_with(), config=web())
    assert SAID not in capsys.readouterr().err
    second = dodai.asgi.wrap(app_with(other_hook), config=web())
    assert capsys.readouterr().err.count(SAID) == 1
    assert [await forged(second), await forged(first)] == [403, 403]
    assert capsys.readouterr().err == ""


async def test_application_that_is_wrapped_later_closes_what_was_open(web: Config, capsys):
    """The first has served for a while when the second comes."""
    first = dodai.asgi.wrap(app_with(), config=web())
    assert await forged(first) == 200
    second = dodai.asgi.wrap(app_with(other_hook), config=web())
    assert SAID in capsys.readouterr().err
    assert [await forged(first), await forged(second)] == [403, 403]


async def test_route_that_is_added_later_closes_what_was_open(web: Config, capsys):
    """An application gets the id when both have served: neither lets anybody in from then on."""
    inner = Starlette(routes=[Route("/page", page)])
    first, second = dodai.asgi.wrap(app_with(), config=web()), dodai.asgi.wrap(inner, config=web())
    assert [await forged(first), await forged(second)] == [200, 403]
    inner.router.routes.append(Route("/hook", other_hook, methods=["POST"]))
    assert [await forged(second), await forged(first)] == [403, 403]
    assert capsys.readouterr().err.count(SAID) == 1


async def test_one_handler_in_two_applications_is_exempt_in_neither(web: Config):
    """Only one of them may have middleware that checks a signature first."""
    first = dodai.asgi.wrap(app_with(hook, Route("/a", page)), config=web())
    second = dodai.asgi.wrap(app_with(hook, Route("/b", page)), config=web())
    assert [await forged(first), await forged(second)] == [403, 403]


async def test_wsgi_application_beside_an_asgi_one_counts(web: Config):
    """Flask, whose routes are added after it is wrapped, and Starlette."""
    flask = Flask("late")
    flask.wsgi_app = dodai.wsgi.wrap(flask, config=web())  # type: ignore[method-assign]
    flask.add_url_rule("/hook", "hook", lambda: "ran", methods=["POST"])
    assert Client(flask).post("/hook", headers=dict(FORGED)).status_code == 200
    app = dodai.asgi.wrap(app_with(), config=web())
    assert Client(flask).post("/hook", headers=dict(FORGED)).status_code == 403
    assert await forged(app) == 403


def test_two_flask_applications_with_one_id(web: Config):
    """A dispatcher's two applications, each wrapped by itself."""
    first, second = (Client(dodai.wsgi.wrap(flask_with(name), config=web())) for name in ("shop", "staff"))
    assert [each.post("/hook", headers=dict(FORGED)).status_code for each in (first, second)] == [403, 403]


async def test_one_application_that_is_wrapped_twice_keeps_its_exemption(web: Config, capsys):
    """It stands beside itself."""
    app = app_with()
    layers = [dodai.asgi.wrap(app, config=web()) for _ in range(2)]
    assert [await forged(each) for each in layers] == [200, 200]
    assert SAID not in capsys.readouterr().err


@pytest.mark.parametrize("deployed", [True, False])
def test_what_one_factory_makes_twice_is_two_applications(web: Config, deployed):
    """Its handlers stand in the same place, and do what the factory was told: only a name tells one from the other."""

    def made(name: str) -> Flask:
        app = Flask(name)
        app.add_url_rule("/hook", "hook", lambda: name, methods=["POST"])
        return app

    given = web() if deployed else replace(web(), csrf_keys="", origins=(), release="")
    first, second = (Client(dodai.wsgi.wrap(made(name), config=given)) for name in ("shop", "bank"))
    expected = 403 if deployed else 200
    assert [each.post("/hook", headers=dict(FORGED)).status_code for each in (first, second)] == [expected] * 2


async def test_application_that_is_mounted_in_another_has_an_id_of_its_own(web: Config):
    """Both are wrapped: what is exempt in front is judged once more inside. Only the outer one needs the layer."""
    outer = dodai.asgi.wrap(
        Starlette(routes=[Route("/page", page), Mount("/", dodai.asgi.wrap(app_with(), config=web()))]), config=web()
    )
    assert await forged(outer) == 403
    assert await forged(dodai.asgi.wrap(Starlette(routes=[Mount("/", app_with())]), config=web("other"))) == 200


async def test_application_of_another_service_or_without_the_exemption_closes_nothing(web: Config, config: Config):
    """Only where the exemption would hold in both is it told of two."""
    app = dodai.asgi.wrap(app_with(), config=web())
    kept = [
        dodai.asgi.wrap(app_with(other_hook), config=web("admin")),
        dodai.asgi.wrap(app_with(other_hook), config=config(csrf_off="", csrf_keys=KEYS)),
    ]
    assert [await forged(each) for each in (app, *kept)] == [200, 200, 403]


async def test_application_that_nobody_serves_any_more_closes_nothing(web: Config, capsys):
    """What a test or a reload has left behind is gone, collected or not."""
    for handler in (other_hook, page, hook):
        app = dodai.asgi.wrap(app_with(handler, Route(f"/{handler.__name__}", page)), config=web())
        assert await forged(app) == 200
        del app
    assert SAID not in capsys.readouterr().err


async def test_application_whose_routes_cannot_be_listed_closes_the_id(web: Config):
    """Who cannot be asked may have it."""

    class Broken(Starlette):
        ready = True

        @property
        def routes(self) -> Any:
            if not self.ready:
                raise RuntimeError("its URLs are not ready")
            return super().routes

    app, broken = dodai.asgi.wrap(app_with(), config=web()), Broken()
    kept = dodai.asgi.wrap(broken, config=web())
    assert await forged(app) == 200
    kept.app.ready = False
    assert await forged(app) == 403
