"""The WSGI layer around Flask: the same decisions, bodies that arrive whole, limits that hold."""

from __future__ import annotations

import gzip
import io
import json
import re
import tempfile
from pathlib import Path

import pytest
from flask import Flask, render_template_string, request
from tests.csrf.driver import APP, EVIL, KEYS, call, key, multipart
from werkzeug.test import Client, EnvironBuilder

import dodai.asgi
import dodai.wsgi
from dodai.core.errors import DodaiError
from dodai.core.request import current
from dodai.csrf.enforce import csrf_field, csrf_token, login
from dodai.runtime import Runtime, RuntimeConfig


def flask_app() -> Flask:
    app = Flask(__name__)
    app.config["TESTING"] = True
    app.jinja_env.globals["csrf_field"] = csrf_field

    @app.get("/form")
    def form():
        return render_template_string("<form method=post>{{ csrf_field() }}</form>")

    @app.post("/save")
    def save():
        app.config.setdefault("SAVED", []).append(
            dict(request.form) | {n: len(f.read()) for n, f in request.files.items()}
        )
        return "saved"

    @app.post("/raw")
    def raw():
        app.config.setdefault("SAVED", []).append(len(request.get_data()))
        return "raw"

    @app.post("/login")
    def sign_in():
        login(request)
        return csrf_token()

    @app.get("/broken")
    def broken():
        raise KeyError("secret value")

    return app


class Browser:
    """One visitor of the Flask application."""

    def __init__(self, csrf=None, **settings):
        self.app = flask_app()
        settings.setdefault("state", Path(tempfile.mkdtemp()))
        config = RuntimeConfig(
            csrf_keys=settings.pop("keys", KEYS),
            origins=(APP,),
            sections={"csrf": csrf or {"mode": "both"}},
            **settings,
        )
        self.client = Client(dodai.wsgi.wrap(self.app, config=config), use_cookies=False)
        self.cookie = ""
        self.token = ""

    @property
    def saved(self):
        return self.app.config.get("SAVED", [])

    def request(self, method: str, path: str, headers=(), **more):
        cookies = [("Cookie", self.cookie)] if self.cookie else []
        answer = self.client.open(
            path, method=method, base_url=APP, headers=[*cookies, *headers], buffered=True, **more
        )
        for value in answer.headers.getlist("Set-Cookie"):
            self.cookie = value.partition(";")[0]
        return answer

    def visit(self):
        answer = self.request("GET", "/form")
        self.token = re.search(r'value="(d1\.[^"]+)"', answer.text)[1]
        return answer

    def post(self, path="/save", *, headers=(("Sec-Fetch-Site", "same-origin"),), **more):
        return self.request("POST", path, headers, **more)


@pytest.fixture
def browser():
    found = Browser()
    found.visit()
    return found


def test_valid_form_reaches_the_view_with_all_its_fields(browser):
    """The body that was searched is read again by the framework."""
    answer = browser.post(data={"a": "1", "csrf_token": browser.token})
    assert (answer.status_code, browser.saved) == (200, [{"a": "1", "csrf_token": browser.token}])
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-Id"])


def test_page_with_a_token_sets_the_cookie_and_is_private():
    """Cookie flags and caching are those of the ASGI layer."""
    answer = Browser().visit()
    assert answer.headers["Set-Cookie"].endswith("; Path=/; Secure; HttpOnly; SameSite=Lax")
    assert answer.headers["Cache-Control"] == "private"
    assert "Cookie" in answer.headers["Vary"]


@pytest.mark.parametrize(
    ("data", "headers", "code"),
    [
        ({"a": "1"}, [("Sec-Fetch-Site", "same-origin")], "DOD151"),
        ({"csrf_token": "d1.k001.00000000." + "A" * 86}, [("Sec-Fetch-Site", "same-origin")], "DOD152"),
        ({"a": "1"}, [("Sec-Fetch-Site", "cross-site"), ("Origin", EVIL)], "DOD150"),
        ({"a": "1"}, [("Origin", "null")], "DOD150"),
        ({"a": "1"}, [("Origin", APP + ", " + EVIL)], "DOD150"),
    ],
)
def test_hostile_form_is_refused_with_403_and_request_id(browser, data, headers, code):
    """The view does not run; the answer names the code and the request id."""
    answer = browser.post(data=data, headers=headers)
    assert (answer.status_code, browser.saved) == (403, [])
    body = json.loads(answer.text)
    assert (body["error"]["code"], body["requestId"]) == (code, answer.headers["X-Request-Id"])


def test_header_token_passes(browser):
    """fetch and HTMX send the header; the body is the view's."""
    headers = [("X-CSRF-Token", browser.token), ("Origin", APP)]
    assert browser.post("/raw", headers=headers, data=b"{}", content_type="application/json").status_code == 200


def test_login_rotates_and_the_old_token_is_refused(browser):
    """Tokens of the anonymous visitor end with sign-in."""
    assert browser.post("/login", data={"csrf_token": browser.token}).status_code == 200
    answer = browser.post(data={"csrf_token": browser.token})
    assert json.loads(answer.text)["error"]["code"] == "DOD154"


