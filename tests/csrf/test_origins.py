"""Pages elsewhere that may post here: their fresh token, and the paths of ours below a prefix."""

from __future__ import annotations

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse
from starlette.routing import Mount, Route
from tests.csrf.driver import APP, EVIL, KEYS, call, guarded
from tests.csrf.test_exemptions import wsgi_client

import dodai.asgi
from dodai.csrf.enforce import csrf_meta
from dodai.runtime import RuntimeConfig

BLOG = "https://blog.example.com"
REFRESH = "/-/dodai/csrf"


def sent(origin: str, site: str = "same-site") -> list[tuple[str, str]]:
    return [("host", "app.example.com"), ("origin", origin), ("sec-fetch-site", site)]


@pytest.mark.parametrize("trusted", [BLOG, "https://*.example.com"])
async def test_page_of_a_trusted_origin_may_read_a_fresh_token_and_post(trusted):
    """The answer names its origin, allows its cookies, and stays out of every cache."""
    app = guarded(trusted_origins=[trusted], origins=(APP, "https://example.com"))
    answer = await call(app, "GET", REFRESH, sent(BLOG))
    assert answer.status == 200
    assert answer.header("access-control-allow-origin") == BLOG
    assert answer.header("access-control-allow-credentials") == "true"
    assert answer.header("vary") == "Origin, Cookie"
    assert answer.header("cache-control") == "no-store"
    post = [*sent(BLOG), ("cookie", answer.cookie), ("x-csrf-token", answer.json["token"])]
    assert (await call(app, "POST", "/save", post)).status == 200
    assert (await call(app, "POST", "/save", sent(BLOG))).status == 403, "a token is needed all the same"


@pytest.mark.parametrize("site", ["same-site", "cross-site"])
async def test_page_of_another_public_origin_may_read_a_fresh_token_and_post(site):
    """One application at several names; it need not be listed as trusted."""
    app = guarded(origins=(APP, BLOG))
    answer = await call(app, "GET", REFRESH, sent(BLOG, site))
    assert (answer.status, answer.header("access-control-allow-origin")) == (200, BLOG)
    post = [*sent(BLOG, site), ("cookie", answer.cookie), ("x-csrf-token", answer.json["token"])]
    assert (await call(app, "POST", "/save", post)).status == 200
    assert (await call(app, "POST", "/save", sent(BLOG, site))).status == 403, "a token is needed all the same"


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        (EVIL, "cross-site"),
        ("https://other.example.com", "same-site"),
        ("null", "cross-site"),
        (BLOG + ":8443", "same-site"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "OPTIONS"])
async def test_other_pages_get_no_token_and_no_cors_headers(origin, site, method):
    """Neither by name nor by reflection."""
    answer = await call(guarded(trusted_origins=[BLOG]), method, REFRESH, sent(origin, site))
    assert answer.status == 403
    assert answer.header("access-control-allow-origin") is None
    assert not answer.cookie


async def test_page_of_ours_gets_its_token_without_cors_headers():
    """It needs none, and the answer differs by origin."""
    answer = await call(guarded(origins=(APP, BLOG)), "GET", REFRESH, sent(APP, "same-origin"))
    assert (answer.status, answer.header("access-control-allow-origin")) == (200, None)
    assert answer.header("vary") == "Origin, Cookie"


async def test_preflight_of_a_trusted_page_is_answered_without_a_token():
    """`OPTIONS` says what may be asked, and makes neither token nor cookie."""
    answer = await call(guarded(trusted_origins=[BLOG]), "OPTIONS", REFRESH, sent(BLOG))
    assert (answer.status, answer.body, answer.cookie) == (204, b"", "")
    assert answer.header("access-control-allow-origin") == BLOG
    assert answer.header("access-control-allow-methods") == "GET"


