"""Applications with an unprotected action that an audit could call protected: none of them is `ok`."""

from __future__ import annotations

import sys
from datetime import date

import pytest
from tests.agent.test_audit import STARLETTE, WRAPPED, audit, verdicts
from tests.frameworks.test_flask_django_routes import DJANGO

from dodai.core.fact import Unknown
from dodai.core.rule import evaluate
from dodai.csrf.check import get_changes_nothing
from dodai.csrf.check.gather import gather_routes
from dodai.csrf.route_table import RouteTable

OWN_CHECK = """
class OwnCheck:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        headers = dict(scope.get("headers", ()))
        if scope["type"] == "http" and scope["method"] != "GET" and {condition}:
            await PlainTextResponse("csrf token missing", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
app = OwnCheck(inner)
"""


@pytest.mark.parametrize(
    ("condition", "mode", "said"),
    [
        (
            "headers.get(b'content-type') in (None, b'application/x-www-form-urlencoded')",
            "both",
            "a text/plain and a multipart",
        ),
        ("not headers.get(b'content-type', b'').startswith(b'multipart/')", "both", "a multipart"),
        ("b'attacker' in headers.get(b'origin', b'')", "header", "a null-origin"),
        ("b'attacker' in headers.get(b'referer', b'')", "header", "a null-origin"),
    ],
)
def test_check_of_its_own_that_looks_at_some_requests_alone_is_red(tmp_path, condition, mode, said):
    """What any page can send is sent: other content types, and from where nothing is said."""
    found = audit(tmp_path, STARLETTE + OWN_CHECK.format(condition=condition), policy={"mode": mode})
    row = next(row for row in found.rows if row.id == "POST /save")
    assert row.verdict == "unprotected"
    assert said in row.evidence


@pytest.mark.parametrize(
    ("word", "same"),
    [("shop:inner", False), ("shop:app", True), ("shop:app()", True), ("other:app", False), ("127.0.0.1:8000", True)],
)
def test_command_that_serves_another_object_is_not_judged(tmp_path, word, same):
    """`app` names what is audited, and the command of the service what is served."""
    (tmp_path / "shop.py").write_text(STARLETTE + "import dodai.asgi\napp = dodai.asgi.wrap(inner)\n")
    service = {"command": ["uvicorn", word], "app": "shop:app", "public": True}
    table = gather_routes({"service": {"web": service}}, root=tmp_path, python=sys.executable, today="2026-11-23")
    assert isinstance(table, RouteTable)
    assert table.summary.coverage == 1.0
    said = [gap.reason for gap in table.gaps]
    assert said == (
        [] if same else [f"service `web` runs `{word}`, and `app` names `shop:app`: what is served is not audited"]
    )
    assert all(isinstance(gap, Unknown) and gap.fix for gap in table.gaps)


def test_middleware_of_django_that_answers_itself_is_listed(tmp_path):
    """It runs before Django's own check looks at the view, and stands in no URLconf."""
    hooks = (
        "class Hooks:\n    def __init__(self, get_response): self.get_response = get_response\n"
        "    def __call__(self, request):\n"
        "        from django.http import HttpResponse\n"
        "        if request.path == '/stripe':\n            charge(request)\n            return HttpResponse('done')\n"
        "        return self.get_response(request)\n"
    )
    source = hooks + DJANGO % "['shop.Hooks', 'django.middleware.csrf.CsrfViewMiddleware']"
    assert verdicts(audit(tmp_path, source))["* /stripe"] == "unknown"
    covered = audit(tmp_path, source + "import dodai.wsgi\napp = dodai.wsgi.wrap(app)\n")
    assert "* /stripe" not in verdicts(covered)


def test_middleware_of_starlette_that_answers_itself_is_listed(tmp_path):
    """Without a layer of dodai in front nobody has checked what it answers."""
    hooks = (
        "class Hooks:\n    def __init__(self, app): self.app = app\n"
        "    async def __call__(self, scope, receive, send):\n"
        "        if scope.get('path') == '/stripe': await PlainTextResponse(charge())(scope, receive, send)\n"
        "        else: await self.app(scope, receive, send)\n"
        "inner.add_middleware(Hooks)\n"
    )
    assert verdicts(audit(tmp_path, STARLETTE + hooks + "app = inner\n"))["* /stripe"] == "unknown"
    covered = audit(tmp_path, STARLETTE + hooks + "import dodai.asgi\napp = dodai.asgi.wrap(inner)\n")
    assert covered.summary.coverage == 1.0


ROUTING = "from starlette.routing import Host\n"
SIGNED_IN = "def signed_in(): return {'x-csrf-token': 't'}\n"
BY_PATH = """
from flask import Flask, request
app = Flask(__name__)
@app.before_request
def own():
    if request.path == "/save" and "x-csrf-token" not in request.headers: return "csrf token missing", 403
@app.post("/save", strict_slashes=%s)
def save(): raise AssertionError("a handler ran")
"""


@pytest.mark.parametrize(("strict", "verdict"), [("True", "protected"), ("False", "unprotected")])
def test_check_that_knows_one_spelling_of_a_path_is_red_where_the_router_knows_two(tmp_path, strict, verdict):
    """`/save/` is asked as well as `/save`."""
    table = audit(tmp_path, BY_PATH % strict + SIGNED_IN, policy={"sign_in": "shop:signed_in"})
    (row,) = (row for row in table.rows if row.id == "POST /save")
    assert row.verdict == verdict
    assert ("one slash at the end more or less" in row.evidence) is (verdict == "unprotected")


