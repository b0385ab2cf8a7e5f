"""Closed by default: no key, no manifest or no origin never lets a forged request through."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import httpx2
import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.csrf.driver import APP, FORM, KEYS, Browser, Clock, call, guarded
from tests.quiz.stack import free_ports, listens
from tests.support.wait import until
from tests.test_guides import blocks
from werkzeug.test import Client

import dodai.asgi
import dodai.wsgi
from dodai.core.errors import DodaiError
from dodai.csrf.enforce import csrf_token
from dodai.csrf.token import GRACE_S
from dodai.runtime import Runtime, RuntimeConfig

FORGED = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Cookie": "session=victim"}
DEPLOYED = (
    {"env": "production"},
    {"release": "r1"},
    {"edge_key_file": Path("/dev/null")},
    {"origins": ("https://shop.example",)},
    {"env": "local", "sections": {"env": {"local": {"provider": "fly"}}}},
    {"env": "dev", "sections": {"env": {"dev": {"compute": "fly"}}}},
    {"env": "test", "sections": {"env": {"test": {"provider": "local", "edge": "cloudflare"}}}},
)


@pytest.fixture(autouse=True)
def _no_current_runtime() -> Iterator[None]:
    before, Runtime._current = Runtime._current, None
    yield
    Runtime._current = before


def starlette_app() -> Starlette:
    async def order(_):
        return PlainTextResponse("ordered")

    return Starlette(routes=[Route("/orders", order, methods=["POST"])])


def flask_app() -> Flask:
    app = Flask(__name__)
    app.post("/orders")(lambda: "ordered")
    app.get("/form")(csrf_token)
    return app


def django_app():
    """One URLconf for the whole test process: Django can be configured once."""
    import django
    from django.conf import settings
    from django.core.handlers.wsgi import WSGIHandler
    from django.http import HttpResponse
    from django.urls import path

    if not settings.configured:
        settings.configure(ALLOWED_HOSTS=["*"], SECRET_KEY="x" * 50, LOGGING_CONFIG=None)
        django.setup()
    urls = ModuleType("closed_by_default_urls")
    urls.urlpatterns = [path("orders", lambda _: HttpResponse("ordered"))]
    sys.modules[urls.__name__] = urls
    settings.ROOT_URLCONF = urls.__name__
    return WSGIHandler()


@contextmanager
def guide_app(folder: Path, **environ: str) -> Iterator[str]:
    """The application of `docs/guides/adopt.md`, word by word, run as the guide has it."""
    (folder / "web.py").write_text(blocks("adopt.md", 'python title="web.py"')[0], "utf-8")
    (port,) = free_ports(1)
    with (folder / "err").open("w") as err:
        process = subprocess.Popen(
            [sys.executable, "web.py"], cwd=folder, env={"PORT": str(port), **environ}, stderr=err
        )
    try:
        until(lambda: listens("127.0.0.1", port) or process.poll() is not None, "the app of the guide")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def test_app_of_the_adopt_guide_is_protected_before_there_is_a_manifest(tmp_path):
    """Its page is served, its form is accepted, another site's request is refused, and one loud line says why so."""
    with guide_app(tmp_path) as url, httpx2.Client(base_url=url) as client:
        assert client.post("/orders", headers=FORGED).status_code == 403
        assert client.post("/orders").json()["error"]["code"] == "DOD151"
        page = client.get("/")
        token = re.search(r'value="(d1\.[^"]+)"', page.text)
        assert token, page.text
        same = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/orders", data={"csrf_token": token[1]}, headers=same).text == "ordered"
    loud = (tmp_path / "err").read_text("utf-8")
    assert loud.count("DODAI_CSRF_KEYS") == loud.count("DOD180") + 1 == 2


def test_app_of_the_adopt_guide_does_not_start_in_production_without_keys(tmp_path):
    """Nothing listens, and the last words are the code."""
    with pytest.raises(httpx2.TransportError), guide_app(tmp_path, DODAI_ENV="production") as url:
        httpx2.post(url + "/orders", headers=FORGED)
    assert "DOD180" in (tmp_path / "err").read_text("utf-8")


