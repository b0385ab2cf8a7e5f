"""The pytest plugin: three cases for every route, with no test code of the user's own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from dodai.csrf.route_table import RouteRow
from dodai.testing import CASES, wrong

APP = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

async def save(request):
    raise AssertionError("a handler ran")

inner = Starlette(routes=[Route("/save", save, methods=["POST"]), Route("/hook", save, methods=["PUT"])])
"""
MANIFEST = """
[project]
name = "shop"
[service.web]
command = ["python", "-m", "shop"]
app = "shop:app"
"""
EXEMPT = """
[[csrf.exemption]]
route = "PUT /hook"
reason = "no cookies"
"""


def run(folder: Path, app: str, *arguments: str, manifest: str = MANIFEST) -> tuple[int, str]:
    """(exit code, output) of pytest in a project of the user's."""
    (folder / "shop.py").write_text(APP + app)
    (folder / "dodai.toml").write_text(manifest)
    command = [sys.executable, "-m", "pytest", "-p", "dodai.testing", "-p", "no:cacheprovider", "-v", *arguments]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "DODAI"))}
    environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=environ, timeout=120)
    return done.returncode, done.stdout + done.stderr


def test_protected_app_passes_three_cases_for_every_route(tmp_path):
    """Valid, missing and tampered; the ids name route and case."""
    code, output = run(tmp_path, "import dodai.asgi\napp = dodai.asgi.wrap(inner)\n", "--dodai-csrf")
    assert code == 0, output
    assert "6 passed" in output
    assert "POST /save[tampered] PASSED" in output


def test_unprotected_app_fails_with_the_route_and_its_place(tmp_path):
    """Missing and tampered reach the handler: red, and the message says where the handler stands."""
    code, output = run(tmp_path, "app = inner\n", "--dodai-csrf")
    assert code == 1
    assert "POST /save (shop.py:6): a request with a missing token reached the handler" in output


WALL = """
class Wall:
    def __init__(self, app):
        self.app = app
    async def __call__(self, scope, receive, send):
        await PlainTextResponse("sign in", 302, {"location": "/sign-in"})(scope, receive, send)

app = Wall(inner)
"""


def test_refusal_by_something_else_is_not_taken_for_protection(tmp_path):
    """Whoever is sent to sign in was not refused for the token: nothing is known about it."""
    code, output = run(tmp_path, WALL, "--dodai-csrf")
    assert code == 1
    assert "POST /save[missing] FAILED" in output
    assert "a request with a missing token was answered 302, not 403" in output


def test_exempt_route_is_skipped_with_its_reason(tmp_path):
    """An exemption is visible in the output."""
    app = "import dodai.asgi\napp = dodai.asgi.wrap(inner, service='shop/web')\n"
    code, output = run(tmp_path, app, "--dodai-csrf", "-rs", manifest=MANIFEST + EXEMPT)
    assert code == 0, output
    assert "3 passed, 3 skipped" in output
    assert "exempt: no cookies" in output


def test_app_that_cannot_be_imported_is_one_failing_test(tmp_path):
    """Never zero tests and green."""
    code, output = run(tmp_path, "import nothing_of_that_name\n", "--dodai-csrf")
    assert code == 1
    assert "ModuleNotFoundError" in output


def test_fixture_gives_the_table(tmp_path):
    """Tests of the user's own can assert more."""
    (tmp_path / "test_mine.py").write_text(
        "def test_mine(dodai_routes):\n    assert dodai_routes.summary.coverage == 1.0\n"
    )
    code, output = run(tmp_path, "import dodai.asgi\napp = dodai.asgi.wrap(inner)\n")
    assert code == 0, output
    assert "1 passed" in output


def test_plugin_imports_nothing_of_dodai_until_it_is_used(tmp_path):
    """A suite without the option does not pay for it."""
    (tmp_path / "test_mine.py").write_text(
        "import sys\n\ndef test_mine():\n"
        "    assert [name for name in sys.modules if name.startswith('dodai.')] == ['dodai.testing']\n"
    )
    code, output = run(tmp_path, "raise SystemExit\n")
    assert code == 0, output


def test_route_that_the_audit_calls_red_fails_here_as_well():
    """A read that becomes a write is beside the three cases; `dodai check` and the plugin say the same."""
    row = RouteRow("POST", "/save", "app.py", 1, "starlette", "app.save", "unprotected", evidence="a GET reached it")
    refused = {"reached": False, "status": 403, "requestId": "1"}
    probes = {"missing": refused, "tampered": refused, "valid": {"reached": True, "status": 204, "requestId": "1"}}
    row = replace(row, probes=probes)
    assert [wrong(row, case) for case in CASES] == ["", "a GET reached it", ""]
    assert not any(wrong(replace(row, verdict="protected"), case) for case in CASES)