def test_content_type_in_disguise_is_sent(tmp_path):
    """`Text/Plain; x=application/json` needs no preflight, and names what only a script of our own may send."""
    check = OWN_CHECK.format(
        condition="b'json' not in headers.get(b'content-type', b'') and b'x-csrf-token' not in headers"
    )
    table = audit(tmp_path, STARLETTE + check + SIGNED_IN, policy={"sign_in": "shop:signed_in"})
    row = next(row for row in table.rows if row.id == "POST /save")
    assert row.verdict == "unprotected"
    assert "`Text/Plain; x=application/json`" in row.evidence


def test_websocket_of_a_page_that_hides_its_origin_is_asked(tmp_path):
    """A sandboxed frame sends `Origin: null`, which stands in no list of attackers."""
    origins = (
        "class Origins:\n    def __init__(self, app): self.app = app\n"
        "    async def __call__(self, scope, receive, send):\n"
        "        if scope['type'] == 'websocket' and b'attacker' in dict(scope['headers']).get(b'origin', b''):\n"
        "            await send({'type': 'websocket.close', 'code': 1008})\n"
        "        else: await self.app(scope, receive, send)\n"
    )
    found = audit(tmp_path, STARLETTE + origins + "app = Origins(inner)\n")
    row = next(row for row in found.rows if row.id == "WEBSOCKET /ws")
    assert (row.verdict, row.evidence) == ("unprotected", "a null-origin request reached the handler")


READS = """
async def opened(request): request.state.db.commit()
async def shown(request): request.state.db.execute("select 1")
async def cleared(request): request.state.db.execute("DELETE FROM cart")
async def delete_all(request): ...
async def both(request): request.state.db.commit()
inner.routes.extend([
    Route("/opened", opened), Route("/shown", shown), Route("/cleared", cleared),
    Route("/wipe", delete_all, methods=["OPTIONS"]), Route("/both", both, methods=["POST", "HEAD"]),
    Route("/plain", both, methods=["GET", "POST"]),
])
"""


def test_handlers_that_only_read_and_write_all_the_same_are_told(tmp_path):
    """No check covers a GET; one that writes is told by what it calls, OPTIONS by its name, HEAD by its handler."""
    table = audit(tmp_path, STARLETTE + READS + WRAPPED)
    report = evaluate([get_changes_nothing], {RouteTable: table}, today=date(2026, 11, 23))
    assert sorted(finding.message for finding in report.findings) == [
        "`GET /` (`save`) is named like something that changes state",
        "`GET /cleared` (`cleared`) calls `DELETE FROM cart`, which changes something stored",
        "`GET /opened` (`opened`) calls `commit`, which changes something stored",
        "`HEAD /both` runs `both`, which other methods change state with",
        "`OPTIONS /wipe` (`delete_all`) is named like something that changes state",
    ]


NOT_FOOLED = {
    "host routing": (
        STARLETTE
        + ROUTING
        + """
inner.routes.insert(0, Host("admin.example.com", Starlette(routes=[Route("/drop", save, methods=["POST"])])))
class OwnCheck:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        headers = dict(scope.get("headers", ()))
        if scope["type"] == "http" and scope["method"] == "POST" and not headers.get(b"host", b"").startswith(b"admin") and b"x-csrf-token" not in headers:
            await PlainTextResponse("csrf token missing", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
app = OwnCheck(inner)
def signed_in(): return {"x-csrf-token": "t"}
""",
        "POST admin.example.com/drop",
    ),
    "sub-application with a middleware of its own": (
        STARLETTE
        + ROUTING
        + """
class OwnCheck:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        headers = dict(scope.get("headers", ()))
        if scope["type"] == "http" and b"x-csrf-token" not in headers:
            await PlainTextResponse("csrf token missing", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
sub = Starlette(routes=[Route("/x", save, methods=["POST"])])
sub.add_middleware(OwnCheck)
inner.routes.append(Mount("/sub", sub))
app = inner
def signed_in(): return {"x-csrf-token": "t"}
""",
        "POST /save",
    ),
    "a class view with a dispatch of its own": (
        """
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import path
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from django.utils.decorators import method_decorator
settings.configure(SECRET_KEY="x" * 40, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"])
django.setup()
@method_decorator(csrf_exempt, name="dispatch")
class Drop(View):
    def dispatch(self, request, *a, **k): raise AssertionError("a handler ran")
    def get(self, request): ...
urlpatterns = [path("save", Drop.as_view()), path("ok", View.as_view())]
from django.core.wsgi import get_wsgi_application
app = get_wsgi_application()
""",
        "* /save",
    ),
    "a decorator that swallows the refusal": (
        """
from flask import Flask, request, render_template_string
from flask_wtf import CSRFProtect
def purge(): raise AssertionError("a handler ran")
app = Flask(__name__)
app.config["SECRET_KEY"] = "only for the test"

import functools
csrf = CSRFProtect()
app.config["WTF_CSRF_CHECK_DEFAULT"] = False
csrf.init_app(app)
def swallow(view):
    @functools.wraps(view)
    def inner(*a, **k):
        try: csrf.protect()
        except Exception: pass
        return view(*a, **k)
    return inner
@app.post("/save")
@swallow
def save(): raise AssertionError("a handler ran")
""",
        "POST /save",
    ),
}


@pytest.mark.parametrize(("source", "route"), NOT_FOOLED.values(), ids=NOT_FOOLED.keys())
def test_what_looks_protected_and_is_not_is_red(tmp_path, source, route):
    """Requests decide, not what stands around a handler."""
    table = audit(tmp_path, source, policy={"sign_in": "shop:signed_in"} if "def signed_in" in source else {})
    assert verdicts(table)[route] == "unprotected"
