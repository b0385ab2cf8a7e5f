"""The reserved paths and what templates call: fields, headers, meta and script, and what they cost when misused."""

from __future__ import annotations

import re
from base64 import b64encode

import pytest
from itsdangerous import TimestampSigner
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.csrf.driver import APP, EVIL, NOW, Browser, Handler, call, guarded

from dodai.core.errors import DodaiError
from dodai.core.request import current
from dodai.csrf.enforce import (
    context_processor,
    csrf_field,
    csrf_headers,
    csrf_meta,
    csrf_token,
    install,
    session_subject,
)


async def signed_on(**options) -> Browser:
    """A visitor who has opened the form."""
    browser = Browser(guarded(**options))
    await browser.get()
    return browser


def handler(browser: Browser) -> Handler:
    return browser.app.app


async def test_probe_answers_204_behind_the_same_checks_and_never_reaches_the_app():
    """A deploy can prove that edge and app agree on the origin without touching data."""
    browser = await signed_on()
    assert (await browser.post("/-/dodai/probe", site="", more=(("origin", APP),))).status == 204
    assert (await browser.post("/-/dodai/probe", site="", more=(("origin", EVIL),))).json["error"]["code"] == "DOD150"
    assert (await browser.post("/-/dodai/probe", body=b"")).json["error"]["code"] == "DOD151"
    assert (await browser.post("/-/dodai/probe", more=(("content-length", "65537"),))).status == 413
    assert handler(browser).calls == []


async def test_refresh_gives_a_fresh_token_to_our_own_pages_only():
    """The script of an open page gets a token; no other site can make the browser ask."""
    browser = await signed_on()
    own = await call(browser.app, "GET", "/-/dodai/csrf", browser.headers(("sec-fetch-site", "same-origin")))
    assert own.header("cache-control") == "no-store"
    assert own.header("access-control-allow-origin") is None
    assert (await browser.post(token=own.json["token"])).status == 200
    for site in ("cross-site", "same-site"):
        foreign = await call(browser.app, "GET", "/-/dodai/csrf", browser.headers(("sec-fetch-site", site)))
        assert (foreign.status, "token" in foreign.text.partition("fix")[0]) == (403, False)


async def test_refresh_script_is_served_for_a_strict_content_security_policy():
    """No inline script: the element points to our own path."""
    answer = await call(guarded(), "GET", "/-/dodai/csrf?script")
    assert answer.header("content-type").startswith("text/javascript")
    assert "visibilitychange" in answer.text


async def test_helpers_render_for_jinja2_htmx_and_fetch():
    """Every helper works without an argument, and its output is not escaped twice."""
    from jinja2 import Environment

    environment = Environment(autoescape=True)
    install(environment)
    template = environment.from_string(
        "<form>{{ csrf_field() }}</form><div hx-headers='{{ csrf_headers() }}'></div>{{ csrf_meta() }}"
    )

    async def page(scope, receive, send):
        text = template.render()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": text.encode()})

    answer = await call(guarded(page, field="csrfToken"), "GET", "/")
    assert re.search(r'<input type="hidden" name="csrfToken" value="d1\.[^"]{100}">', answer.text)
    assert re.search(r"hx-headers='\{&quot;x-csrf-token&quot;: &quot;d1\.", answer.text)
    assert re.search(r'<meta name="csrf-token" content="d1\.[^"]{100}">', answer.text)
    assert '<meta name="csrf-header" content="x-csrf-token"><script src="/-/dodai/csrf?script" defer>' in answer.text


async def test_helpers_take_the_request_of_the_framework():
    """Inside a thread or a task without context the request can be given."""
    seen = []

    async def page(request):
        seen.extend([csrf_token(request), csrf_field(request.scope), csrf_headers(request), csrf_meta(request)])
        return PlainTextResponse("ok")

    await call(guarded(Starlette(routes=[Route("/", page)])), "GET", "/")
    assert len(seen) == 4


def test_token_outside_a_request_is_a_coded_error():
    """The message says what to wrap."""

    assert current() is None
    with pytest.raises(DodaiError) as caught:
        csrf_token()
    assert caught.value.code.id == "DOD183"


