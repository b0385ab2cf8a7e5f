"""Flask and Django, audited in a process of their own: routes, verdicts, and who protects them."""

from __future__ import annotations

import sys

import pytest

from dodai.csrf.check.gather import audit_app
from dodai.csrf.policy import CsrfPolicy, Exemption
from dodai.csrf.route_table import RouteTable

FLASK = """
from flask import Blueprint, Flask
from flask.views import MethodView

app = Flask(__name__)
app.secret_key = "only for the test"

class Quiz(MethodView):
    def get(self, number): return "quiz"
    def put(self, number): raise AssertionError("a handler ran")

shop = Blueprint("shop", __name__, url_prefix="/shop")

@shop.post("/buy/<uuid:key>")
def buy(key): raise AssertionError("a handler ran")

@app.route("/save", methods=["GET", "POST"])
def save(): raise AssertionError("a handler ran")

app.register_blueprint(shop)
app.add_url_rule("/quiz/<int:number>", view_func=Quiz.as_view("quiz"))
"""
FLASK_ROUTES = {"POST /save", "POST /shop/buy/<uuid:key>", "PUT /quiz/<int:number>"}

DJANGO = """
import django
from django.conf import settings
from django.http import HttpResponse
from django.urls import include, path, re_path
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

settings.configure(SECRET_KEY="x" * 40, ROOT_URLCONF=__name__, MIDDLEWARE=%s, ALLOWED_HOSTS=["app.example.com"])
django.setup()

def ran(request, **kwargs): raise AssertionError("a handler ran")

@require_POST
def posted(request): raise AssertionError("a handler ran")

@csrf_exempt
@require_POST
def hook(request): raise AssertionError("a handler ran")

class Quiz(View):
    def get(self, request, number): ...
    def delete(self, request, number): raise AssertionError("a handler ran")

inner = [path("buy/<uuid:key>/", posted)]
urlpatterns = [
    path("save/", ran),
    path("quiz/<int:number>/", Quiz.as_view()),
    path("shop/", include(inner)),
    re_path(r"^year/(?P<year>[0-9]{4})/$", posted),
    path("hook/", hook),
]
from django.core.wsgi import get_wsgi_application
app = get_wsgi_application()
"""
DJANGO_ROUTES = {
    "* /save/",
    "DELETE /quiz/<int:number>/",
    "POST /shop/buy/<uuid:key>/",
    "POST /year/(?P<year>[0-9]{4})/",
    "POST /hook/",
}


def audit(tmp_path, source: str, name: str, policy: CsrfPolicy | None = None, **environ: str) -> RouteTable:
    (tmp_path / f"{name}.py").write_text(source)
    table = audit_app(
        f"{name}:app",
        root=tmp_path,
        cwd=tmp_path,
        python=sys.executable,
        environ=environ,
        policy=policy or CsrfPolicy(),
        service="web",
        today="2026-11-23",
    )
    assert isinstance(table, RouteTable), table
    return table


def verdicts(table: RouteTable) -> dict[str, tuple[str, str]]:
    return {row.id: (row.verdict, row.by) for row in table.state_changing}


def test_plain_flask_is_unprotected(tmp_path):
    """Blueprints, method views and rules are all listed, and all red."""
    assert verdicts(audit(tmp_path, FLASK, "shop")) == dict.fromkeys(FLASK_ROUTES, ("unprotected", ""))


def test_flask_behind_dodai_is_protected(tmp_path):
    """`app.wsgi_app = dodai.wsgi.wrap(app)` covers every rule."""
    source = FLASK + "import dodai.wsgi\napp.wsgi_app = dodai.wsgi.wrap(app)\n"
    assert verdicts(audit(tmp_path, source, "shop")) == dict.fromkeys(FLASK_ROUTES, ("protected", "dodai"))


def test_flask_wtf_counts_and_its_exemptions_do_not(tmp_path):
    """Protection by another library is proven by the same pair of requests; a view it exempts is red."""
    source = FLASK + "from flask_wtf import CSRFProtect\ncsrf = CSRFProtect(app)\ncsrf.exempt(buy)\n"
    found = verdicts(audit(tmp_path, source, "shop"))
    assert found.pop("POST /shop/buy/<uuid:key>") == ("unprotected", "")
    assert found == dict.fromkeys(FLASK_ROUTES - {"POST /shop/buy/<uuid:key>"}, ("protected", "flask-wtf"))


