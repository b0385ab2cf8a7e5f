"""The framework keeps its own token, and dodai checks in front of it where a request comes from."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from flask import Flask, render_template_string, request
from flask_wtf import CSRFProtect, FlaskForm
from litestar import Litestar
from litestar import post as litestar_post
from litestar import route as litestar_route
from litestar.config.csrf import CSRFConfig
from tests.csrf.driver import EVIL, call
from tests.csrf.test_exemptions import starlette_app
from werkzeug.test import Client

import dodai.asgi
import dodai.wsgi
from dodai.core.errors import DodaiError
from dodai.frameworks import native_tokens
from dodai.runtime import RuntimeConfig

ORIGIN = "https://shop.example"
OURS = {"Origin": ORIGIN, "Sec-Fetch-Site": "same-origin", "Referer": ORIGIN + "/"}


def config(**more: Any) -> RuntimeConfig:
    return RuntimeConfig(origins=(ORIGIN,), release="r1", sections={"csrf": {"mode": "framework"}}, **more)


def shop(*, check: bool = True, **settings: Any) -> Flask:
    app = Flask(__name__)
    app.config.update(SECRET_KEY="x" * 40, **settings)
    if check:
        CSRFProtect(app)
    app.get("/", endpoint="form")(lambda: render_template_string("{{ form.hidden_tag() }}", form=FlaskForm()))
    app.post("/orders", endpoint="orders")(lambda: "ordered")
    return app


def test_form_with_the_token_of_flask_wtf_is_accepted():
    """`form.hidden_tag()` stays as it is; a production release starts without keys of dodai."""
    client = Client(dodai.wsgi.wrap(shop(), config=config()))
    page = client.get("/", base_url=ORIGIN).text
    token = page.partition('value="')[2].partition('"')[0]
    sent = {"csrf_token": token}
    assert client.post("/orders", base_url=ORIGIN, headers=OURS, data=sent).text == "ordered"
    assert client.post("/orders", base_url=ORIGIN, headers=OURS).status_code == 400, "Flask-WTF asks for its token"
    hostile = {**OURS, "Origin": EVIL, "Sec-Fetch-Site": "cross-site"}
    refused = client.post("/orders", base_url=ORIGIN, headers=hostile, data=sent)
    assert (refused.status_code, refused.json["error"]["code"]) == (403, "DOD150")


def test_token_refresh_of_dodai_does_not_stand_in_the_way():
    """The script would write dodai's token into the fields of Flask-WTF, which have the same name."""
    client = Client(dodai.wsgi.wrap(shop(), config=config()))
    for path in ("/-/dodai/csrf", "/-/dodai/csrf?script"):
        assert client.get(path, base_url=ORIGIN, headers=OURS).status_code == 404


def test_token_of_dodai_is_not_rendered_beside_it():
    """Whoever asks for one is told which to use."""
    app = shop()
    seen = []

    def ask() -> str:
        try:
            return dodai.csrf.enforce.csrf_token()
        except DodaiError as error:
            seen.append(error)
            return ""

    app.get("/ask")(ask)
    Client(dodai.wsgi.wrap(app, config=config())).get("/ask", base_url=ORIGIN)
    assert [error.code.id for error in seen] == ["DOD183"]
    assert "hidden_tag" in seen[0].fix


@pytest.mark.parametrize(
    "app",
    [
        shop(check=False),
        shop(WTF_CSRF_ENABLED=False),
        shop(WTF_CSRF_CHECK_DEFAULT=False),
        starlette_app(),
        Litestar([]),
    ],
    ids=["no extension", "switched off", "only where asked", "starlette", "litestar"],
)
def test_application_without_a_check_of_its_own_does_not_start(app):
    """Nobody would ask for a token."""
    wrap = dodai.wsgi.wrap if isinstance(app, Flask) else dodai.asgi.wrap
    with pytest.raises(DodaiError) as caught:
        wrap(app, config=config())
    assert caught.value.code.id == "DOD186"


def test_litestar_with_its_own_check_starts():
    """Its `CSRFConfig` is one."""

    @litestar_post("/orders")
    async def orders() -> str:
        return "ordered"

    dodai.asgi.wrap(Litestar([orders], csrf_config=CSRFConfig(secret="s" * 40)), config=config())


