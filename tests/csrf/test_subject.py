"""What `subject=` of `wrap` is called with, what it may return, and what is no subject."""

from __future__ import annotations

import functools
import json
from base64 import b64encode
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path

import pytest
from flask import Flask, session
from itsdangerous import TimestampSigner
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient
from tests.csrf.driver import APP, FORM, KEYS
from tests.test_guides import blocks
from werkzeug.test import Client

import dodai.asgi
import dodai.wsgi
from dodai.csrf.enforce import csrf_token, session_subject
from dodai.runtime import Runtime, RuntimeConfig

SECRET = "the secret of the sessions"


@pytest.fixture(autouse=True)
def _no_current_runtime() -> Iterator[None]:
    before, Runtime._current = Runtime._current, None
    yield
    Runtime._current = before


def config(folder: Path) -> RuntimeConfig:
    return RuntimeConfig(csrf_keys=KEYS, origins=(APP,), state=folder)


def flask_app(secret: str | None = SECRET) -> Flask:
    app = Flask("shop")
    app.secret_key = secret
    app.add_url_rule("/form", "form", csrf_token)
    app.add_url_rule("/save", "save", lambda: "saved", methods=["POST"])

    @app.get("/as/<user>")
    def sign_in(user):
        session["user_id"] = user
        return ""

    return app


class Visitor:
    """One browser in front of a WSGI application; `server` is what the server adds to the environ."""

    def __init__(self, app, **server):
        self.client = Client(app)
        self.server = server
        self.token = ""

    def form(self):
        self.token = self.client.get("/form", base_url=APP, environ_overrides=self.server).text
        return self

    def post(self):
        headers = {"Sec-Fetch-Site": "same-origin", "Content-Type": FORM}
        data = f"csrf_token={self.token}"
        return self.client.post("/save", base_url=APP, headers=headers, data=data, environ_overrides=self.server)


def test_subject_of_wsgi_is_called_with_the_environ_of_the_server(tmp_path):
    """What a server says of the user (`REMOTE_USER`) binds tokens: one of `ann` is worth nothing for `bob`."""
    seen = []

    def subject(environ):
        seen.append(environ)
        return environ.get("REMOTE_USER")

    app = dodai.wsgi.wrap(flask_app(), config=config(tmp_path), subject=subject)
    visitor = Visitor(app, REMOTE_USER="ann", REMOTE_ADDR="192.0.2.7").form()
    assert visitor.post().text == "saved"
    assert {one["REMOTE_ADDR"] for one in seen} == {"192.0.2.7"}
    assert {"wsgi.url_scheme", "PATH_INFO", "REQUEST_METHOD", "HTTP_HOST"} <= set(seen[-1])
    visitor.server["REMOTE_USER"] = "bob"
    assert visitor.post().json["error"]["code"] == "DOD154"


def test_session_subject_reads_the_cookie_of_an_environ_too():
    """It does not silently bind nothing where the application behind it is a WSGI one."""
    signer = TimestampSigner(SECRET)

    def cookie(user):
        return f"session={signer.sign(b64encode(json.dumps({'user': user}).encode())).decode()}"

    assert session_subject(signer, "user")({"HTTP_COOKIE": f"a=1; {cookie('ann')}"}) == "ann"
    assert session_subject(signer, "user")({"PATH_INFO": "/"}) is None


def test_subject_that_raises_in_wsgi_is_a_refusal(tmp_path):
    """A fault in it never lets a request through."""
    visitor = Visitor(dodai.wsgi.wrap(flask_app(), config=config(tmp_path)), REMOTE_USER="ann").form()
    broken = dodai.wsgi.wrap(flask_app(), config=config(tmp_path), subject=itemgetter("flask.user"))
    other = Visitor(broken)
    other.token = visitor.token
    answer = other.post()
    assert (answer.status_code, answer.json["error"]["code"]) == (400, "DOD156")