RULES_AT_HOSTS = """
from flask import Flask
app = Flask(__name__, %s)
app.secret_key = "only for the test"
app.config["SERVER_NAME"] = %s
def ran(**_): raise AssertionError("a handler ran")
app.add_url_rule("/orders", "orders", ran, methods=["POST"])
app.add_url_rule("/readyz", "ready", ran)
for name, at in %s.items():
    app.add_url_rule("/hook", name, ran, methods=["POST"], **{%s: at})
"""
WRAPPED, WTF = (
    "import dodai.wsgi\napp.wsgi_app = dodai.wsgi.wrap(app)\n",
    "from flask_wtf import CSRFProtect\nCSRFProtect(app)\n",
)
SUBDOMAINS = RULES_AT_HOSTS % (
    "subdomain_matching=True",
    '"shop.example:8443"',
    '{"a": "api", "b": "<int:shop>"}',
    '"subdomain"',
)
BY_HOST = (
    RULES_AT_HOSTS
    % ("host_matching=True, static_host='x'", "None", '{"a": "api.shop.example", "b": "<n>.shop.example"}', '"host"')
).replace('"orders", ran', '"orders", ran, host="shop.example"')


@pytest.mark.parametrize(("tail", "by"), [(WRAPPED, "dodai"), (WTF, "flask-wtf")], ids=["dodai", "flask-wtf"])
@pytest.mark.parametrize(
    ("source", "ids"),
    [
        (SUBDOMAINS, {"POST /orders", "POST api/hook", "POST <int:shop>/hook"}),
        (BY_HOST, {"POST shop.example/orders", "POST api.shop.example/hook", "POST <n>.shop.example/hook"}),
    ],
    ids=["subdomains", "hosts"],
)
def test_flask_rule_is_asked_at_the_host_that_it_is_served_at(tmp_path, source, ids, tail, by):
    """By the application's own settings, and from a page of that host; none of them is unknown."""
    assert verdicts(audit(tmp_path, source + tail, "shop")) == dict.fromkeys(ids, ("protected", by))


def test_flask_without_a_check_is_unprotected_at_every_subdomain(tmp_path):
    """A request that is answered 404 proves nothing."""
    found = verdicts(audit(tmp_path, SUBDOMAINS, "shop"))
    assert found == dict.fromkeys(("POST /orders", "POST api/hook", "POST <int:shop>/hook"), ("unprotected", ""))


@pytest.mark.parametrize("tail", [WRAPPED, ""], ids=["wrapped", "bare"])
def test_subdomain_that_the_application_does_not_serve_is_told_with_what_to_set(tmp_path, tail):
    """Nobody who signs in gets there either."""
    source = SUBDOMAINS.replace('"shop.example:8443"', "None")
    row = next(row for row in audit(tmp_path, source + tail, "shop").rows if row.id == "POST api/hook")
    assert (row.verdict, "served at the subdomain `api` alone: set `SERVER_NAME`" in row.fix) == ("unknown", True)


def test_flask_with_subdomains_is_asked_whether_it_is_ready_at_its_own_host(tmp_path):
    """The question is one for the application, not for a subdomain that nobody has."""
    (tmp_path / "shop.py").write_text(SUBDOMAINS + WRAPPED)
    given = {"python": sys.executable, "environ": {}, "policy": CsrfPolicy(), "service": "web", "today": "2026-11-23"}
    table = audit_app("shop:app", root=tmp_path, cwd=tmp_path, ready="/readyz", **given)
    assert isinstance(table, RouteTable)
    assert (table.ready["web"]["status"], table.ready["web"]["reached"]) == (204, True)


def test_django_without_its_middleware_is_unprotected(tmp_path):
    """A function view does not say its methods: all four are probed."""
    assert verdicts(audit(tmp_path, DJANGO % "[]", "site_")) == dict.fromkeys(DJANGO_ROUTES, ("unprotected", ""))


def test_django_middleware_counts_and_csrf_exempt_does_not(tmp_path):
    """Django's own protection is proven; a view marked `csrf_exempt` is red until the manifest names it."""
    found = verdicts(audit(tmp_path, DJANGO % "['django.middleware.csrf.CsrfViewMiddleware']", "site_"))
    assert found.pop("POST /hook/") == ("unprotected", "")
    assert found == dict.fromkeys(DJANGO_ROUTES - {"POST /hook/"}, ("protected", "django"))