async def test_token_after_the_response_began_is_a_coded_error():
    """The cookie can no longer be set, nor the page kept out of shared caches; the developer is told, cookie or not."""

    async def late(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        csrf_token()

    returning = await signed_on()
    for headers in ([], returning.headers()):
        with pytest.raises(DodaiError) as caught:
            await call(guarded(late), "GET", "/", headers)
        assert caught.value.code.id == "DOD182"


async def test_refresh_with_a_subject_that_cannot_be_read_is_refused_not_a_500():
    """What a client puts into a cookie may break the app's own callback; nothing of ours fails on it."""

    def broken(scope):
        raise KeyError("uid")

    answer = await call(guarded(subject=broken), "GET", "/-/dodai/csrf")
    assert (answer.status, answer.json["error"]["code"]) == (400, "DOD156")
    assert (await call(guarded(subject=broken), "GET", "/-/dodai/csrf?script")).status == 200


async def test_lifespan_passes_through():
    """The layer has nothing to say about anything but requests."""
    seen = []

    async def app(scope, receive, send):
        seen.append(scope["type"])

    await guarded(app)({"type": "lifespan"}, None, None)
    assert seen == ["lifespan"]


def test_clock_of_the_tests_is_the_one_of_the_vectors():
    """The exemption test counts days from this instant."""
    assert NOW == 1_795_000_000


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        ("session={good}", "ann"),
        ('a="[]"; session={good}; b=1', "ann"),
        ("session=bad; session={good}", "ann"),
        ("session={good}; session=bad", None),
        ("session=x{good}", None),
        ("session=", None),
        ("other={good}", None),
        ("", None),
    ],
)
def test_subject_of_starlettes_session_is_read_with_its_own_signer(cookie, expected):
    """Signed by the middleware's secret or nobody; broken neighbours do not matter."""
    from json import dumps

    signer = TimestampSigner("the secret of the middleware")
    good = signer.sign(b64encode(dumps({"user": "ann"}).encode())).decode()
    subject = session_subject(signer, "user")
    assert subject({"headers": [(b"cookie", cookie.format(good=good).encode())]}) == expected


def test_session_that_is_over_names_nobody():
    """As for the session middleware itself: its `max_age` counts from when the cookie was signed."""

    class Then(TimestampSigner):
        def get_timestamp(self):
            return super().get_timestamp() - 60

    cookie = Then("secret").sign(b64encode(b'{"user": 7}')).decode()
    scope = {"headers": [(b"cookie", f"session={cookie}".encode())]}
    found = [session_subject(TimestampSigner("secret"), "user", max_age_s=age)(scope) for age in (120, 30)]
    assert found == [7, None]


def test_network_that_is_none_is_a_coded_error_at_the_start():
    """A typo in `trusted_proxies` names itself."""
    with pytest.raises(DodaiError) as caught:
        guarded(trusted_proxies=["10.0.0.0/99"])
    assert "`10.0.0.0/99`" in str(caught.value)


@pytest.mark.parametrize(("peer", "status"), [("10.1.2.3", 200), ("192.0.2.7", 403)])
async def test_forwarded_host_is_believed_only_from_a_declared_proxy_and_without_public_origin(peer, status):
    """Nobody else can choose what Origin is compared with."""
    browser = Browser(guarded(origins=(), trusted_proxies=["10.0.0.0/8"]))
    await browser.get()
    sent = [
        ("host", "internal:8000"),
        ("x-forwarded-host", "evil.example, app.example.com"),
        ("cookie", browser.cookie),
    ]
    sent += [("origin", APP), ("x-csrf-token", browser.token)]
    assert (await call(browser.app, headers=sent, client=(peer, 1))).status == status


async def test_django_templates_call_a_helper_only_where_it_stands():
    """A page that renders none makes no token and stays cacheable."""
    seen = {}

    async def page(scope, receive, send):
        helpers = context_processor(scope)
        if scope["path"] == "/form":
            seen.update({name: helper() for name, helper in helpers.items()})
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    app = guarded(page)
    assert (await call(app, "GET", "/plain")).headers == []
    assert (await call(app, "GET", "/form")).cookie
    assert seen["csrf_field"].startswith("<input")
    assert set(seen) == {"csrf_field", "csrf_headers", "csrf_meta"}