@pytest.mark.parametrize("signs", DEPLOYED, ids=lambda signs: next(iter(signs)))
@pytest.mark.parametrize("wrap", [dodai.asgi.wrap, dodai.wsgi.wrap], ids=["asgi", "wsgi"])
def test_no_start_without_keys_wherever_something_says_it_is_deployed(wrap, signs, tmp_path):
    """One sign is enough: a secret that got lost stops the release."""
    with pytest.raises(DodaiError) as caught:
        wrap(starlette_app(), config=RuntimeConfig(state=tmp_path, **signs))
    assert caught.value.code.id == "DOD180"


@pytest.mark.parametrize("make", [flask_app, django_app], ids=["flask", "django"])
def test_wsgi_applications_without_keys_are_protected(make, tmp_path):
    """Another site's request does not reach the view, and neither does one without a token."""
    client = Client(dodai.wsgi.wrap(make(), config=RuntimeConfig(state=tmp_path)))
    assert client.post("/orders", headers=FORGED).status_code == 403
    assert client.post("/orders").status_code == 403


async def test_asgi_application_without_keys_is_protected(tmp_path):
    """The same through `dodai.asgi`."""
    app = dodai.asgi.wrap(starlette_app(), config=RuntimeConfig(state=tmp_path))
    headers = [(name.lower(), value) for name, value in FORGED.items()]
    assert (await call(app, "POST", "/orders", headers)).status == 403
    assert (await call(app, "POST", "/orders")).status == 403


def test_two_wraps_of_one_process_share_the_key_it_made(tmp_path, capsys):
    """A token of one is good for the other, and the line is written once."""
    runtime = Runtime(RuntimeConfig(state=tmp_path))
    Runtime._current = runtime
    first, second = (Client(dodai.wsgi.wrap(flask_app()), use_cookies=False) for _ in range(2))
    token = first.get("/form")
    cookie = token.headers["Set-Cookie"].partition(";")[0]
    answer = second.post("/orders", data={"csrf_token": token.text}, headers={"Cookie": cookie})
    assert answer.text == "ordered"
    assert capsys.readouterr().err.count("DOD180") == 1


@pytest.mark.parametrize("mode", ["header", "either"])
def test_mode_that_rests_on_the_origin_does_not_start_without_one(mode, tmp_path):
    """A Host header that somebody else chooses is nothing to rest on, in development neither."""
    config = RuntimeConfig(state=tmp_path, csrf_keys=KEYS, sections={"csrf": {"mode": mode}})
    for wrap in (dodai.asgi.wrap, dodai.wsgi.wrap):
        with pytest.raises(DodaiError) as caught:
            wrap(flask_app(), config=config)
        assert caught.value.code.id == "DOD184"


async def test_http_page_is_not_the_same_as_an_https_host():
    """Whoever is between browser and server writes `http://` pages of any name."""
    app = guarded(origins=())
    browser = Browser(app)
    await browser.get()
    form = [f"csrf_token={browser.token}".encode()]
    for scheme, forwarded in (("https", ()), ("http", (("x-forwarded-proto", "https"),))):
        for origin, status in (("http://app.example.com", 403), (APP, 200)):
            sent = browser.headers(("content-type", FORM), ("origin", origin), *forwarded)
            assert (await call(app, "POST", "/save", sent, form, scheme=scheme)).status == status, (scheme, origin)


async def test_token_is_bound_to_the_session_cookie_that_the_manifest_names():
    """Another session's token is refused, with its cookie of ours tossed in as well, and so is a doubled session."""
    app = guarded(session_cookie="sessionid")
    victim, attacker = Browser(app, other_cookies="sessionid=victim"), Browser(app, other_cookies="sessionid=attacker")
    await victim.get()
    await attacker.get()
    assert (await victim.post()).status == 200
    assert (await victim.post(token=attacker.token)).status == 403
    victim.cookie = attacker.cookie
    assert (await victim.post(token=attacker.token)).status == 403
    victim.other_cookies = "sessionid=victim; sessionid=attacker"
    assert (await victim.post(token=attacker.token)).status == 403


async def test_two_tabs_of_a_first_visit_with_a_session_can_both_post():
    """Both get the same cookie, so that neither overwrites the other's."""
    app = guarded(session_cookie="sessionid")
    first, second = (Browser(app, other_cookies="sessionid=s1") for _ in range(2))
    await first.get()
    await second.get()
    assert first.cookie == second.cookie
    assert [(await tab.post()).status for tab in (first, second)] == [200, 200]


