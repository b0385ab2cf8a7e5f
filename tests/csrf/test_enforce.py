"""The layer around an application: who passes, who is refused and how, and that the handler never ran."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.csrf.driver import APP, EVIL, FORM, Browser, Clock, Handler, call, guarded, key, multipart

from dodai.core.request import RequestContext, bind, unbind
from dodai.csrf.enforce import csrf_token, login, logout
from dodai.csrf.token import encode_nonce


async def signed_on(**options) -> Browser:
    """A visitor who has opened the form."""
    browser = Browser(guarded(**options))
    await browser.get()
    return browser


def handler(browser: Browser) -> Handler:
    return browser.app.app


async def test_valid_token_reaches_the_handler_with_its_whole_body():
    """A form of our own page passes, and the application reads exactly what was sent."""
    browser = await signed_on()
    answer = await browser.post()
    assert answer.status == 200
    assert handler(browser).calls == [("POST", "/save", f"a=1&csrf_token={browser.token}".encode())]


async def test_missing_token_is_refused_with_403_and_request_id():
    """The handler does not run, and the answer carries code, name, fix and request id."""
    browser = await signed_on()
    answer = await browser.post(body=b"a=1")
    assert (answer.status, handler(browser).calls) == (403, [])
    assert answer.json["error"]["code"] == "DOD151"
    assert set(answer.json["error"]) == {"code", "name", "message", "fix"}
    assert re.fullmatch(r"[0-9a-f]{32}", answer.json["requestId"])
    assert answer.header("x-request-id") == answer.json["requestId"]
    assert answer.header("cache-control") == "no-store"


@pytest.mark.parametrize("index", [0, 3, 8, 17, 50, 102])
async def test_tampered_token_is_refused_with_403_and_request_id(index):
    """One character of another value makes the token worthless, wherever it stands."""
    browser = await signed_on()
    char = "A" if browser.token[index] != "A" else "Q"
    answer = await browser.post(token=browser.token[:index] + char + browser.token[index + 1 :])
    assert (answer.status, answer.json["error"]["code"], handler(browser).calls) == (403, "DOD152", [])
    assert answer.json["requestId"]


async def test_refusal_is_html_for_a_browser_and_japanese_when_asked():
    """Accept and Accept-Language choose the form; nothing that the client sent is repeated."""
    browser = await signed_on()
    more = (("accept", "text/html"), ("accept-language", "ja"), ("referer", APP + "/<script>"))
    answer = await browser.post(body=b"a=<script>", more=more)
    assert answer.header("content-type") == "text/html; charset=utf-8"
    assert 'lang="ja"' in answer.text
    assert "もう一度送信してください" in answer.text
    assert "<script>" not in answer.text


async def test_cross_site_request_is_refused_without_reading_the_body():
    """Not a byte of a hostile upload is read."""
    browser = await signed_on()
    kind, body = multipart(("csrf_token", browser.token.encode()), ("f", b"x" * 1000, "f"))
    sent = browser.headers(("content-type", kind), ("sec-fetch-site", "cross-site"), ("origin", EVIL))
    answer = await call(browser.app, headers=sent, chunks=[body])
    assert (answer.status, answer.json["error"]["code"], answer.bytes_read) == (403, "DOD150", 0)
    assert handler(browser).calls == []


async def test_header_token_passes_without_the_body_being_read_first():
    """With fetch or HTMX the token is in the header; the body belongs to the application."""
    browser = await signed_on()
    more = (("x-csrf-token", browser.token),)
    answer = await browser.post(kind="application/json", body=b"{}", more=more)
    assert (answer.status, handler(browser).calls[0][2]) == (200, b"{}")


@pytest.mark.parametrize("count", [2, 3])
async def test_doubled_token_header_is_refused(count):
    """Two headers of one name: somebody added one."""
    browser = await signed_on()
    answer = await browser.post(more=(("x-csrf-token", browser.token),) * count)
    assert (answer.status, answer.json["error"]["code"]) == (403, "DOD158")


async def test_doubled_field_is_refused():
    """Neither the first nor the last of two fields is believed."""
    browser = await signed_on()
    body = f"csrf_token={browser.token}&csrf_token={browser.token}".encode()
    assert (await browser.post(body=body)).json["error"]["code"] == "DOD158"


async def test_doubled_cookie_is_refused_and_replaced_on_the_next_page():
    """A cookie that another host tossed in is not believed, and does not lock the visitor out."""
    browser = await signed_on()
    browser.other_cookies = f"__Host-dodai-csrf={encode_nonce(bytes(16))}"
    assert (await browser.post()).json["error"]["code"] == "DOD158"
    assert (await browser.get()).cookie.startswith("__Host-dodai-csrf=")


@pytest.mark.parametrize("before", ["\x0c", "\x0b", "\x1f", "\xa0", "\x85", "\r", "\n", "\x00"])
async def test_cookie_whose_name_only_looks_like_ours_is_not_ours(before):
    """A browser lets a sub-domain set such a name; whoever strips more than spaces takes it for `__Host-`."""
    attacker = await signed_on()
    victim = Browser(attacker.app, cookie=before + attacker.cookie)
    answer = await victim.post(token=attacker.token, site="")
    assert (answer.status, handler(victim).calls) == (403, [])
    assert (await victim.get()).cookie


async def test_token_in_the_query_string_is_never_read():
    """A token in a URL ends up in logs; it does not count."""
    browser = await signed_on()
    answer = await browser.post(path=f"/save?csrf_token={browser.token}", body=b"a=1")
    assert answer.json["error"]["code"] == "DOD151"


async def test_token_of_another_visitor_is_refused():
    """An attacker's own token, in the victim's form, is worth nothing."""
    app = guarded()
    victim, attacker = Browser(app), Browser(app)
    await victim.get()
    await attacker.get()
    answer = await victim.post(token=attacker.token, site="", more=(("origin", APP),))
    assert (answer.status, answer.json["error"]["code"]) == (403, "DOD154")


async def test_login_form_of_a_visitor_without_cookie_is_protected():
    """No cookie does not mean no check: login CSRF is refused."""
    app = guarded()
    attacker = Browser(app)
    await attacker.get()
    answer = await Browser(app).post(token=attacker.token, site="")
    assert (answer.status, answer.json["error"]["code"]) == (403, "DOD154")


async def test_first_visit_in_two_tabs_lets_both_forms_pass():
    """The second tab overwrites the cookie of the first; the browser vouches for both."""
    app = guarded()
    first, second = Browser(app), Browser(app)
    await first.get()
    await second.get()
    first.cookie = second.cookie
    assert (await first.post()).status == 200
    assert (await second.post()).status == 200


@pytest.mark.parametrize(
    ("later_s", "site", "status"),
    [(299, "same-origin", 200), (301, "same-origin", 403), (0, "", 403), (0, "none", 403)],
)
async def test_what_a_token_is_bound_to_is_what_dodai_says(later_s, site, status):
    """`routes`, `check`, the generated document and the guides name the one case in which another token is taken."""
    clock = Clock()
    app = guarded(clock=clock)
    attacker, victim = Browser(app), Browser(app)
    await attacker.get()
    clock.now_s += later_s
    await victim.get()
    answer = await victim.post(token=attacker.token, site=site)
    assert answer.status == status
    said = app.gate.binding
    assert said.startswith("the visitor's cookie, not to who is signed in (")
    assert "where the browser says same-origin, that of another first visit within five minutes of it is taken" in said
    root = Path(__file__).parents[2]
    guide = " ".join((root / "docs/guides/adopt.md").read_text("utf-8").split())
    assert "of another first visit within five minutes of it" in guide
    assert "前後 5 分以内の別の最初の訪問" in (root / "docs/guides/adopt.ja.md").read_text("utf-8")
    assert "within five minutes of it" in (root / "examples/quiz/docs/Phase2/csrf-rollout.en.md").read_text("utf-8")


CREDENTIALS = [
    ((), 200),
    ((("authorization", "Bearer t"),), 200),
    ((("cookie", "session=1"),), 403),
    ((("cookie", ""),), 403),
    ((("authorization", "Basic dTpw"),), 403),
    ((("authorization", "Bearer t"), ("cookie", "session=1")), 403),
]


@pytest.mark.parametrize(("sent", "status"), CREDENTIALS)
async def test_request_that_hides_its_origin_passes_mode_header_without_credentials_only(sent, status):
    """A page gains nothing by a request that anybody could send; with a cookie somebody has to say who sent it."""
    app = guarded(mode="header")
    answer = await call(app, headers=[("host", "app.example.com"), *sent])
    assert answer.status == status
    assert status == 200 or answer.json["error"]["code"] == "DOD164"
    assert (await call(app, headers=[("host", "app.example.com"), *sent, ("origin", APP)])).status == 200


async def test_token_from_before_login_is_refused_after_it():
    """Login rotates the nonce, and grace ends with it, even for a browser that vouches."""

    async def app(scope, receive, send):
        if scope["path"] == "/login":
            login()
        if scope["path"] == "/logout":
            logout()
        await Handler()(scope, receive, send)

    browser = Browser(guarded(app))
    await browser.get()
    before = browser.token
    assert (await browser.post("/login")).cookie
    assert (await browser.post(token=before)).json["error"]["code"] == "DOD154"
    await browser.get()
    inside = browser.token
    assert (await browser.post()).status == 200
    assert (await browser.post("/logout")).cookie
    assert (await browser.post(token=inside)).json["error"]["code"] == "DOD154"
    assert (await browser.post(token=before)).status == 200, "both anonymous: grace, the browser vouches"


async def test_subject_binds_the_token_to_the_signed_in_user():
    """A token of one user is worth nothing to the next one on the same browser."""

    def subject(scope):
        cookies = dict(scope["headers"]).get(b"cookie", b"").decode()
        return cookies.partition("user=")[2].partition(";")[0] or None

    browser = Browser(guarded(subject=subject), other_cookies="user=ann")
    await browser.get()
    assert (await browser.post()).status == 200
    browser.other_cookies = "user=bob"
    assert (await browser.post()).json["error"]["code"] == "DOD154"
    browser.other_cookies = ""
    assert (await browser.post()).json["error"]["code"] == "DOD154"


async def test_subject_callback_that_raises_is_a_refusal_not_a_500():
    """A fault in the app's own callback never lets a request through."""

    def subject(scope):
        if b"boom" in dict(scope["headers"]).get(b"cookie", b""):
            raise KeyError("boom")

    browser = Browser(guarded(subject=subject))
    await browser.get()
    browser.other_cookies = "boom=1"
    answer = await browser.post()
    assert (answer.status, handler(browser).calls) == (400, [])