DJANGO = """
import sys, types
import django
from django.conf import settings
from django.http import HttpResponse
from django.template import engines
site = sys.modules["shop_site"] = types.ModuleType("shop_site")
settings.configure(SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], ROOT_URLCONF="shop_site", LOGGING_CONFIG=None,
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}], MIDDLEWARE=[MIDDLEWARE])
django.setup()
from django.urls import path
def page(request): return HttpResponse(engines["django"].from_string("{% csrf_token %}").render({}, request))
site.urlpatterns = [path("", page), path("orders", lambda _: HttpResponse("ordered"))]
from django.core.handlers.wsgi import WSGIHandler
import dodai.wsgi
from tests.csrf.test_framework_mode import OURS, ORIGIN, config
from werkzeug.test import Client
client = Client(dodai.wsgi.wrap(WSGIHandler(), config=config()))
token = client.get("/", base_url=ORIGIN).text.partition('value="')[2].partition('"')[0]
def post(data, **headers): return client.post("/orders", base_url=ORIGIN, headers={**OURS, **headers}, data=data).status_code
print("ANSWER", post({"csrfmiddlewaretoken": token}), post({}), post({"csrfmiddlewaretoken": token}, Origin="https://evil.example"))
"""


@pytest.mark.parametrize(
    ("middleware", "said"), [("django.middleware.csrf.CsrfViewMiddleware", "ANSWER 200 403 403"), ("", "DOD186")]
)
def test_form_with_the_token_of_django_is_accepted(middleware, said):
    """`{% csrf_token %}` stays as it is; without the middleware nothing starts."""
    code = DJANGO.replace("[MIDDLEWARE]", repr([middleware] if middleware else []))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said in done.stdout + done.stderr


class Quiet(CSRFProtect):
    """Notices a wrong token, and says nothing."""

    def _error_response(self, reason: str) -> None:
        del reason


def quiet() -> Flask:
    app = shop(check=False)
    Quiet(app)
    return app


def litestar(**settings: Any) -> Litestar:
    @litestar_post("/orders")
    async def orders() -> str:
        return "ordered"

    @litestar_post("/hook", exclude_from_csrf=True)
    async def hook() -> str:
        return "hooked"

    return Litestar([orders, hook], csrf_config=CSRFConfig(secret="s" * 40, **settings))


@pytest.mark.parametrize(
    ("app", "said"),
    [
        (shop(WTF_CSRF_METHODS=[]), "let a forged POST without a token pass"),
        (shop(WTF_CSRF_METHODS=["POST", "PUT", "PATCH"]), "let a forged DELETE without a token pass"),
        (quiet(), "test_framework_mode.Quiet` let a forged POST without a token pass"),
        (litestar(safe_methods={"GET", "POST"}), "let a forged POST without a token pass"),
        (litestar(exclude=r"^/(orders|-/.*)"), "let a forged POST without a token pass"),
    ],
    ids=["no methods", "not DELETE", "says nothing", "POST is safe", "excluded"],
)
def test_application_whose_check_refuses_nothing_does_not_start(app, said):
    """It is asked: what it is called and how it is set up proves nothing."""
    wrap = dodai.wsgi.wrap if isinstance(app, Flask) else dodai.asgi.wrap
    with pytest.raises(DodaiError) as caught:
        wrap(app, config=config())
    assert caught.value.code.id == "DOD162"
    assert said in str(caught.value)


def exempting(**settings: Any) -> Flask:
    app = shop(**settings)
    ran = app.config["RAN"] = []
    app.post("/hook", endpoint="hook")(app.extensions["csrf"].exempt(hook))
    app.add_url_rule("/lock", "lock", lambda: ran.append(1) or "locked", methods=["LOCK"])
    return app


def hook() -> str:
    sys.modules["flask"].current_app.config["RAN"].append(1)
    return "hooked"


@pytest.mark.parametrize(
    ("method", "path", "later"),
    [
        ("POST", "/hook", {}),
        ("LOCK", "/lock", {}),
        ("POST", "/orders", {"WTF_CSRF_CHECK_DEFAULT": False}),
        ("POST", "/orders", {"WTF_CSRF_METHODS": set()}),
        ("POST", "/orders", {"WTF_CSRF_ENABLED": False}),
    ],
)
def test_request_that_flask_wtf_has_not_checked_is_refused(method, path, later):
    """Before the view runs, whatever the reason is why nobody asked for its token."""
    app = exempting()
    client = Client(dodai.wsgi.wrap(app, config=config()))
    app.config.update(later)
    answer = client.open(path, method=method, base_url=ORIGIN, headers=OURS)
    assert (answer.status_code, answer.json["error"]["code"]) == (403, "DOD163")
    assert app.config["RAN"] == []
    assert client.post("/nowhere", base_url=ORIGIN, headers=OURS).status_code == 404, "nothing runs there"


