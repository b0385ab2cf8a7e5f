"""An exemption is for one service, and for one application of a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.csrf.driver import EVIL, FORM, KEYS, call

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
        ("app", {"web": WEB}, "", 403),
        ("app", {"web": WEB}, "web", 403),
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
    """Without a name it is that of the only service that is checked."""
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


async def test_rules_that_the_code_itself_gives_hold_in_all_that_it_wraps_with_them(web: Config):
    """There is no file that could be another one's: also in an application that is mounted in another."""
    first = dodai.asgi.wrap(app_with(), config=web())
    second = dodai.asgi.wrap(app_with(other_hook, Route("/more", page)), config=web())
    outer = dodai.asgi.wrap(Starlette(routes=[Route("/page", page), Mount("/", app_with())]), config=web())
    assert [await forged(each) for each in (first, second, outer)] == [200, 200, 200]
    given = web("web", {"web": WEB, "admin": ADMIN}, of="web")
    other = dodai.asgi.wrap(app_with(), service="shop/admin", config=given)
    assert [await forged(dodai.asgi.wrap(app_with(), config=given)), await forged(other)] == [200, 403]
