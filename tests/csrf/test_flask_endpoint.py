"""Flask calls what the endpoint of `request.url_rule` names: it is that of the request that was let through, or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
from flask import Flask, request
from tests.csrf.driver import EVIL
from tests.csrf.test_exemptions import RAN, exempt, flask_app, forged, wsgi_client
from tests.csrf.test_exemptions import _nothing_ran as _nothing_ran  # noqa: PLC0414 - the fixture, for this module too
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import Map, Rule
from werkzeug.test import Client


def copied(app: Flask, endpoint: str) -> None:
    """A rule that is equal to the one that was matched."""
    request.url_rule = copy.copy(request.url_rule)
    request.url_rule.endpoint = endpoint


def renamed(app: Flask, endpoint: str) -> None:
    """The rule itself, for this request and all that follow."""
    request.url_rule.endpoint = endpoint


def made_up(app: Flask, endpoint: str) -> None:
    """A rule of no map, which takes every method."""
    request.url_rule = Rule(request.path, endpoint=endpoint)


def of_another_map(app: Flask, endpoint: str) -> None:
    """A rule of a map of its own, which takes every method."""
    request.url_rule = Rule(request.path, endpoint=endpoint)
    Map([request.url_rule])


def replaced(app: Flask, endpoint: str) -> None:
    """The view function that the endpoint has."""
    app.view_functions[request.url_rule.endpoint] = app.view_functions[endpoint]


LEADS = [copied, renamed, made_up, of_another_map]


def led_astray(lead: Callable[[Flask, str], None]) -> tuple[Flask, Client]:
    """An application whose hook leads `?to=` elsewhere; /both has a view for each of its methods."""
    app = flask_app()
    app.get("/", endpoint="home")(lambda: RAN.append("home") or "home")
    app.add_url_rule("/both", "both_get", lambda: RAN.append("get") or "get", methods=["GET"])
    app.add_url_rule("/both", "both_post", lambda: RAN.append("post") or "post", methods=["POST"])

    @app.before_request
    def choose() -> None:
        if endpoint := request.args.get("to"):
            lead(app, endpoint)

    return app, wsgi_client(app, **exempt("POST /hook", "POST /both"))


@pytest.mark.parametrize("lead", [*LEADS, replaced])
@pytest.mark.parametrize("path", ["/hook", "/both"])
def test_view_that_a_hook_of_flask_puts_behind_an_exempt_rule_does_not_run(lead, path):
    """The exemption is that of what the rule was added for, and Flask calls what its endpoint names now."""
    client = led_astray(lead)[1]
    assert (forged(client, path), len(RAN)) == (200, 1)
    RAN.clear()
    assert (forged(client, f"{path}?to=transfer"), RAN) == (403, [])
    if lead is renamed:  # it is what the map has now
        assert (forged(client, path), RAN) == (403, [])


@pytest.mark.parametrize("lead", LEADS)
@pytest.mark.parametrize("path", ["/", "/both"])
def test_forged_read_that_a_hook_of_flask_gives_the_endpoint_of_a_write_runs_nothing(lead, path):
    """Also to the view of the same path's other method, whose rule is equal."""
    headers = {"Origin": EVIL, "Sec-Fetch-Site": "cross-site", "Cookie": "session=victim"}
    for endpoint, status, ran in (("transfer", 403, []), ("both_post", 403, []), ("home", 200, ["home"])):
        client = led_astray(lead)[1]
        answer = client.get(f"{path}?to={endpoint}", base_url="https://shop.example", headers=headers)
        assert (answer.status_code, RAN) == (status, ran)
        RAN.clear()


def test_view_function_that_is_wrapped_before_it_is_asked_for_keeps_its_exemption():
    """As an extension does it, behind `wrap` even."""
    app, client = led_astray(copied)
    inner = app.view_functions["hook"]
    app.view_functions["hook"] = lambda: RAN.append("wrapped") or inner()
    assert (forged(client), RAN) == (200, ["wrapped", "hook"])


@pytest.mark.parametrize(
    "given",
    [lambda app: app, lambda app: app.wsgi_app, lambda app: ProxyFix(app.wsgi_app)],
    ids=["app", "method", "fix"],
)
def test_exemption_holds_whichever_way_flask_is_wrapped(given):
    """Also the way that Flask's documents give for any middleware: `app.wsgi_app = wrap(app.wsgi_app)`."""
    app = flask_app()
    client = wsgi_client(given(app), **exempt("POST /hook"))
    app.wsgi_app = client.application
    assert (forged(Client(app)), forged(Client(app), "/transfer"), RAN) == (200, 403, ["hook"])


def mapped(*rules: tuple[str, str]) -> Map:
    return Map([Rule(path, endpoint=endpoint, methods=["POST", "OPTIONS"]) for path, endpoint in rules])


@pytest.mark.parametrize("asked_before", [True, False])
@pytest.mark.parametrize(
    ("hook", "new", "expected"), [("transfer", "hook", (403, 403)), ("hook", "transfer", (200, 403))]
)
def test_map_that_takes_the_place_of_the_first_one_moves_no_exemption(hook, new, expected, asked_before):
    """A view sets `app.url_map`: an exemption is that of the endpoint that the rule had when set-up was over."""
    app = flask_app()
    moved = mapped(("/hook", hook), ("/new", new))
    app.get("/move", endpoint="move")(lambda: setattr(app, "url_map", moved) or "moved")
    client = wsgi_client(app, **exempt("POST /hook", "POST /new"))
    assert not asked_before or forged(client) == 200
    assert client.get("/move", base_url="https://shop.example").text == "moved"
    RAN.clear()
    assert (forged(client), forged(client, "/new"), RAN) == (*expected, ["hook"] * (expected[0] == 200))


def test_map_that_is_replaced_before_the_first_request_is_that_of_the_application():
    """Set-up may go on behind `wrap`."""
    app = flask_app()
    client = wsgi_client(app, **exempt("POST /hook"))
    app.url_map = mapped(("/hook", "transfer"), ("/transfer", "hook"))
    assert (forged(client), forged(client, "/transfer"), RAN) == (200, 403, ["transfer"])