def test_upload_arrives_whole(browser):
    """A file of a megabyte behind the token."""
    kind, body = multipart(("csrf_token", browser.token.encode()), ("f", b"x" * 1_000_000, "f.bin"))
    assert browser.post(data=body, content_type=kind).status_code == 200
    assert browser.saved[0]["f"] == 1_000_000


def test_declared_length_above_the_limit_is_413():
    """Nothing is read."""
    browser = Browser({"body_limit": 1000})
    browser.visit()
    answer = browser.post(data=b"x" * 1001, content_type="text/plain")
    assert (answer.status_code, json.loads(answer.text)["error"]["code"]) == (413, "DOD063")


def test_chunked_body_above_the_limit_is_413_whatever_the_view_does():
    """A body without declared length is counted while the view reads it; its answer is replaced by ours."""
    browser = Browser({"body_limit": 100_000})
    browser.visit()
    environ = {
        "wsgi.input": io.BytesIO(b"x" * 500_000),
        "wsgi.input_terminated": True,
        "HTTP_TRANSFER_ENCODING": "chunked",
    }
    answer = browser.post("/raw", headers=[("X-CSRF-Token", browser.token), ("Origin", APP)], environ_overrides=environ)
    assert (answer.status_code, json.loads(answer.text)["error"]["code"], browser.saved) == (413, "DOD063", [])


def test_truncated_form_is_refused(browser):
    """The client said more than it sent."""
    body = f"csrf_token={browser.token}&a=".encode()
    environ = {
        "wsgi.input": io.BytesIO(body),
        "CONTENT_LENGTH": str(len(body) + 10),
        "CONTENT_TYPE": "application/x-www-form-urlencoded",
    }
    answer = browser.post(environ_overrides=environ)
    assert (answer.status_code, browser.saved) == (400, [])


def test_exemption_holds_for_exactly_one_rule():
    """The URL map decides."""
    exemption = {"route": "POST /raw", "reason": "r", "owner": "o", "control": "c"}
    browser = Browser({"exemption": [exemption]})
    assert browser.post("/raw", headers=()).status_code == 200
    assert browser.post("/save", headers=()).status_code == 403


def test_probe_and_refresh_never_reach_the_app(browser):
    """The reserved paths behave as under ASGI."""
    assert browser.post("/-/dodai/probe", data={"csrf_token": browser.token}).status_code == 204
    fresh = browser.request("GET", "/-/dodai/csrf", [("Sec-Fetch-Site", "same-origin")])
    assert browser.post(data={"csrf_token": json.loads(fresh.text)["token"]}).status_code == 200
    assert browser.request("GET", "/-/dodai/csrf", [("Sec-Fetch-Site", "cross-site")]).status_code == 403


def test_exception_becomes_our_500_without_its_message():
    """Request id and no internals."""
    answer = Browser().request("GET", "/broken", [("Accept", "application/json")])
    assert answer.status_code == 500
    assert "secret value" not in answer.text
    assert json.loads(answer.text)["requestId"] == answer.headers["X-Request-Id"]


def test_every_request_has_one_line(tmp_path):
    """Refusal, route and decision stand in it."""
    browser = Browser(state=tmp_path)
    browser.visit()
    browser.post(data={"a": "1"})
    browser.client.application.runtime.flush()
    lines = [
        json.loads(line)
        for file in sorted(tmp_path.rglob("*"))
        if file.is_file()
        for line in file.read_text().splitlines()
        if line.startswith("{")
    ]
    requests = [line for line in lines if line.get("type") == "http"]
    assert [(line["route"], line["status"]) for line in requests] == [("/form", 200), ("/save", 403)]
    assert requests[1]["csrf"] == "token_missing"


def test_old_key_still_verifies(browser):
    """Rotation refuses nobody."""
    rotated = Browser(keys=key("new1") + "," + KEYS)
    rotated.cookie = browser.cookie
    assert rotated.post(data={"csrf_token": browser.token}).status_code == 200


def test_manifest_without_keys_does_not_start():
    """Protection that was promised is never silently off."""
    config = RuntimeConfig(sections={"csrf": {"mode": "both"}}, env="production")
    with pytest.raises(DodaiError) as caught:
        dodai.wsgi.wrap(flask_app(), config=config)
    assert caught.value.code.id == "DOD180"
    assert Client(dodai.wsgi.wrap(flask_app(), config=RuntimeConfig())).get("/broken").status_code == 500


def test_request_is_not_current_between_two_pieces_of_its_body():
    """A client that leaves in the middle must not leave its request, and its user, to the next one in the thread."""
    seen = []

    def streaming(environ, start_response):
        start_response("200 OK", [])

        def pieces():
            for _ in range(2):
                seen.append(current())
                yield b"piece"

        return pieces()

    app = dodai.wsgi.wrap(streaming, config=RuntimeConfig(state=Path(tempfile.mkdtemp())))
    before = current()
    first, second = (iter(app(EnvironBuilder(method="GET").get_environ(), lambda *_: None)) for _ in range(2))
    for body in (first, second, first):
        assert next(body) == b"piece"
        assert current() is before
    assert seen[0] is seen[2] is not seen[1]
    assert None not in seen
    del first, second
    assert current() is before


