"""The agent: it lists and probes an application of the user's in their interpreter, and runs none of its handlers."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from dodai.agent.call import AgentError, ask
from dodai.core.fact import Unknown
from dodai.csrf.check.gather import audit_app
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteTable

WRAPPED = """
import dodai.asgi
app = dodai.asgi.wrap(inner, service="shop/web")
"""
STARLETTE = """
from pathlib import Path
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route, WebSocketRoute

async def save(request):
    Path(__file__).with_name("handler-ran").write_text("")
    return PlainTextResponse("saved")

async def opaque(scope, receive, send):
    await save(None)

inner = Starlette(routes=[
    Route("/", save),
    Route("/save", save, methods=["POST"]),
    Route("/items/{id:int}", save, methods=["PUT", "DELETE"]),
    WebSocketRoute("/ws", opaque),
])
"""


def audit(tmp_path: Path, source: str, *, app: str = "shop:app", policy=None, environ=None):
    """The table of an application whose module is `source`."""
    (tmp_path / "shop.py").write_text(source)
    return audit_app(
        app,
        root=tmp_path,
        cwd=tmp_path,
        python=sys.executable,
        environ=environ or {},
        policy=CsrfPolicy.from_manifest(policy or {}),
        service="web",
        today="2026-11-23",
    )


def verdicts(table) -> dict[str, str]:
    assert isinstance(table, RouteTable), table
    return {row.id: row.verdict for row in table.state_changing}


def test_protected_application_has_full_coverage_and_no_handler_ran(tmp_path):
    """Missing, tampered, foreign, expired and cross-site are refused; valid gets to the tripwire."""
    table = audit(tmp_path, STARLETTE + WRAPPED)
    assert verdicts(table) == dict.fromkeys(
        ["POST /save", "PUT /items/{id}", "DELETE /items/{id}", "WEBSOCKET /ws"], "protected"
    )
    assert table.summary.coverage == 1.0
    row = next(row for row in table.rows if row.id == "POST /save")
    assert (row.by, row.source, row.framework) == ("dodai", "shop.py", "starlette")
    hostile = {"missing", "tampered", "foreign", "expired", "cross_site", "override_read"}
    hostile |= {"text_plain", "disguised", "multipart", "no_content_type", "null_origin"}
    assert set(row.probes) == hostile | {"valid", "valid_header"}
    assert all(probe["requestId"] for probe in row.probes.values())
    assert row.probes["expired"]["code"] == "DOD153"
    assert not (tmp_path / "handler-ran").exists()


def test_application_without_the_layer_is_unprotected(tmp_path):
    """The middleware removed: every route is red."""
    table = audit(tmp_path, STARLETTE + "app = inner\n")
    assert set(verdicts(table).values()) == {"unprotected"}
    assert table.summary.coverage == 0.0
    assert "a missing and" in table.rows[0].evidence
    assert not (tmp_path / "handler-ran").exists()


def test_exempt_route_is_not_counted(tmp_path):
    """Coverage is protected / (state-changing - exempt); an exemption that is over counts again."""
    exemption = {"route": "POST /save", "reason": "webhook", "control": "signature"}
    policy = {"exemption": [exemption]}
    manifest = tmp_path / "dodai.toml"
    text = '[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\n[csrf]\n[[csrf.exemption]]\nroute = "POST /save"\nreason = "webhook"\ncontrol = "signature"\n'
    manifest.write_text(text)
    table = audit(tmp_path, STARLETTE + WRAPPED, policy=policy, environ={"DODAI_MANIFEST": str(manifest)})
    assert verdicts(table)["POST /save"] == "exempt"
    assert table.summary.coverage == 1.0
    over = {"exemption": [exemption | {"expires": "2026-11-22"}]}
    manifest.write_text(text + 'expires = "2026-11-22"\n')
    table = audit(tmp_path, STARLETTE + WRAPPED, policy=over, environ={"DODAI_MANIFEST": str(manifest)})
    assert verdicts(table)["POST /save"] == "protected", "what has a token passes, and nothing else"


CLOSED_OVER = """
import dodai.wsgi
from flask import Flask
app = Flask(__name__)
@app.post("/save")
def save(): return "saved"
def timed(inner):
    def middleware(environ, start_response): return inner(environ, start_response)
    return middleware
app.wsgi_app = dodai.wsgi.wrap(timed(app.wsgi_app))
"""
KEPT_INSIDE = """
class Timed:
    def __init__(self, app): self._held = app
    async def __call__(self, *arguments): await self._held(*arguments)