async def test_subject_that_has_to_be_awaited_is_refused():
    """Each request would be that of another subject, and every form refused as of another session."""

    async def subject(scope):
        return "ann"

    with pytest.raises(TypeError, match="plain function"):
        guarded(subject=subject)
    pending = subject({})
    with pytest.raises(TypeError, match="something to await"):
        await Browser(guarded(subject=lambda _: pending)).get()
    pending.close()


async def test_expired_token_is_refused_and_the_next_page_has_a_new_one():
    """A page that was open for longer than a day."""
    clock = Clock()
    browser = await signed_on(clock=clock)
    clock.now_s += 86_402
    assert (await browser.post()).json["error"]["code"] == "DOD153"
    await browser.get()
    assert (await browser.post()).status == 200


async def test_key_rotation_refuses_nobody():
    """The new key signs, the old one still verifies; once it is dropped its tokens are refused, not crashed on."""
    browser = await signed_on(keys=key("old1"))
    for ring, status in ((key("new1") + "," + key("old1"), 200), (key("new1"), 403)):
        browser.app = guarded(keys=ring)
        assert (await browser.post()).status == status
    await browser.get()
    assert (await browser.post()).status == 200


@pytest.mark.parametrize("cookie", ["x", "", "é" * 22, "A" * 5000, "AAAAAAAAAAAAAAAAAAAAAB", '"quoted"', "a=b"])
async def test_bad_cookie_is_replaced_on_the_next_page(cookie):
    """A cookie of an older format or another program never locks a visitor out."""
    browser = Browser(guarded(), cookie=f"__Host-dodai-csrf={cookie}")
    await browser.get()
    assert browser.cookie != f"__Host-dodai-csrf={cookie}"
    assert (await browser.post()).status == 200