def test_route_that_the_manifest_exempts_needs_no_check_of_the_framework():
    """There is a reason, and somebody who answers for it."""
    row = {"route": "POST /hook", "reason": "no cookies", "owner": "me", "control": "signature"}
    sections = {"csrf": {"mode": "framework", "exemption": [row]}}
    app = exempting()
    given = RuntimeConfig(origins=(ORIGIN,), release="r1", sections=sections)
    client = Client(dodai.wsgi.wrap(app, config=given))
    assert client.post("/hook", base_url=ORIGIN).text == "hooked"
    assert client.post("/orders", base_url=ORIGIN).status_code in (400, 403)


async def test_request_that_litestar_has_not_checked_is_refused():
    """`exclude_from_csrf` is no reason by itself; a right token is one."""
    app = litestar()
    wrapped = dodai.asgi.wrap(app, config=config())
    tokens = native_tokens(app, ORIGIN)
    sent = [(name.lower(), value) for name, value in OURS.items()] + [("host", "shop.example")]
    assert (await call(wrapped, "POST", "/hook", sent)).status == 403
    answer = await call(wrapped, "POST", "/hook", sent)
    assert b"DOD163" in answer.body
    genuine = [*sent, ("cookie", tokens["cookie"]), (tokens["header"], tokens["token"])]
    assert (await call(wrapped, "POST", "/orders", genuine)).status == 201


DJANGO_ATTACK = """
import asyncio, sys, types
import django
from django.conf import settings
from django.http import HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from django.template import engines
from django.views.decorators.csrf import csrf_exempt
site = sys.modules["shop_site"] = types.ModuleType("shop_site")
class Deaf(CsrfViewMiddleware):
    def process_view(self, request, *more): return None
class OnlyWithCookies(CsrfViewMiddleware):
    def process_view(self, request, *more): return super().process_view(request, *more) if request.COOKIES else None
class NotForApps(CsrfViewMiddleware):
    def process_view(self, request, *more):
        return None if "HTTP_X_APP" in request.META else super().process_view(request, *more)
def switched_off(get_response):
    def middleware(request):
        request._dont_enforce_csrf_checks = "HTTP_X_APP" in request.META
        return get_response(request)
    return middleware
site.Deaf, site.OnlyWithCookies, site.NotForApps, site.switched_off = Deaf, OnlyWithCookies, NotForApps, switched_off
OWN = "django.middleware.csrf.CsrfViewMiddleware"
settings.configure(SECRET_KEY="x" * 50, ALLOWED_HOSTS=["*"], ROOT_URLCONF="shop_site", LOGGING_CONFIG=None,
    TEMPLATES=[{"BACKEND": "django.template.backends.django.DjangoTemplates"}], MIDDLEWARE=MIDDLEWARE)
django.setup()
from django.urls import path
ran = []
def page(request): return HttpResponse(engines["django"].from_string("{% csrf_token %}").render({}, request))
def order(request): ran.append(1); return HttpResponse("ordered")
@csrf_exempt
def hook(request): ran.append(1); return HttpResponse("hooked")
site.urlpatterns = [path("", page), path("orders", order), path("hook", hook)]
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
import dodai.asgi, dodai.wsgi
from tests.csrf.driver import call
from tests.csrf.test_framework_mode import OURS, ORIGIN, config
from werkzeug.test import Client
client = Client(dodai.wsgi.wrap(WSGIHandler(), config=config()))
token = client.get("/", base_url=ORIGIN).text.partition('value="')[2].partition('"')[0]
def post(path, data, **headers):
    answer = client.post(path, base_url=ORIGIN, headers={**OURS, **headers}, data=data)
    return answer.json["error"]["code"] if answer.mimetype == "application/json" else answer.status_code
print("WSGI", post("/orders", {"csrfmiddlewaretoken": token}), post("/hook", {}), post("/orders", {}, **{"X-App": "1"}), len(ran))
cookie = client.get_cookie("csrftoken", domain="shop.example").value
async def asked():
    app = dodai.asgi.wrap(ASGIHandler(), config=config())
    sent = [(name.lower(), value) for name, value in OURS.items()] + [("host", "shop.example"), ("cookie", "csrftoken=" + cookie)]
    genuine = await call(app, "POST", "/orders", [*sent, ("x-csrftoken", token)])
    return genuine.status, (await call(app, "POST", "/hook", sent)).status, len(ran)
print("ASGI", *asyncio.run(asked()))
"""