inner = Timed(inner)
"""


@pytest.mark.parametrize("source", [CLOSED_OVER, STARLETTE + KEPT_INSIDE + WRAPPED], ids=["wsgi", "asgi"])
def test_exemption_that_the_running_app_does_not_keep_is_not_told_as_one(source, tmp_path):
    """Where dodai cannot see the way to a handler the exemption does not hold, and the table says so."""
    exemption = {"route": "POST /save", "reason": "webhook", "control": "signature"}
    manifest = tmp_path / "dodai.toml"
    text = "\n".join(f'{key} = "{value}"' for key, value in exemption.items())
    manifest.write_text(
        f'[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\n[csrf]\n[[csrf.exemption]]\n{text}\n'
    )
    table = audit(tmp_path, source, policy={"exemption": [exemption]}, environ={"DODAI_MANIFEST": str(manifest)})
    (row,) = (row for row in table.rows if row.id == "POST /save")
    assert (row.verdict, row.exemption) == ("protected", "")
    assert "its exemption does not hold in the running app" in row.evidence


OVERRIDE = """
class Overriding:
    def __init__(self, app):
        self.app = app
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["query_string"].startswith(b"_method="):
            scope["method"] = scope["query_string"][8:].decode()
        await self.app(scope, receive, send)

async def drop(request): await save(request)
inner.routes.append(Route("/save", drop, methods=["DELETE"]))
inner = Overriding(inner)
"""


def test_exemption_reaches_no_other_handler(tmp_path):
    """`POST /save?_method=DELETE` is let through as one route and refused where the other one is entered."""
    manifest = tmp_path / "dodai.toml"
    exemption = {"route": "POST /save", "reason": "webhook", "control": "signature"}
    text = "\n".join(f'{key} = "{value}"' for key, value in exemption.items())
    manifest.write_text(
        f'[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\n[csrf]\n[[csrf.exemption]]\n{text}\n'
    )
    policy, environ = {"exemption": [exemption]}, {"DODAI_MANIFEST": str(manifest)}
    table = audit(tmp_path, STARLETTE + OVERRIDE + WRAPPED, policy=policy, environ=environ)
    (row,) = (row for row in table.rows if row.id == "POST /save")
    assert (row.verdict, row.evidence) == ("exempt", "signature")
    assert not (tmp_path / "handler-ran").exists()


def test_report_mode_is_not_protection(tmp_path):
    """What refuses nothing covers nothing."""
    manifest = tmp_path / "dodai.toml"
    manifest.write_text('[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\n[csrf]\nmode = "report"\n')
    table = audit(tmp_path, STARLETTE + WRAPPED, policy={"mode": "report"}, environ={"DODAI_MANIFEST": str(manifest)})
    assert table.summary.protected == 0


def test_opaque_mount_is_covered_by_the_layer_in_front_of_it_alone(tmp_path):
    """What cannot be listed counts against the coverage unless something refuses every method below it."""
    source = STARLETTE + 'inner.routes.append(Mount("/legacy", opaque))\n'
    table = audit(tmp_path, source + WRAPPED)
    row = next(row for row in table.rows if row.id == "* /legacy/{path}")
    assert (row.verdict, row.by) == ("protected", "dodai")
    assert "`shop.opaque` cannot be listed; the layer in front refuses every method below it" in row.evidence
    table = audit(tmp_path, source + "app = inner\n")
    assert verdicts(table)["* /legacy/{path}"] == "unprotected"
    assert not (tmp_path / "handler-ran").exists()


BESIDE = """
from starlette.staticfiles import StaticFiles
from starlette.routing import BaseRoute, Match
from starlette.endpoints import HTTPEndpoint

class Frontend:
    async def __call__(self, scope, receive, send): await save(None)

class Uploads(StaticFiles):
    async def get_response(self, path, scope): return await save(None)

class Everything(HTTPEndpoint):
    async def dispatch(self): await save(None)
    async def get(self, request): ...

class Own(BaseRoute):
    def matches(self, scope): return (Match.FULL if scope["path"] == "/" else Match.NONE, {})
    async def handle(self, scope, receive, send): await save(None)

class Dispatcher:
    def __init__(self, app, admin): self.app, self.admin = app, admin
    async def __call__(self, scope, receive, send):
        chosen = self.admin if scope["path"].startswith("/admin") else self.app
        await chosen(scope, receive, send)