async def test_cookie_is_set_only_when_a_token_is_rendered_and_there_is_none():
    """Pages without form set nothing; a second form does not change the cookie (parallel requests race otherwise)."""
    browser = Browser(guarded())
    assert (await browser.get("/plain")).cookie == ""
    first = await browser.get()
    assert first.cookie
    assert first.header("set-cookie").endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")
    assert (await browser.get()).cookie == ""
    assert (await browser.post(token="x")).cookie == ""


@pytest.mark.parametrize(
    ("origins", "name"),
    [
        (["http://localhost:8000"], "dodai-csrf"),
        (["http://127.0.0.1:8000", "http://[::1]:8000"], "dodai-csrf"),
        (["http://app.localhost:8000"], "dodai-csrf"),
        (["http://app.example.com"], "__Host-dodai-csrf"),
        (["http://localhost:8000", APP], "__Host-dodai-csrf"),
        (["http://localhost.example.com"], "__Host-dodai-csrf"),
        ([], "__Host-dodai-csrf"),
    ],
)
async def test_plain_cookie_name_only_for_http_on_loopback(origins, name):
    """Everywhere else the browser itself keeps other hosts from setting the cookie."""
    answer = await Browser(guarded(origins=origins)).get()
    assert answer.cookie.partition("=")[0] == name
    assert ("Secure" in answer.header("set-cookie")) is name.startswith("__Host-")