@pytest.mark.parametrize("middleware", ["[]", "['django.middleware.csrf.CsrfViewMiddleware']"])
def test_django_behind_dodai_is_protected(tmp_path, middleware):
    """`dodai.wsgi.wrap(application)`; with Django's own middleware inside, a valid token of ours is not enough."""
    source = (DJANGO % middleware) + "import dodai.wsgi\napp = dodai.wsgi.wrap(app)\n"
    found = verdicts(audit(tmp_path, source, "site_"))
    expected = ("protected", "dodai")
    assert {by for _, by in found.values()} == {"dodai"}
    if middleware == "[]":
        assert found == dict.fromkeys(DJANGO_ROUTES, expected)


ODD = """
import functools
from django.http import HttpResponse
from django.views.decorators.http import require_http_methods

def cors(methods):
    def decorate(view):
        @functools.wraps(view)
        def inner(request):
            answer = view(request)
            answer["access-control-allow-methods"] = ",".join(methods)
            return answer
        return inner
    return decorate

class Own(View):
    def dispatch(self, request): raise AssertionError("a handler ran")
    def get(self, request): ...

class Wider(View):
    http_method_names = ["get"]
    def get(self, request): ...
    def post(self, request): raise AssertionError("a handler ran")

def plain(request): raise AssertionError("a handler ran")

urlpatterns = [
    path("cors/", cors(["GET"])(plain)),
    path("own/", Own.as_view()),
    path("wider/", Wider.as_view(http_method_names=["get", "post"])),
    path("safe/", require_http_methods(["GET"])(plain)),
    re_path("^twin$", plain),
    re_path("^twin", csrf_exempt(plain)),
]
"""


def test_django_views_that_answer_more_than_they_say_are_listed(tmp_path):
    """A decorator's list of words, an own `dispatch`, narrowed and widened methods: POST is never taken for absent."""
    source = DJANGO % "['django.middleware.csrf.CsrfViewMiddleware']" + ODD
    found = verdicts(audit(tmp_path, source, "site_"))
    for path in ("/cors/", "/own/", "/wider/"):
        assert found[f"* {path}" if path != "/wider/" else f"POST {path}"] == ("protected", "django")
    assert not any(route.endswith(" /safe/") for route in found)


EXEMPT_IN_JAPANESE = """
[project]
name = "shop"
[service.web]
command = ["x"]
[[csrf.exemption]]
route = "POST /ja/pay/"
reason = "r"
owner = "o"
control = "c"
"""


@pytest.mark.parametrize("middleware", ["locale.LocaleMiddleware", "common.CommonMiddleware"])
def test_django_routes_are_listed_in_each_language_that_a_path_can_choose(tmp_path, middleware):
    """Each is a route of its own: an exemption of one opens no other, and is seen to open that one."""
    source = (DJANGO % f"['django.middleware.{middleware}'], LANGUAGES=[('en', 'E'), ('ja', 'J')], LANGUAGE_CODE='en'").replace(
        "from django.core.wsgi", "from django.conf.urls.i18n import i18n_patterns\n"
        "urlpatterns = [path('hook/', hook), *i18n_patterns(path('pay/', posted))]\nfrom django.core.wsgi"
    )  # fmt: skip
    (tmp_path / "dodai.toml").write_text(EXEMPT_IN_JAPANESE)
    exempt = CsrfPolicy(exemptions=(Exemption("POST /ja/pay/", reason="r", control="c"),))
    source += "import dodai.wsgi\napp = dodai.wsgi.wrap(app, service='shop/web')\n"
    found = verdicts(audit(tmp_path, source, "site_", exempt, DODAI_MANIFEST=str(tmp_path / "dodai.toml")))
    more = {"POST /ja/pay/": ("exempt", "")} if middleware == "locale.LocaleMiddleware" else {}
    assert found == {"POST /hook/": ("protected", "dodai"), "POST /en/pay/": ("protected", "dodai"), **more}


@pytest.mark.parametrize(("code", "prefix"), [("ja", "ja"), ("en-us", "en")])
def test_django_that_names_no_languages_is_listed_in_its_own(tmp_path, code, prefix):
    """Django has a hundred by default: nobody means them all. `en-us` is its default, and no path has it."""
    source = (DJANGO % f"['django.middleware.locale.LocaleMiddleware'], LANGUAGE_CODE='{code}'").replace(
        "from django.core.wsgi", "from django.conf.urls.i18n import i18n_patterns\n"
        "urlpatterns = [path('hook/', hook), *i18n_patterns(path('pay/', posted))]\nfrom django.core.wsgi"
    )  # fmt: skip
    source += "import dodai.wsgi\napp = dodai.wsgi.wrap(app)\n"
    names = {"POST /hook/", f"POST /{prefix}/pay/"}
    assert verdicts(audit(tmp_path, source, "site_")) == dict.fromkeys(names, ("protected", "dodai"))