async def test_page_that_came_with_the_session_cookie_can_post():
    """The first page of a visit was rendered before there was a session; its own nonce and the browser vouch for it."""
    browser = Browser(guarded(session_cookie="sessionid"))
    await browser.get()
    browser.other_cookies = "sessionid=new"
    assert (await browser.post()).status == 200
    assert (await browser.post(site="", more=[("origin", APP)])).status == 403, "nobody but the browser can vouch"


async def test_grace_ends_five_minutes_after_the_nonce_was_made():
    """Another anonymous visit's token passes only as the other tab of the same first visit."""
    clock = Clock()
    app = guarded(clock=clock)
    other, visitor = Browser(app), Browser(app)
    await other.get()
    clock.now_s += GRACE_S
    await visitor.get()
    assert (await visitor.post(token=other.token)).status == 200
    late = Browser(app)
    clock.now_s += 1
    await late.get()
    assert (await late.post(token=other.token)).status == 403
    late.cookie = ""
    assert (await late.post(token=late.token)).status == 403, "without a nonce there is nothing to be young"


WRAP = """
import dodai.asgi
from starlette.applications import Starlette
app = dodai.asgi.wrap(Starlette(), service="shop/web")
print("STARTED")
raise SystemExit
"""
LAX = '[project]\nname = "{}"\n[service.web]\ncommand = ["x"]\ncsrf = "off"\ncsrf_reason = "mTLS"\n'


def start(folder: Path, *command: str, **environ: str) -> str:
    """`STARTED`, or the code that there was no start with; else all that was said."""
    given = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path), **environ}
    done = subprocess.run(
        [sys.executable, *command], cwd=folder, env=given, capture_output=True, text=True, check=False, timeout=60
    )
    said = done.stdout + done.stderr
    return next((word for word in ("DOD187", "DOD480", "STARTED") if word in said), said)


DEPLOYED_FULLY = {"DODAI_ENV": "production", "DODAI_CSRF_KEYS": KEYS}


@pytest.mark.parametrize("deployed", [{}, DEPLOYED_FULLY], ids=["", "deployed"])
@pytest.mark.parametrize("named", [False, True], ids=["found", "named"])
def test_manifest_of_another_project_does_not_rule_because_somebody_stands_there(deployed, named, tmp_path):
    """Nor because a variable names it, whoever calls: the code says which project it is of."""
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop/app.py").write_text(WRAP, "utf-8")
    (tmp_path / "run.py").write_text("import app\n", "utf-8")
    file = tmp_path / "dodai.toml"
    given = {**deployed, "PYTHONPATH": os.pathsep.join([str(tmp_path / "shop"), *sys.path])}
    given |= {"DODAI_MANIFEST": str(file)} if named else {}
    for project, expected in (("other", "DOD187"), ("shop", "STARTED")):
        file.write_text(LAX.format(project), "utf-8")
        for command in (
            ("shop/app.py",),
            ("run.py",),
            ("-c", "import app"),
            ("-m", "uvicorn", "--port", "0", "app:app"),
        ):
            assert start(tmp_path, *command, **given) == expected


@pytest.mark.parametrize("how", ["link", "folder", "pipe"])
def test_manifest_that_is_there_and_cannot_be_read_is_not_passed_over(how, tmp_path):
    """Neither for the one above nor for none; `docker run -v` makes a folder of a file that is missing."""
    (tmp_path / ".git").mkdir()
    (tmp_path / "shop").mkdir()
    (tmp_path / "dodai.toml").write_text(LAX.format("shop"), "utf-8")
    (tmp_path / "shop/app.py").write_text(WRAP, "utf-8")
    own = tmp_path / "shop/dodai.toml"
    {"link": lambda: own.symlink_to("nothing.toml"), "folder": own.mkdir, "pipe": lambda: os.mkfifo(own)}[how]()
    assert start(tmp_path / "shop", "app.py", **DEPLOYED_FULLY) == "DOD480"
    command = [sys.executable, "-m", "dodai", "check", "csrf"]
    done = subprocess.run(command, cwd=tmp_path / "shop", capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, "DOD050" in done.stderr, f"`{own}` is not a file" in done.stderr) == (2, True, True)