SHARED = ("cdn-cache-control", "netlify-cdn-cache-control", "surrogate-control", "x-accel-expires", "edge-control")


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([], "private"),
        ([(b"cache-control", b"public, max-age=300")], "private, max-age=300"),
        ([(b"Cache-Control", b"s-maxage=60, must-revalidate")], "private, must-revalidate"),
        ([(b"cache-control", b"no-store")], "no-store"),
        ([(b"cache-control", b'public, private="set-cookie"')], 'private, private="set-cookie"'),
        ([(b"cache-control", b"private, max-age=0")], "private, max-age=0"),
    ],
)
async def test_page_with_a_token_is_kept_out_of_shared_caches(sent, expected):
    """Vary: Cookie is added, public and s-maxage are taken away, and CDN headers of their own go too."""
    app = Handler(headers=[*sent, (b"vary", b"Accept"), *((name.encode(), b"max-age=60") for name in SHARED)])
    answer = await Browser(guarded(app)).get()
    assert answer.header("cache-control") == expected
    assert answer.header("vary") == "Accept, Cookie"
    assert [name for name in SHARED if answer.header(name)] == []
    plain = await Browser(guarded(app)).get("/plain")
    assert plain.header("vary") == "Accept"


async def test_no_two_tokens_of_one_visitor_are_alike():
    """Masking: a page compressed together with a guess leaks nothing."""
    browser = Browser(guarded())
    tokens = {(await browser.get()).text for _ in range(5)}
    assert len(tokens) == 5


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "post", "Post", "PROPFIND", "get", "X" * 300, "GÉT"])
async def test_every_method_but_four_is_checked(method):
    """Unknown and odd-case methods are unsafe."""
    browser = await signed_on()
    assert (await browser.post(method=method, body=b"")).status == 403
    assert handler(browser).calls == []


async def test_method_override_makes_a_get_unsafe():
    """A framework that honours the header would run a handler that changes state."""
    browser = await signed_on()
    sent = browser.headers(("X-HTTP-Method-Override", "DELETE"), ("sec-fetch-site", "same-origin"))
    assert (await call(browser.app, "GET", "/save", sent)).status == 403


async def test_multipart_upload_passes_and_arrives_whole():
    """The token in front of a file: the application gets every byte, in order."""
    browser = await signed_on()
    kind, body = multipart(("csrf_token", browser.token.encode()), ("f", bytes(range(256)) * 4000, "f.bin"))
    chunks = [body[i : i + 65536] for i in range(0, len(body), 65536)]
    sent = browser.headers(("content-type", kind), ("sec-fetch-site", "same-origin"))
    answer = await call(browser.app, headers=sent, chunks=chunks)
    assert answer.status == 200
    assert handler(browser).calls[0][2] == body