def test_django_patterns_that_differ_in_their_anchors_are_not_one_route(tmp_path):
    """An exempt view behind `^twin` is not proven by the requests to `^twin$`: `/twin/` gets to it."""
    source = DJANGO % "['django.middleware.csrf.CsrfViewMiddleware']" + ODD
    table = audit(tmp_path, source, "site_")
    assert verdicts(table)["* /twin"][0] == "unprotected"
    assert table.summary.coverage < 1


MOUNTED = """
from werkzeug.middleware.dispatcher import DispatcherMiddleware
import dodai.wsgi
other = Flask("other")
other.add_url_rule("/drop", "drop", lambda: "", methods=["POST"])
mounts = {"/admin": other, "/raw": lambda environ, start: []}
"""


@pytest.mark.parametrize(
    "wrapped",
    [
        "app = DispatcherMiddleware(dodai.wsgi.wrap(app), mounts)\n",
        "app.wsgi_app = DispatcherMiddleware(dodai.wsgi.wrap(app), mounts)\n",
        "app.wsgi_app = DispatcherMiddleware(app.wsgi_app, mounts)\napp.wsgi_app = dodai.wsgi.wrap(app)\n",
        "app.wsgi_app = DispatcherMiddleware(app.wsgi_app, mounts)\napp = dodai.wsgi.wrap(app)\n",
    ],
)
def test_mounts_of_a_dispatcher_are_listed_where_they_are_known(tmp_path, wrapped):
    """What is mounted beside the application is not in its URL map: it is asked too, and unlisted is never covered."""
    found = verdicts(audit(tmp_path, FLASK + MOUNTED + wrapped, "shop"))
    inside = "DispatcherMiddleware(app.wsgi_app" in wrapped
    assert found["POST /admin/drop"] == (("protected", "dodai") if inside else ("unprotected", ""))
    assert found["* /raw/{path}"][0] == "unknown"
    assert {found[route] for route in FLASK_ROUTES} == {("protected", "dodai")}


MATCH = """
twin = [re_path("^twin$", posted), re_path("^twin", posted)]
urlpatterns = [path("hook/é", posted), path("hook/<path:rest>", posted), *twin]
from dodai.frameworks import match
found = [match(app, {"REQUEST_METHOD": "POST", "PATH_INFO": text}) for text in PATHS]
raise RuntimeError(found)
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/hook/é".encode().decode("latin-1"), "POST /hook/é"),
        ("/hook/é", None),
        ("/hook/x", "POST /hook/<path:rest>"),
        ("/hook/\u3042", None),
        ("/twin", None),
        ("/twinned", None),
        ("/nowhere", None),
    ],
)
def test_match_of_django_reads_the_path_as_django_does(tmp_path, path, expected):
    """WSGI has bytes as Latin-1: what is no UTF-8, and what two patterns are called, has no exemption."""
    source = DJANGO % "[]" + MATCH.replace("PATHS", repr([path]))
    assert f"failed with RuntimeError: {[expected]} at" in reason(tmp_path, source)


def reason(tmp_path, source: str) -> str:
    """Why an application could not be audited."""
    (tmp_path / "site_.py").write_text(source)
    table = audit_app(
        "site_:app",
        root=tmp_path,
        cwd=tmp_path,
        python=sys.executable,
        environ={},
        policy=CsrfPolicy(),
        service="web",
        today="2026-11-23",
    )
    return table.reason


HOSTS = """
class ByHost:
    def __init__(self, get_response): self.get_response = get_response
    def __call__(self, request):
        request.urlconf = "shop.of_" + request.get_host()
        return self.get_response(request)
"""


def test_urlconf_that_middleware_chooses_is_unknown_and_the_root_one_keeps_its_routes(tmp_path):
    """django-hosts gives each host a URLconf of its own: what is not listed is not covered; the entrance tells them."""
    source = HOSTS + DJANGO % "['site_.ByHost']" + "import dodai.wsgi\napp = dodai.wsgi.wrap(app)\n"
    table = audit(tmp_path, source, "site_")
    (row,) = (row for row in table.state_changing if row.id == "* /{path}")
    assert (row.verdict, row.evidence) == ("unknown", "`site_.ByHost` leads to routes that cannot be listed")
    assert (row.source, table.summary.coverage < 1) == ("site_.py", True)
    seen = HOSTS + DJANGO % "['site_.ByHost']" + MATCH.replace("PATHS", repr(["/hook/x"]))
    assert "RuntimeError: ['POST /hook/<path:rest>'] at" in reason(tmp_path, seen)