@pytest.mark.parametrize("wrap", [dodai.asgi.wrap, dodai.wsgi.wrap], ids=["asgi", "wsgi"])
@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (session_subject, "session_subject"),
        (lambda: "ann", "<lambda>"),
        (lambda environ, key: environ[key], "<lambda>"),
        (lambda environ, *, key: environ[key], "<lambda>"),
        (functools.partial(session_subject, cookie="s"), "partial"),
        (flask_app().session_interface.open_session, "open_session"),
        ("user_id", "str"),
    ],
)
def test_what_cannot_be_called_with_one_argument_is_refused_when_it_is_wrapped(wrap, wrong, named, tmp_path):
    """Not in each request, where everybody would be refused; the message says what to write."""
    app = flask_app() if wrap is dodai.wsgi.wrap else Starlette()
    with pytest.raises(TypeError, match="`subject` must be a function of one argument") as caught:
        wrap(app, config=config(tmp_path), subject=wrong)
    assert f"`{named}` is not" in str(caught.value)
    assert 'subject=session_subject(TimestampSigner(secret_key), "user_id")' in str(caught.value)


class Named:
    def __call__(self, environ):
        return environ["REMOTE_USER"]

    def method(self, environ, more="REMOTE_USER"):
        return environ[more]


@pytest.mark.parametrize(
    "right",
    [
        session_subject(TimestampSigner(SECRET), "user"),
        lambda *arguments: arguments[0]["REMOTE_USER"],
        functools.partial(lambda key, environ: environ[key], "REMOTE_USER"),
        Named(),
        Named().method,
        itemgetter("REMOTE_USER"),
        str,
    ],
)
def test_whatever_can_be_called_with_one_argument_is_a_subject(right, tmp_path):
    """Also what does not say how it is called."""
    assert "what `subject=` names" in dodai.wsgi.wrap(flask_app(), config=config(tmp_path), subject=right).csrf_binding


@pytest.mark.parametrize("guide", ["flask.md", "flask.ja.md"])
def test_subject_of_the_flask_guide_binds_tokens_to_the_session(guide, tmp_path, monkeypatch):
    """As it stands there: the page of one user posts nothing as another, in the same browser."""
    monkeypatch.chdir(tmp_path)
    app = flask_app()
    exec(blocks(guide, "python")[0], {"app": app, "dodai": dodai})
    visitor = Visitor(app.wsgi_app)
    visitor.client.get("/as/ann", base_url=APP)
    assert visitor.form().post().text == "saved"
    visitor.client.get("/as/bob", base_url=APP)
    assert visitor.post().json["error"]["code"] == "DOD154"
    assert visitor.form().post().text == "saved"


@pytest.mark.parametrize("guide", ["flask.md", "flask.ja.md"])
def test_subject_of_the_flask_guide_is_nobody_where_flask_keeps_no_session(guide, tmp_path, monkeypatch):
    """As in `shop.py` of the same page, which has no `secret_key`: its page and its form work."""
    monkeypatch.chdir(tmp_path)
    app = flask_app(secret=None)
    exec(blocks(guide, "python")[0], {"app": app, "dodai": dodai})
    assert Visitor(app.wsgi_app).form().post().text == "saved"


@pytest.mark.parametrize("guide", ["adopt.md", "adopt.ja.md"])
def test_subject_of_the_adopt_guide_binds_tokens_to_the_session(guide, tmp_path, monkeypatch):
    """As it stands there, with Starlette's sessions."""

    async def sign_in(request):
        request.session["user_id"] = request.path_params["user"]
        return PlainTextResponse("")

    monkeypatch.chdir(tmp_path)
    routes = [
        Route("/form", lambda _: PlainTextResponse(csrf_token())),
        Route("/as/{user}", sign_in),
        Route("/save", lambda _: PlainTextResponse("saved"), methods=["POST"]),
    ]
    given: dict[str, object] = {"dodai": dodai, "SECRET_KEY": SECRET}
    given["app"] = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, secret_key=SECRET)])
    exec(blocks(guide, "python")[0], given)
    same = {"Sec-Fetch-Site": "same-origin"}
    with TestClient(given["app"], base_url=APP) as client:
        client.get("/as/ann")
        token = client.get("/form").text
        assert client.post("/save", data={"csrf_token": token}, headers=same).text == "saved"
        client.get("/as/bob")
        assert client.post("/save", data={"csrf_token": token}, headers=same).json()["error"]["code"] == "DOD154"