async def test_token_behind_a_large_file_is_refused_with_the_remedy():
    """The message says to put the field in front of the file."""
    browser = await signed_on()
    kind, body = multipart(("f", b"x" * 3_000_000, "f.bin"), ("csrf_token", browser.token.encode()))
    chunks = [body[i : i + 65536] for i in range(0, len(body), 65536)]
    sent = browser.headers(("content-type", kind), ("sec-fetch-site", "same-origin"))
    answer = await call(browser.app, headers=sent, chunks=chunks)
    assert (answer.status, answer.json["error"]["code"]) == (403, "DOD155")
    assert "in front of the file" in answer.json["error"]["fix"]
    assert answer.bytes_read < 700_000


async def test_token_as_a_file_part_is_no_token():
    """A part with a file name is a file."""
    browser = await signed_on()
    kind, body = multipart(("csrf_token", browser.token.encode(), "token.txt"))
    assert (await browser.post(kind=kind, body=body)).json["error"]["code"] == "DOD151"


async def test_disconnect_in_mid_body_is_refused():
    """Half a form never reaches the handler."""
    browser = await signed_on()
    sent = browser.headers(("content-type", FORM), ("sec-fetch-site", "same-origin"))
    await call(browser.app, headers=sent, chunks=[f"csrf_token={browser.token}&a=".encode()], gone=True)
    assert handler(browser).calls == []


@pytest.mark.parametrize(
    "lengths",
    [["-1"], ["+5"], ["0x10"], ["1e3"], ["5 "], [""], ["٥"], ["5", "6"], ["9" * 30], ["5,5"]],
)
async def test_contradictory_content_length_is_400(lengths):
    """A length that cannot be read is a refusal, never a guess."""
    browser = await signed_on()
    answer = await browser.post(more=tuple(("content-length", length.encode()) for length in lengths))
    assert (answer.status, answer.json["error"]["code"]) == (400, "DOD156")
    assert handler(browser).calls == []


async def test_declared_length_above_the_limit_is_413_without_reading():
    """The default limit is 10 MiB."""
    browser = await signed_on()
    answer = await browser.post(more=(("content-length", str(10 * 1024 * 1024 + 1)),))
    assert (answer.status, answer.json["error"]["code"], answer.bytes_read) == (413, "DOD063", 0)
    assert answer.json["requestId"]


async def test_chunked_body_above_the_limit_is_413():
    """Without a declared length the bytes are counted; the handler never sees the end of its body."""
    browser = await signed_on(body_limit=100_000)
    sent = browser.headers(("x-csrf-token", browser.token), ("sec-fetch-site", "same-origin"))
    answer = await call(browser.app, headers=sent, chunks=[b"x" * 65536] * 10)
    assert (answer.status, answer.json["error"]["code"]) == (413, "DOD063")
    assert answer.bytes_read <= 3 * 65536
    assert handler(browser).calls == []


async def test_chunked_body_above_the_limit_is_413_whatever_the_framework_makes_of_it():
    """Starlette turns the exception into a 500 of its own; the client still gets ours."""

    async def save(request):
        await request.body()
        return PlainTextResponse("saved")

    app = Starlette(
        routes=[Route("/save", save, methods=["POST"]), Route("/form", lambda _: PlainTextResponse(csrf_token()))]
    )
    browser = Browser(guarded(app, body_limit=100_000))
    await browser.get()
    sent = browser.headers(("x-csrf-token", browser.token), ("sec-fetch-site", "same-origin"))
    answer = await call(browser.app, headers=sent, chunks=[b"x" * 65536] * 10)
    assert (answer.status, answer.json["error"]["code"]) == (413, "DOD063")


async def test_endless_form_without_token_is_given_up():
    """The window ends the search; nothing is kept."""
    browser = await signed_on()
    sent = browser.headers(("content-type", FORM), ("sec-fetch-site", "same-origin"))
    answer = await call(browser.app, headers=sent, chunks=[b"x" * 65536] * 500)
    assert (answer.status, answer.bytes_read) == (403, 2 * 65536)


async def test_report_mode_refuses_nothing_and_notes_everything():
    """The line says what would have been refused."""
    context = RequestContext()
    token = bind(context)
    try:
        app = guarded(mode="report")
        answer = await call(app, headers=[("content-type", FORM), ("origin", EVIL)], chunks=[b"a=1"])
    finally:
        unbind(token)
    assert (answer.status, app.app.calls) == (200, [("POST", "/save", b"a=1")])
    assert context.extra == {"csrf": "report:origin_mismatch", "origin": "https://evil.example"}
    assert context.refusal is None