@pytest.mark.parametrize(
    ("middleware", "said"),
    [
        ('["shop_site.Deaf"]', "`shop_site.Deaf` let a forged POST without a token pass"),
        ('["shop_site.OnlyWithCookies"]', "`shop_site.OnlyWithCookies` let a forged POST without a token pass"),
        ('["shop_site.NotForApps"]', "WSGI 200 DOD163 DOD163 1"),
        ('[OWN, "shop_site.switched_off"]', "WSGI 200 DOD163 DOD163 1"),
        ('["shop_site.switched_off", OWN]', "WSGI 200 DOD163 DOD163 1"),
        ("[OWN]", "ASGI 200 403 2"),
    ],
)
def test_request_that_django_has_not_checked_is_refused(middleware, said):
    """By a class that answers nothing the application does not start; what is left out one by one is seen later."""
    code = DJANGO_ATTACK.replace("MIDDLEWARE=MIDDLEWARE", f"MIDDLEWARE={middleware}")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said in done.stdout + done.stderr


SHOP = """
from flask import Flask
from flask_wtf import CSRFProtect
import dodai.wsgi
app = Flask(__name__)
app.secret_key = "x" * 40
CSRFProtect(app)
@app.post("/orders")
def orders(): return "ordered"
@app.post("/hook")
@app.extensions["csrf"].exempt
def hook(): return "hooked"
app.wsgi_app = dodai.wsgi.wrap(app, service="shop/web")
"""