EDGE_KEY = "the-edge-key-0123456789"
SIGNS = (
    {"DODAI_CSRF_KEYS": KEYS},
    {"DODAI_CSRF_KEYS": KEYS, "DODAI_ENV": "production"},
    {"DODAI_CSRF_KEYS": KEYS, "DODAI_ENV": " "},
    {"DODAI_CSRF_KEYS": KEYS, "DODAI_RELEASE": "r1"},
    {"DODAI_CSRF_KEYS": KEYS, "DODAI_RELEASE": "r1", "DODAI_ENV": "local"},
    {"DODAI_CSRF_KEYS": KEYS, "DODAI_EDGE_KEY": EDGE_KEY},
    {"DODAI_CSRF_KEYS": KEYS, "DODAI_EDGE_KEY": EDGE_KEY, "DODAI_ENV": "development"},
    {"DODAI_CSRF_KEYS": KEYS, "DODAI_EDGE_KEY_FILE": "edge"},
    {"DODAI_CSRF_KEYS": KEYS, "DODAI_PUBLIC_ORIGINS": "https://shop.example"},
    {"DODAI_CSRF_KEYS": KEYS, "DODAI_PUBLIC_ORIGINS": ",", "DODAI_ENV": "production"},
    {"DODAI_CSRF_KEYS": KEYS, "DODAI_ENV": "test"},
)
BARE = '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\n[env.production]\nprovider = "fly"\n[env.test]\ncompute = "fly"\n'


def served(environ: dict[str, str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Flask, Client]:
    """The application of a manifest without a public origin, and a client of its layer that has the edge's key."""
    (folder / "dodai.toml").write_text(BARE, "utf-8")
    (folder / "edge").write_text(f"{EDGE_KEY}\n", "utf-8")
    monkeypatch.chdir(folder)
    app = flask_app()
    config = RuntimeConfig.from_environment({"DODAI_MANIFEST": str(folder / "dodai.toml"), **environ})
    return app, Client(dodai.wsgi.wrap(app, config=config))


@pytest.mark.parametrize("environ", SIGNS, ids=lambda environ: "+".join(list(environ)[1:]) or "keys alone")
def test_nothing_is_taken_for_development_that_may_be_deployed(environ, tmp_path, monkeypatch, capsys):
    """Keys, a release or an edge key, whatever else is missing: forged and stray requests are refused, cookies secure."""
    app, client = served(environ, tmp_path, monkeypatch)
    key = {"X-Edge-Key": EDGE_KEY, "Host": "shop.example"}
    page = client.get("/form", headers={**key, "X-Forwarded-Proto": "https"})
    assert page.headers["Set-Cookie"].startswith("__Host-dodai-csrf=")
    assert "; Secure" in page.headers["Set-Cookie"]
    for sent in (FORGED, {}, {"Origin": "http://shop.example:81"}, {"X-Forwarded-Host": "evil.example", **FORGED}):
        assert client.post("/orders", headers={**key, **sent}).status_code == 403
    stray = Client(app).post("/orders", headers={"Host": "shop.example"})
    assert (stray.status_code, "ordered" in stray.text) == (500, False)
    assert "DOD161" not in capsys.readouterr().err, "it is refused and not only told"


def test_list_of_origins_may_be_written_with_spaces():
    """As people write lists; it was no origin (DOD181)."""
    given = RuntimeConfig.from_environment({"DODAI_PUBLIC_ORIGINS": "https://a.example, https://b.example ,"})
    assert given.public_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize("env", ["local", "dev"])
def test_keys_in_an_environment_that_says_it_is_for_development_are_for_development(env, tmp_path, monkeypatch):
    """A browser that speaks plain http gets its cookie back, and a test may call the application inside."""
    app, client = served({"DODAI_CSRF_KEYS": KEYS, "DODAI_ENV": env}, tmp_path, monkeypatch)
    assert "Secure" not in client.get("/form").headers["Set-Cookie"]
    assert Client(app).post("/orders").text == "ordered"
    assert client.post("/orders").status_code == 403
