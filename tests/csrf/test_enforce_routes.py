"""Exemptions and limits ask the router: they hold for exactly one route, and websockets have rules of their own."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Host, Mount, Route
from tests.csrf.driver import APP, EVIL, Clock, call, guarded

from dodai.core.request import RequestContext, bind, unbind
from dodai.csrf.enforce import csrf_token


async def ok(request):
    return PlainTextResponse("ok")


def routed(**policy):
    """A Starlette application with a webhook, a mount, a host and an encoded path."""
    inner = [Route("/grade", ok, methods=["POST"])]
    app = Starlette(
        routes=[
            Route("/form", lambda _: PlainTextResponse(csrf_token())),
            Route("/webhooks/grade", ok, methods=["POST", "PUT"]),
            Route("/files/{name}", ok, methods=["POST"]),
            Mount("/api", routes=inner),
            Host("hooks.example.com", app=Starlette(routes=inner)),
        ]
    )
    return guarded(app, **policy)


EXEMPT = {"route": "POST /webhooks/grade", "reason": "no cookies", "control": "signature", "owner": "team"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("POST", "/webhooks/grade", 200),
        ("PUT", "/webhooks/grade", 403),
        ("post", "/webhooks/grade", 403),
        ("POST", "/webhooks/grade/", 403),
        ("POST", "//webhooks/grade", 403),
        ("POST", "/webhooks/../webhooks/grade", 403),
        ("POST", "/webhooks/grade/x", 403),
        ("POST", "/Webhooks/grade", 403),
        ("POST", "/webhooks%2fgrade", 403),
        ("POST", "/files/grade", 403),
        ("POST", "/api/grade", 403),
        ("POST", "/", 403),
    ],
)
async def test_exemption_holds_for_exactly_one_route(method, path, status):
    """The framework's own router decides; nothing near the route is exempt."""
    answer = await call(routed(exemption=[EXEMPT]), method, path, [("host", "app.example.com")])
    assert answer.status == status


@pytest.mark.parametrize(
    ("route", "path", "host", "status"),
    [
        ("POST /api/grade", "/api/grade", "app.example.com", 200),
        ("POST hooks.example.com/grade", "/grade", "hooks.example.com", 200),
        ("POST hooks.example.com/grade", "/grade", "app.example.com", 403),
        ("POST /files/{name}", "/files/x", "app.example.com", 200),
        ("POST /files/{name}", "/files/x/y", "app.example.com", 403),
        ("POST /files/x", "/files/x", "app.example.com", 403),
        ("POST /files/*", "/files/x", "app.example.com", 403),
    ],
)
async def test_exemption_through_mounts_and_hosts(route, path, host, status):
    """Route ids carry the prefixes of mounts and the names of hosts; patterns match nothing."""
    app = routed(exemption=[EXEMPT | {"route": route}])
    assert (await call(app, "POST", path, [("host", host)])).status == status


async def test_exemption_ends_with_its_last_day():
    """On the day itself it holds; the day after, the refusal says that it is over."""
    clock = Clock()
    app = routed(exemption=[EXEMPT | {"expires": "2026-11-18"}], clock=clock)
    clock.now_s = 1_794_959_999  # 2026-11-17T23:59:59Z
    assert (await call(app, "POST", "/webhooks/grade")).status == 200
    clock.now_s += 86_400
    assert (await call(app, "POST", "/webhooks/grade")).status == 200
    clock.now_s += 1
    answer = await call(app, "POST", "/webhooks/grade")
    assert (answer.status, answer.json["error"]["code"]) == (403, "DOD159")


async def test_request_with_a_token_passes_where_the_exemption_is_over():
    """As on any other route: the page keeps working, and what is wrong with a token is told as that."""
    clock = Clock()
    app = routed(exemption=[EXEMPT | {"expires": "2026-11-18"}], clock=clock)
    clock.now_s = 1_795_046_400
    page = await call(app, "GET", "/form")
    own = [("cookie", page.cookie), ("x-csrf-token", page.text)]
    assert (await call(app, "POST", "/webhooks/grade", own)).status == 200
    answer = await call(app, "POST", "/webhooks/grade", [own[0], ("x-csrf-token", "x")])
    assert (answer.status, answer.json["error"]["code"]) == (403, "DOD152")


@pytest.mark.parametrize(
    "name", ["x-http-method-override", "x-http-method", "x-method-override", "X-HTTP-Method-Override"]
)
async def test_exemption_does_not_hold_for_a_request_that_asks_for_another_method(name):
    """Something inside may route `POST` with an override to a handler that is not exempt."""
    app = routed(exemption=[EXEMPT])
    assert (await call(app, "POST", "/webhooks/grade", [(name, "PUT")])).status == 403
    assert (await call(app, "POST", "/webhooks/grade")).status == 200


async def test_body_limit_of_one_route():
    """A limit holds for its route only; others keep the default."""
    app = routed(limit=[{"route": "POST /webhooks/grade", "size": 10}], exemption=[EXEMPT])
    sent = [("content-length", "11")]
    assert (await call(app, "POST", "/webhooks/grade", sent, [b"x" * 11])).status == 413
    assert (await call(app, "POST", "/webhooks/grade", [("content-length", "10")], [b"x" * 10])).status == 200
    assert (await call(app, "POST", "/api/grade", sent, [b"x" * 11])).status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([("origin", APP)], 101),
        ([], 101),
        ([("origin", EVIL)], 0),
        ([("origin", "null")], 0),
        ([("origin", APP), ("origin", APP)], 0),
        ([("sec-fetch-site", "cross-site"), ("origin", EVIL)], 0),
    ],
)
async def test_websocket_handshake_from_another_site_is_closed(headers, status):
    """Browsers send cookies with cross-site handshakes: Origin is all there is."""
    app = guarded()
    answer = await call(app, path="/ws", headers=headers, kind="websocket")
    assert (answer.status, answer.closed) == (status, status == 0)
    assert len(app.app.calls) == (1 if status else 0)


async def test_websocket_refusal_carries_the_request_id_where_the_server_can_send_it():
    """With the denial response extension the client gets our 403 as JSON."""
    answer = await call(
        guarded(), path="/ws", headers=[("origin", EVIL)], kind="websocket", extensions={"websocket.http.response": {}}
    )
    assert (answer.status, answer.json["error"]["code"]) == (403, "DOD150")


async def test_refusal_is_left_in_the_request_context_with_its_route():
    """The outermost layer writes the line; it finds reason, code and route."""
    context = RequestContext()
    context.request_id = "0" * 32
    token = bind(context)
    try:
        answer = await call(routed(), "POST", "/files/secret-name", [("sec-fetch-site", "cross-site")])
    finally:
        unbind(token)
    assert answer.json["requestId"] == "0" * 32
    assert (context.refusal.reason, context.refusal.code.id, context.route) == ("cross_site", "DOD150", "/files/{name}")
    assert context.extra == {"csrf": "cross_site", "fetchSite": "cross-site"}