def test_routes_are_protected_by_the_framework(tmp_path):
    """The audit sends the framework's own tokens; dodai refuses what comes from elsewhere in front of it."""
    (tmp_path / "web.py").write_text(SHOP, "utf-8")
    manifest = tmp_path / "dodai.toml"
    manifest.write_text(
        '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\napp = "web:app"\npublic = true\n'
        '[csrf]\nmode = "framework"\n',
        "utf-8",
    )
    command = [sys.executable, "-m", "dodai", "routes", "--json", "--manifest", str(manifest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    table = json.loads(done.stdout)
    rows = [(row["path"], row["verdict"], row["by"]) for row in table["routes"]]
    assert rows == [("/hook", "unprotected", None), ("/orders", "protected", "flask-wtf")], table
    assert "DOD163" in table["routes"][0]["evidence"]
    assert table["binding"] == "what the framework's own check binds its tokens to"


@pytest.mark.parametrize("where", ["hook", "middleware"])
def test_write_that_becomes_a_read_in_front_of_flask_wtf_is_still_a_write(where):
    """What arrived decides: Flask-WTF asks no token of a GET, and the view does what the body says."""
    app, ran = Flask(__name__), []
    app.config.update(SECRET_KEY="x" * 40)

    @app.before_request
    def override() -> None:
        if where == "hook":
            request.method = request.args.get("_method", request.method)

    inner = app.wsgi_app

    def middleware(environ: Any, start_response: Any) -> Any:
        method = "GET" if "_method=GET" in environ["QUERY_STRING"] else environ["REQUEST_METHOD"]
        return inner({**environ, "REQUEST_METHOD": method}, start_response)

    app.wsgi_app = middleware if where == "middleware" else inner
    CSRFProtect(app)
    app.add_url_rule("/any", "any", lambda: ran.append(request.method) or "done", methods=["GET", "POST"])
    client = Client(dodai.wsgi.wrap(app, config=config()))
    answer = client.post("/any?_method=GET", base_url=ORIGIN, headers=OURS)
    assert (answer.status_code, answer.json["error"]["code"], ran) == (403, "DOD163", [])
    named = client.get("/any", base_url=ORIGIN, headers={**OURS, "X-HTTP-Method-Override": "POST"})
    assert (named.text, ran) == ("done", ["GET"]), "a read that nobody makes a write is one"


async def test_write_that_becomes_a_read_in_front_of_litestar_is_still_a_write():
    """Its middleware asks no token of a GET."""
    ran = []

    @litestar_route("/any", http_method=["GET", "POST"])
    async def anything() -> str:
        return ran.append("any") or "done"

    class Reading:
        def __init__(self, app: Any) -> None:
            self.app = app

        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scope = {**scope, "method": "GET"}
            await self.app(scope, receive, send)

    inner = Litestar([anything], csrf_config=CSRFConfig(secret="s" * 40))
    app = dodai.asgi.wrap(Reading(inner), config=config())
    sent = [(name.lower(), value) for name, value in OURS.items()] + [("host", "shop.example")]
    answer = await call(app, "POST", "/any", sent)
    assert (answer.status, b"DOD163" in answer.body, ran) == (403, True, [])
    assert ((await call(app, "GET", "/any", sent)).status < 300, ran) == (True, ["any"])


DJANGO_METHOD = DJANGO_ATTACK.replace(
    "def switched_off(get_response):",
    """def reading(get_response):
    def middleware(request):
        request.method = request.GET.get("_method", request.method)
        return get_response(request)
    return middleware
def switched_off(get_response):""",
).replace("site.Deaf,", "site.reading = reading; site.Deaf,")


@pytest.mark.parametrize("target", ["/orders?_method=GET", "/orders?_method=HEAD", "/hook?_method=OPTIONS"])
def test_write_that_becomes_a_read_in_front_of_django_is_still_a_write(target):
    """Over WSGI and ASGI."""
    code = DJANGO_METHOD.replace("MIDDLEWARE=MIDDLEWARE", 'MIDDLEWARE=["shop_site.reading", OWN]')
    code = code.partition('print("WSGI"')[0] + (
        f'print("WSGI", post("{target}", {{}}), len(ran))\n'
        'sent = [(name.lower(), value) for name, value in OURS.items()] + [("host", "shop.example")]\n'
        f'answer = asyncio.run(call(dodai.asgi.wrap(ASGIHandler(), config=config()), "POST", "{target}", sent))\n'
        'print("ASGI", answer.status, b"DOD163" in answer.body, len(ran))\n'
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    said = [line for line in done.stdout.splitlines() if not line.startswith("{")]
    assert said == ["WSGI DOD163 0", "ASGI 403 True 0"], done.stderr


def test_route_that_dodai_exempts_and_flask_wtf_does_not(tmp_path):
    """It is refused without the token of Flask-WTF, and so it is no exempt one."""
    (tmp_path / "web.py").write_text(SHOP, "utf-8")
    manifest = tmp_path / "dodai.toml"
    row = '[[csrf.exemption]]\nroutes = ["POST /orders", "POST /hook"]\nreason = "r"\nowner = "o"\ncontrol = "c"\n'
    service = '[service.web]\ncommand = ["x"]\napp = "web:app"\npublic = true\n'
    manifest.write_text(f'[project]\nname = "shop"\n{service}[csrf]\nmode = "framework"\n{row}', "utf-8")
    command = [sys.executable, "-m", "dodai", "routes", "--json", "--manifest", str(manifest)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = {row["path"]: (row["verdict"], row["by"], row["evidence"]) for row in json.loads(done.stdout)["routes"]}
    assert rows["/hook"][0] == "exempt"
    assert rows["/orders"][:2] == ("protected", "flask-wtf")
    assert rows["/orders"][2].endswith("flask-wtf refuses what dodai lets pass")


def test_check_inside_a_view_of_django_comes_too_late():
    """Whatever the token is worth: the refusal names what was not seen, and not something that was led elsewhere."""
    code = DJANGO_ATTACK.replace("MIDDLEWARE=MIDDLEWARE", "MIDDLEWARE=[OWN]").partition('print("WSGI"')[0]
    code = code.replace("@csrf_exempt\n", "@csrf_exempt\n@csrf_protect\n").replace(
        "import csrf_exempt", "import csrf_exempt, csrf_protect"
    )
    code += 'print(post("/hook", {}), post("/hook", {}, **{"X-CSRFToken": token}), len(ran))\n'
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "DOD163 DOD163 0" in done.stdout.splitlines(), done.stderr


def test_django_that_is_served_over_asgi_alone_starts():
    """Its check is asked with a request of WSGI, which such a process has not loaded."""
    code = DJANGO_ATTACK.replace("MIDDLEWARE=MIDDLEWARE", "MIDDLEWARE=[OWN]").partition(
        "from django.core.handlers.asgi"
    )[0]
    code += (
        "from django.core.handlers.asgi import ASGIHandler\nimport dodai.asgi\n"
        "from dodai.runtime import RuntimeConfig\n"
        'given = RuntimeConfig(origins=("https://shop.example",), sections={"csrf": {"mode": "framework"}})\n'
        "dodai.asgi.wrap(ASGIHandler(), config=given)\n"
        'print("STARTED")\n'
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "STARTED" in done.stdout, done.stderr