"""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("inner.routes.append(Mount('/gw', Frontend()))", {"* /gw/{path}": "protected"}),
        ("inner.routes.append(Mount('/up', Uploads(directory='.')))", {"* /up/{path}": "protected"}),
        ("inner.routes.append(Mount('/files', StaticFiles(directory='.')))", {}),
        (
            "inner.routes.append(Route('/any', Everything))",
            {"* /any": "protected"},
        ),
        ("inner.routes.insert(0, Own())", {"* /?": "protected"}),
        ("inner.router.default = Frontend()", {"* /{path}": "protected"}),
    ],
)
def test_what_hides_beside_the_routes_is_listed_and_never_executed(tmp_path, change, expected):
    """Neither a class's name, nor a replaced dispatch or 404, nor a route class takes a handler out of the table."""
    table = audit(tmp_path, STARLETTE + BESIDE + change + WRAPPED)
    plain = {"POST /save", "PUT /items/{id}", "DELETE /items/{id}", "WEBSOCKET /ws"}
    found = verdicts(table)
    assert {route: verdict for route, verdict in found.items() if route not in plain} == expected
    assert {found[route] for route in plain} == {"protected"}
    assert not (tmp_path / "handler-ran").exists()


def test_second_application_in_front_of_the_layer_is_unknown(tmp_path):
    """A dispatcher that sends some paths past the protection: coverage is not 100 %."""
    outside = "app = Dispatcher(app, Starlette(routes=[Route('/admin/x', save, methods=['POST'])]))\n"
    table = audit(tmp_path, STARLETTE + BESIDE + WRAPPED + outside)
    assert verdicts(table)["* /{path}"] == "unknown"
    assert table.summary.coverage < 1
    assert not (tmp_path / "handler-ran").exists()


def test_route_whose_example_another_route_takes_is_unknown(tmp_path):
    """The evidence of one handler is not that of another."""
    source = STARLETTE + (
        "from starlette.convertors import Convertor, register_url_convertor\n"
        "class Kind(Convertor):\n    regex = '[^/]+'\n    def convert(self, value): return value\n"
        "    def to_string(self, value): return value\n"
        "register_url_convertor('kind', Kind())\n"
        "async def other(request): await save(request)\n"
        "inner.routes.append(Route('/{k:kind}', save, methods=['POST']))\n"
        "inner.routes.append(Route('/{name}', other, methods=['POST']))\n"
    )
    table = audit(tmp_path, source + WRAPPED)
    found = {row.id: (row.verdict, row.evidence) for row in table.state_changing}
    assert found["POST /{k}"][0] == "protected"
    assert found["POST /{name}"] == ("unknown", "its example path was taken by `POST /{k}`: no request got to it")


def test_check_inside_a_dependency_is_unknown_with_its_name(tmp_path):
    """FastAPI dependencies run with the handler: nothing can be proven about them from outside."""
    source = """
from fastapi import Depends, FastAPI
def verify_csrf(): ...
app = FastAPI()
app.post("/save", dependencies=[Depends(verify_csrf)])(lambda: 1)
app.post("/open")(lambda: 1)
"""
    table = audit(tmp_path, source)
    assert verdicts(table) == {"POST /save": "unknown", "POST /open": "unprotected"}
    assert "`shop.verify_csrf`" in next(row.evidence for row in table.rows if row.id == "POST /save")


def test_sign_in_in_front_of_everything_is_unknown(tmp_path):
    """A 401 for everybody proves nothing about CSRF."""
    source = (
        STARLETTE
        + """
class Wall:
    def __init__(self, app):
        self.app = app
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await PlainTextResponse("sign in", 401)(scope, receive, send)
app = Wall(inner)
"""
    )
    table = audit(tmp_path, source)
    assert verdicts(table)["POST /save"] == "unknown"
    assert "401" in next(row.evidence for row in table.rows if row.id == "POST /save")


def test_sign_in_behind_the_layer_is_protected(tmp_path):
    """The check refuses the hostile ones; the valid one passes it and is sent to sign in."""
    source = (
        STARLETTE
        + """
class Wall:
    def __init__(self, app):
        self.app = app
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http":
            await PlainTextResponse("sign in", 302, {"location": "/login"})(scope, receive, send)
        else:
            await self.app(scope, receive, send)
inner.add_middleware(Wall)
"""
        + WRAPPED
    )
    table = audit(tmp_path, source)
    row = next(row for row in table.rows if row.id == "POST /save")
    assert (row.verdict, row.by) == ("protected", "dodai")
    assert "sign in (302 to `/login`)" in row.evidence


def test_sign_in_hook_lets_the_audit_through_the_wall(tmp_path):
    """The user's own function gives the headers of a signed-in visitor; then even a wall in front is no obstacle."""
    source = (
        STARLETTE
        + """
import dodai.asgi
class Wall:
    def __init__(self, app):
        self.app = app
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and b"session=ann" not in dict(scope["headers"]).get(b"cookie", b""):
            await PlainTextResponse("sign in", 401)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
app = Wall(dodai.asgi.wrap(inner))
def signed_in():
    return {"Cookie": "session=ann"}
"""
    )
    assert audit(tmp_path, source).summary.protected < 4
    table = audit(tmp_path, source, policy={"sign_in": "shop:signed_in"})
    assert table.summary.coverage == 1.0


