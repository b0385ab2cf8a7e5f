"""The script of open pages, in Chromium: stale tokens are replaced before anybody is refused, and never leave the site."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import uvicorn
from playwright.sync_api import Browser, Page, expect, sync_playwright
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Route
from tests.csrf.driver import guarded
from tests.optional_parts import find

from dodai.csrf.enforce import csrf_field, csrf_meta, csrf_script, login

pytestmark = pytest.mark.optional_part("chromium")

HEADER = "x-our-token"


def page(request: Request) -> HTMLResponse:
    """A form and the script, with `?meta` with the token in the head as well."""
    head = csrf_meta() if request.url.query == "meta" else csrf_script()
    form = f"<form method=post action=/save>{csrf_field()}<textarea name=text></textarea><button>Save</button></form>"
    return HTMLResponse(f"<!doctype html><html><head><title>t</title>{head}</head><body>{form}<a href=/away>x</a>")


def away(_: Request) -> HTMLResponse:
    return HTMLResponse(f"<title>away</title><form method=post action=/login>{csrf_field()}<button>In</button></form>")


def sign_in(request: Request) -> RedirectResponse:
    login(request)
    return RedirectResponse("/in", 303)


async def save(request: Request) -> PlainTextResponse:
    return PlainTextResponse("saved " + str((await request.form())["text"]))


def echo(request: Request) -> JSONResponse:
    request.app.state.seen.append(dict(request.headers))
    kind = request.headers.get("content-type", "")
    return JSONResponse({"ok": True, "kind": kind}, headers={"access-control-allow-origin": "*"})


@contextlib.contextmanager
def served(host: str) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """(address, headers of each echoed request) of the application behind the layer, on a socket."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://{host}:{listener.getsockname()[1]}"
    routes = [
        Route("/", page),
        Route("/away", away),
        Route("/in", lambda _: HTMLResponse("<title>in</title>")),
        Route("/login", sign_in, methods=["POST"]),
        Route("/save", save, methods=["POST"]),
        Route("/echo", echo, methods=["GET", "POST"]),
    ]
    app = Starlette(routes=routes)
    app.state.seen = []
    layer = guarded(app, origins=(url,), clock=time.time, header=HEADER)
    server = uvicorn.Server(uvicorn.Config(layer, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    yield url, app.state.seen
    server.should_exit = True
    thread.join()
    listener.close()


@dataclass
class Site:
    """A visitor on the site; `seen` are the headers that reached `/echo`, here or at `elsewhere`."""

    page: Page
    url: str
    seen: list[dict[str, str]]
    elsewhere: str = ""
    seen_elsewhere: list[dict[str, str]] = field(default_factory=list)

    def token(self) -> str:
        return self.page.locator("[name=csrf_token]").input_value()

    def sign_in_elsewhere(self) -> None:
        """In another tab of the same browser: from then on the tokens of all open pages are worth nothing."""
        tab = self.page.context.new_page()
        tab.goto(self.url + "/away")
        tab.get_by_role("button").click()
        tab.wait_for_url("**/in")
        tab.close()

    def script(self, text: str) -> object:
        return self.page.evaluate(text)


@pytest.fixture(scope="module", params=["--disable-back-forward-cache", "--no-such-default"], ids=["kept", "reloaded"])
def chromium(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Once with the back-forward cache, which playwright turns off, and once without."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=find("chromium"),
            args=["--headless", "--no-sandbox", "--disable-gpu"],
            ignore_default_args=[request.param],
        )
        yield browser
        browser.close()


@pytest.fixture
def site(chromium: Browser) -> Iterator[Site]:
    context = chromium.new_context()
    context.set_default_timeout(60_000)
    expect.set_options(timeout=60_000)  # ends a page that hangs; a busy machine has the time it needs
    with served("127.0.0.1") as (url, seen), served("localhost") as (elsewhere, seen_elsewhere):
        yield Site(context.new_page(), url, seen, elsewhere, seen_elsewhere)
        context.close()


def test_page_from_the_history_gets_a_fresh_token_and_keeps_its_text(site):
    """Forward, sign in, back: the form that was left open is accepted, with what was typed into it."""
    site.page.goto(site.url)
    site.page.locator("textarea").fill("a long answer")
    stale = site.token()
    site.page.get_by_role("link").click()
    site.page.wait_for_url("**/away")
    site.sign_in_elsewhere()
    site.page.go_back(wait_until="commit")
    expect(site.page.locator("[name=csrf_token]")).not_to_have_value(stale)
    expect(site.page.locator("textarea")).to_have_value("a long answer")
    site.page.get_by_role("button").click()
    expect(site.page.locator("body")).to_have_text("saved a long answer")


def test_page_that_becomes_visible_again_gets_a_fresh_token(site):
    """Somebody signs in in another tab and comes back to this one."""
    site.page.goto(site.url + "/?meta")
    site.page.locator("textarea").fill("a long answer")
    stale = site.token()
    site.sign_in_elsewhere()
    # Headless Chromium calls every tab visible, so only the event is ours.
    site.script("document.dispatchEvent(new Event('visibilitychange'))")
    expect(site.page.locator("[name=csrf_token]")).not_to_have_value(stale)
    assert site.page.locator("meta[name=csrf-token]").get_attribute("content") == site.token()
    site.page.get_by_role("button").click()
    expect(site.page.locator("body")).to_have_text("saved a long answer")


def test_refused_form_can_be_sent_after_going_back(site):
    """What the refusal says is true: the Back button brings what was typed, and now it is accepted."""
    site.page.goto(site.url)
    site.page.locator("textarea").fill("a long answer")
    stale = site.token()
    site.sign_in_elsewhere()
    with site.page.expect_response("**/save") as refused:
        site.page.get_by_role("button").click()
    assert refused.value.status == 403
    expect(site.page.locator("body")).to_contain_text("DOD154")
    site.page.go_back(wait_until="commit")
    expect(site.page.locator("[name=csrf_token]")).not_to_have_value(stale)
    expect(site.page.locator("textarea")).to_have_value("a long answer")
    site.page.get_by_role("button").click()
    expect(site.page.locator("body")).to_have_text("saved a long answer")


@pytest.mark.parametrize("query", ["/", "/?meta"])
def test_calls_of_a_script_carry_the_configured_header(site, query):
    """Two at once, on a page with and without the token in its head; the caller's own headers are kept."""
    site.page.goto(site.url + query)
    call = "dodaiFetch('/echo', {method: 'POST', body: '1', headers: {'content-type': 'text/x-own'}})"
    answers = site.script(f"Promise.all([{call}, {call}].map((each) => each.then((answer) => answer.json())))")
    assert answers == [{"ok": True, "kind": "text/x-own"}] * 2


def test_call_waits_for_the_token_that_is_on_its_way(site):
    """The page has just become visible; the call of its script does not go out with the stale token."""
    site.page.goto(site.url + "/?meta")
    site.sign_in_elsewhere()
    call = "dodaiFetch('/echo', {method: 'POST'}).then((answer) => answer.status)"
    assert site.script(f"document.dispatchEvent(new Event('visibilitychange')); {call}") == 200


def test_request_object_keeps_its_method_and_headers(site):
    """`dodaiFetch` takes what `fetch` takes."""
    site.page.goto(site.url + "/?meta")
    made = "new Request('/echo', {method: 'POST', headers: {'content-type': 'text/x-own'}, body: '1'})"
    assert site.script(f"dodaiFetch({made}).then((answer) => answer.json())") == {"ok": True, "kind": "text/x-own"}


@pytest.mark.parametrize("target", ["'{}'", "new Request('{}')", "new URL('{}')"], ids=["text", "request", "url"])
def test_token_does_not_leave_the_site(site, target):
    """A call to another origin gets no token, in whatever form it is named."""
    site.page.goto(site.url + "/?meta")
    there = target.format(site.elsewhere + "/echo")
    assert site.script(f"dodaiFetch({there}).then((answer) => answer.status)") == 200
    assert [HEADER in headers for headers in site.seen_elsewhere] == [False]


def test_call_without_a_token_fails_as_a_call(site):
    """When no token can be had the promise is rejected with the reason, not with a `TypeError` about null."""
    site.page.goto(site.url + "/in")
    site.page.route("**/-/dodai/csrf", lambda route: route.fulfill(status=403))
    site.page.add_script_tag(url="/-/dodai/csrf?script")
    said = site.script("dodaiFetch('/echo', {method: 'POST'}).catch((error) => error.message)")
    assert said == "no fresh CSRF token: 403"
