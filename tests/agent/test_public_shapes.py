"""Small applications in the shapes of well-known public ones, each with the rows it has to have."""

from __future__ import annotations

from datetime import date

from tests.agent.test_audit import audit, verdicts
from tests.frameworks.test_flask_django_routes import audit as audit_of

from dodai.core.rule import evaluate
from dodai.csrf.check import every_route_is_protected
from dodai.csrf.route_table import RouteTable

OWN_NONCE = """
import functools
from flask import Flask, abort, request, session
app = Flask(__name__)
app.secret_key = "only for the test"

def bypass(view):
    view._bypass = True
    return view

@app.before_request
def nonce():
    view = app.view_functions.get(request.endpoint or "")
    if getattr(view, "_bypass", False) or request.method == "GET": return
    sent = request.headers.get("CSRF-Token") or request.form.get("nonce")
    if not sent or sent != session.get("nonce"): abort(403)

@app.post("/teams/new")
def new_team(): raise AssertionError("a handler ran")

@app.patch("/api/v1/users/<int:user_id>")
def patch_user(user_id): raise AssertionError("a handler ran")

@app.post("/api/v1/hook")
@bypass
def hook(): raise AssertionError("a handler ran")

def signed_in():
    with app.test_request_context("/", base_url="https://dodai-audit.invalid") as context:
        context.session["nonce"] = "n" * 32
        response = app.response_class()
        app.session_interface.save_session(app, context.session, response)
        return {"Cookie": response.headers["Set-Cookie"].partition(";")[0], "CSRF-Token": "n" * 32}
"""
FORMS_IN_HANDLERS = """
from fastapi import APIRouter, Depends, FastAPI, Request

class CSRFBaseForm:
    class Meta:
        csrf = True
    def __init__(self, data): self.data = data
    def validate(self): return False

class LoginForm(CSRFBaseForm): ...

router = APIRouter(prefix="/{tenant}")

@router.api_route("/login", methods=["GET", "POST"], include_in_schema=False)
async def login(request: Request):
    form = LoginForm(await request.form())
    if not form.validate(): return "again"

@router.post("/api/token")
async def token(request: Request): raise AssertionError("a handler ran")

app = FastAPI()
app.include_router(router)
"""
ANY_METHOD = """
import django
from django.conf import settings
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
settings.configure(SECRET_KEY="x" * 40, ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"],
                   MIDDLEWARE=["django.middleware.csrf.CsrfViewMiddleware"])
django.setup()
def view(request, **kwargs): raise AssertionError("a handler ran")
@csrf_exempt
def api(request, **kwargs): raise AssertionError("a handler ran")
@csrf_exempt
def ping(request, **kwargs): raise AssertionError("a handler ran")
urlpatterns = [
    path("checks/<uuid:code>/", view), path("checks/<uuid:code>/pause/", view), path("projects/add/", view),
    path("api/v3/checks/", api), path("api/v3/checks/<uuid:code>", api), path("ping/<uuid:code>", ping),
]
from django.core.wsgi import get_wsgi_application
app = get_wsgi_application()
"""


def test_check_of_its_own_in_a_hook_is_proven_by_a_token_from_the_sign_in(tmp_path):
    """Nobody knows who refuses; that the token alone makes the difference is proof enough, and what is left out is red."""
    before = audit(tmp_path, OWN_NONCE)
    assert verdicts(before)["POST /teams/new"] == "unknown"
    assert "`[csrf] sign_in" in next(row.fix for row in before.rows if row.id == "POST /teams/new")
    table = audit(tmp_path, OWN_NONCE, policy={"sign_in": "shop:signed_in"})
    assert verdicts(table) == {
        "POST /teams/new": "protected",
        "PATCH /api/v1/users/<int:user_id>": "protected",
        "POST /api/v1/hook": "unprotected",
    }


def test_forms_that_check_in_their_handlers_are_unknown(tmp_path):
    """Never `unprotected`, and not proven either; the route that checks nothing is red."""
    table = audit(tmp_path, FORMS_IN_HANDLERS)
    assert verdicts(table) == {"POST /{tenant}/login": "unknown", "POST /{tenant}/api/token": "unprotected"}
    row = next(row for row in table.rows if row.id == "POST /{tenant}/login")
    assert row.evidence.startswith("checked inside the handler: ")


def test_function_views_are_a_row_each_and_exempt_ones_a_finding(tmp_path):
    """Six paths are six rows, and what `csrf_exempt` leaves out is said once."""
    table = audit_of(tmp_path, ANY_METHOD, "site_")
    assert len(table.state_changing) == 6
    assert sorted(row.verdict for row in table.state_changing) == ["protected"] * 3 + ["unprotected"] * 3
    report = evaluate([every_route_is_protected], {RouteTable: table}, today=date(2026, 11, 23))
    (finding,) = report.findings
    assert finding.message.startswith(
        "`csrf_exempt` takes 3 routes out of the framework's check: `* /api/v3/checks/`, "
    )