def test_factory_and_attribute_are_found(tmp_path):
    """`shop:build()` is called, `shop:web.app` is looked up."""
    source = STARLETTE + "def build():\n    return inner\nclass web:\n    app = inner\n"
    assert len(verdicts(audit(tmp_path, source, app="shop:build()"))) == 4
    assert len(verdicts(audit(tmp_path, source, app="shop:web.app"))) == 4


@pytest.mark.parametrize(
    ("source", "app", "reason"),
    [
        ("import nothing_of_that_name\n", "shop:app", "ModuleNotFoundError"),
        ("import os\nos.environ['SECRET_KEY']\n", "shop:app", "'SECRET_KEY' at `shop.py:2`"),
        ("app = object()\n", "shop:app", "no framework known here"),
        ("app = 1\n", "shop:other", "AttributeError"),
        ("raise SystemExit(3)\n", "shop:app", "SystemExit"),
        ("1 +\n", "shop:app", "SyntaxError"),
        ("", "nowhere:app", "ModuleNotFoundError"),
    ],
)
def test_application_that_cannot_be_listed_is_unknown_with_the_reason(tmp_path, source, app, reason):
    """Never a pass, and the message names what failed and where."""
    found = audit(tmp_path, source, app=app)
    assert isinstance(found, Unknown)
    assert reason in found.reason
    assert found.fix


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("import socket\nsocket.create_connection(('192.0.2.1', 80), 1)\n", "does not let code connect"),
        ("import subprocess\nsubprocess.run(['true'])\n", "does not let code start processes"),
        ("import os\nos.system('true')\n", "does not let code start processes"),
        (
            "import socket\nsocket.socket(type=socket.SOCK_DGRAM).sendmsg([b''], [], 0, ('192.0.2.1', 9))\n",
            "does not let code connect",
        ),
        ("import socket\nsocket.getaddrinfo('secret.example', 80)\n", "does not let code look up"),
        ("import socket\nsocket.gethostbyname('secret.example')\n", "does not let code look up"),
        (
            "import multiprocessing\nmultiprocessing.get_context('spawn').Process(target=print).start()\n",
            "does not let code start processes",
        ),
    ],
)
def test_import_may_not_reach_other_machines_or_start_processes(tmp_path, source, reason):
    """Listing routes is not starting the application."""
    found = audit(tmp_path, source)
    assert isinstance(found, Unknown)
    assert reason in found.reason


def test_environment_is_scrubbed(tmp_path, monkeypatch):
    """A secret of the person who runs dodai is not seen by the code that is listed."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s3cret")
    found = audit(tmp_path, "import os\nraise RuntimeError(sorted(os.environ))\n", environ={"DECLARED": "1"})
    assert "DECLARED" in found.reason
    assert "AWS_SECRET" not in found.reason


def test_what_the_application_prints_is_no_result(tmp_path):
    """Output on stdout and stderr, even JSON, never mixes with the answer."""
    source = "import sys\nprint('{}' * 100000)\nprint('x' * 100000, file=sys.stderr)\n" + STARLETTE + WRAPPED
    assert audit(tmp_path, source).summary.coverage == 1.0


def test_import_that_never_ends_is_given_up(tmp_path):
    """The deadline holds, and the process is gone afterwards."""
    pid = tmp_path / "pid"
    source = f"import os, time\nopen({str(pid)!r}, 'w').write(str(os.getpid()))\ntime.sleep(3600)\n"
    found = audit(tmp_path, source, policy={"audit_timeout": 2.0})
    assert isinstance(found, Unknown)
    assert "no answer within 2 s" in found.reason
    assert not Path("/proc", pid.read_text()).exists()


def test_process_that_dies_leaves_its_last_words(tmp_path):
    """An interpreter that is killed says nothing on the descriptor; its stderr is kept."""
    found = audit(tmp_path, "import os, sys\nprint('last words', file=sys.stderr, flush=True)\nos._exit(9)\n")
    assert isinstance(found, Unknown)
    assert "ended with" in found.reason
    assert "(it last said: last words)" in found.reason


def test_interpreter_that_does_not_exist_is_a_sentence():
    """The person has named another `[project] python` than there is."""
    with pytest.raises(AgentError, match="cannot start"):
        ask({}, python="/nowhere/python", environ={})


def test_source_of_dodai_is_not_on_the_path_of_the_application(tmp_path):
    """The agent loads itself and `frameworks` by path, under names of their own."""
    source = STARLETTE + (
        "import sys\n"
        "own = [entry for entry in sys.path if entry.endswith('dodai')]\n"
        "assert not own and 'frameworks' not in sys.modules and 'agent' not in sys.modules, own\n"
        "app = inner\n"
    )
    assert isinstance(audit(tmp_path, source), RouteTable)