@pytest.mark.parametrize(
    ("changed", "noted"),
    [
        ({}, "exempt"),
        ({"REQUEST_METHOD": "DELETE"}, "handler_not_judged"),
        ({"PATH_INFO": "/save"}, "handler_not_judged"),
    ],
)
def test_exemption_holds_for_its_own_handler_alone(tmp_path, changed, noted):
    """Middleware inside changes method or path after the decision: refused before the view, and the line says so."""
    exemption = {"route": "POST /hook", "reason": "r", "control": "c", "owner": "o"}
    app = flask_app()
    app.add_url_rule("/hook", "hook", lambda: "hooked", methods=["POST", "DELETE"])
    inner = app.wsgi_app
    app.wsgi_app = lambda environ, start: environ.update(changed) or inner(environ, start)
    config = RuntimeConfig(
        csrf_keys=KEYS, origins=(APP,), sections={"csrf": {"exemption": [exemption]}}, state=tmp_path
    )
    client = Client(dodai.wsgi.wrap(app, config=config))
    assert client.post("/hook", base_url=APP, buffered=True).status_code == (403 if changed else 200)
    assert "SAVED" not in app.config
    Runtime.of(config).flush()
    lines = [json.loads(line) for path in tmp_path.rglob("*.jsonl") for line in path.read_text().splitlines()]
    assert [line["csrf"] for line in lines if line["type"] == "http"] == [noted]


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
def test_method_override_makes_a_get_unsafe(browser, name):
    """Middleware inside may turn it into a DELETE, here as in ASGI."""
    answer = browser.request("GET", "/form", [(name, "DELETE"), ("Sec-Fetch-Site", "cross-site")])
    assert (answer.status_code, json.loads(answer.text)["error"]["code"]) == (403, "DOD150")


@pytest.mark.parametrize(
    ("sent", "status"),
    [({}, 200), ({"Authorization": "Bearer t"}, 200), ({"Cookie": "a=1"}, 403), ({"Authorization": "Basic dTpw"}, 403)],
)
def test_request_that_hides_its_origin_passes_mode_header_without_credentials_only(sent, status):
    """As over ASGI."""
    sections = {"csrf": {"mode": "header"}}
    app = dodai.wsgi.wrap(flask_app(), config=RuntimeConfig(csrf_keys=KEYS, origins=(APP,), sections=sections))
    answer = Client(app, use_cookies=False).post("/save", base_url=APP, headers=sent)
    assert answer.status_code == status
    assert status == 200 or answer.json["error"]["code"] == "DOD164"


RESERVED = (
    "/-/dodai",
    "/-/dodai/",
    "/-/dodai/probe",
    "/-/dodai/probe/",
    "/-/dodai/csrf",
    "/-/dodai/metrics",
    "/-/dodai/x/y",
)


@pytest.mark.parametrize("protected", [True, False])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize("path", [*RESERVED, "/-/dodaix", "/a/-/dodai/probe"])
async def test_reserved_paths_are_those_of_asgi(path, method, protected):
    """The same answer as there for each of them, and the application never sees one; what is near them is its own."""
    seen: list[str] = []
    flask = Flask(__name__)

    @flask.before_request
    def everything():
        seen.append(request.path)
        return "of the application"

    async def bare(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"of the application"})

    given = RuntimeConfig(csrf_keys=KEYS, origins=(APP,), csrf_off="" if protected else "test of what is reserved")
    sent = {"Sec-Fetch-Site": "same-origin", "Accept": "application/json"}
    client = Client(dodai.wsgi.wrap(flask, config=given), use_cookies=False)
    answer = client.open(path, method=method, base_url=APP, headers=sent)
    headers = [(name.lower(), value) for name, value in [("Host", "app.example.com"), *sent.items()]]
    other = await call(dodai.asgi.wrap(bare, config=given), method, path, headers)
    assert answer.status_code == other.status
    assert path not in RESERVED or seen == []


@pytest.mark.parametrize(("header", "status"), [(False, 403), (True, 200)])
def test_compressed_form_is_not_looked_into(header, status):
    """A token inside of it is none; with one in the header it arrives as it was sent."""
    browser = Browser()
    page = browser.request("GET", "/form")
    token = re.search(r'value="([^"]+)"', page.text)[1]
    body = gzip.compress(f"csrf_token={token}".encode())
    sent = [("Content-Encoding", "gzip"), ("Content-Type", "application/x-www-form-urlencoded")]
    sent += [("Sec-Fetch-Site", "same-origin"), *([("X-CSRF-Token", token)] if header else [])]
    answer = browser.request("POST", "/raw", sent, data=body)
    assert answer.status_code == status