def test_trusted_page_gets_its_token_over_wsgi():
    """The same answers."""
    app = Flask(__name__)
    client = wsgi_client(app, trusted_origins=[BLOG])
    headers = {"Origin": BLOG, "Sec-Fetch-Site": "same-site"}
    assert client.get(REFRESH, headers=headers).headers["Access-Control-Allow-Origin"] == BLOG
    assert client.options(REFRESH, headers=headers).status_code == 204
    evil = client.get(REFRESH, headers={"Origin": EVIL, "Sec-Fetch-Site": "cross-site"})
    assert (evil.status_code, evil.headers.get("Access-Control-Allow-Origin")) == (403, None)


def pages() -> Starlette:
    routes = [
        Route("/", lambda request: HTMLResponse(csrf_meta(request))),
        Route("/x", lambda _: PlainTextResponse("x")),
    ]
    return Starlette(routes=routes)


@pytest.mark.parametrize("stripped", [False, True], ids=["path with prefix", "prefix stripped by the proxy"])
async def test_paths_of_ours_stand_below_the_prefix_of_the_application(stripped):
    """`root_path` is where a proxy serves the application, whether or not its server leaves it in the path."""
    app = dodai.asgi.wrap(pages(), config=RuntimeConfig(csrf_keys=KEYS, origins=(APP,)))

    async def get(path: str, method: str = "GET"):
        return await call(
            app, method, path if stripped else "/shop" + path, sent(APP, "same-origin"), root_path="/shop"
        )

    assert '<script src="/shop/-/dodai/csrf?script" defer>' in (await get("/")).text
    assert (await get(REFRESH)).json["field"] == "csrf_token"
    script = await get(REFRESH + "?script")
    assert "document.currentScript" in script.text, "the script asks where it came from"
    token = await get(REFRESH)
    probe = [*sent(APP, "same-origin"), ("cookie", token.cookie), ("x-csrf-token", token.json["token"])]
    path = "/-/dodai/probe" if stripped else "/shop/-/dodai/probe"
    assert (await call(app, "POST", path, probe, root_path="/shop")).status == 204
    assert (await get("/-/dodai/else")).json["error"]["code"] == "DOD062"
    assert (await get("/x")).text == "x"


async def test_paths_of_ours_stand_below_a_mount():
    """A wrapped application that another one mounts."""
    app = Starlette(
        routes=[Mount("/shop", app=dodai.asgi.wrap(pages(), config=RuntimeConfig(csrf_keys=KEYS, origins=(APP,))))]
    )
    assert '<script src="/shop/-/dodai/csrf?script" defer>' in (await call(app, "GET", "/shop/")).text
    assert (await call(app, "GET", "/shop/-/dodai/csrf", sent(APP, "same-origin"))).json["field"] == "csrf_token"


def test_paths_of_ours_stand_below_script_name():
    """WSGI keeps the prefix apart from the path; what stands in HTML is quoted."""
    app = Flask(__name__)
    app.get("/")(csrf_meta)
    text = wsgi_client(app).get("/", environ_overrides={"SCRIPT_NAME": '/sh"op'}).text
    assert '<script src="/sh%22op/-/dodai/csrf?script" defer>' in text


@pytest.mark.parametrize(("prefix", "said"), [("/", ""), ("/shop/", "/shop"), ("//evil.example", "/evil.example")])
async def test_prefix_never_leads_to_another_host(prefix, said):
    """`//-/dodai/csrf` would be a path of the host `-`; the paths of ours stay reserved, too."""

    async def bare(scope, receive, send) -> None:
        await HTMLResponse(csrf_meta())(scope, receive, send)

    app = dodai.asgi.wrap(bare, config=RuntimeConfig(csrf_keys=KEYS, origins=(APP,)))
    page = await call(app, "GET", prefix, root_path=prefix)
    assert f'<script src="{said}/-/dodai/csrf?script" defer>' in page.text
    refresh = await call(app, "GET", prefix.rstrip("/") + REFRESH, sent(APP, "same-origin"), root_path=prefix)
    assert refresh.json["field"] == "csrf_token"
