"""`dodai check`, `dodai routes`, the pytest plugin and `dodai routes --live` say the same of the same application."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent.test_audit import OVERRIDE, STARLETTE, WRAPPED
from tests.agent.test_causes import SHA1, WALL
from tests.agent.test_in_front import BY_THEMSELVES
from tests.agent.test_public_shapes import ANY_METHOD, FORMS_IN_HANDLERS, OWN_NONCE
from tests.frameworks.test_flask_django_routes import DJANGO, FLASK
from tests.support.command import dodai

from dodai.cli.routes import may_be_asked
from dodai.csrf.route_table import RouteRow

MANIFEST = """
[project]
name = "shop"

[service.web]
command = ["serve"]
app = "site_:app"
public = true
"""
DJANGO_CSRF = "['django.middleware.csrf.CsrfViewMiddleware']"
APPS = {
    "protected": STARLETTE + WRAPPED,
    "unprotected": STARLETTE + "app = inner\n",
    "wall": STARLETTE + WALL + "app = Wall(inner)\n",
    "example": STARLETTE + SHA1 + WRAPPED,
    "override": STARLETTE + OVERRIDE + WRAPPED,
    "own check": OWN_NONCE,
    "in handlers": FORMS_IN_HANDLERS,
    "any method": ANY_METHOD,
    "flask": FLASK + "import dodai.wsgi\napp = dodai.wsgi.wrap(app)\n",
    "hook in front": BY_THEMSELVES["a hook of Flask that answers"][0],
    "django": DJANGO % DJANGO_CSRF,
    "django and dodai": DJANGO % DJANGO_CSRF + "import dodai.wsgi\napp = dodai.wsgi.wrap(app)\n",
}


def run(folder: Path, *words: str) -> str:
    return subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, capture_output=True, text=True, check=False, timeout=180
    ).stdout


@pytest.mark.share(3)
@pytest.mark.parametrize("source", APPS.values(), ids=APPS.keys())
def test_every_way_to_ask_gives_the_same_answer(tmp_path, source):
    """A route is red in all of them or in none."""
    (tmp_path / "site_.py").write_text(source)
    (tmp_path / "dodai.toml").write_text(MANIFEST)
    rows = json.loads(dodai("routes", "--json", cwd=tmp_path).stdout)["routes"]
    red = {f"{row['method']} {row['path']}" for row in rows if row["verdict"] in ("unprotected", "unknown")}

    findings = json.loads(dodai("check", "csrf", "--json", cwd=tmp_path).stdout)["findings"]
    told = [finding["message"] for finding in findings if finding["code"] in ("DOD101", "DOD103")]
    named = {name for text in told for name in re.findall(r"`((?:[A-Z]+|\*) /[^`]*)`", text.partition(" reached ")[0])}
    assert named & {f"{row['method']} {row['path']}" for row in rows} == red

    out = run(
        tmp_path, "pytest", "-q", "-p", "dodai.testing", "--dodai-csrf", "-p", "no:cacheprovider", "-rfE", "--tb=no"
    )
    failed = {
        re.sub(r"\[(?:valid|missing|tampered)\].*", "", line.rpartition("dodai-csrf::")[2])
        for line in out.splitlines()
        if line.startswith("FAILED ")
    }
    assert failed == red, out[-3000:]

    asked = {row["path"] for row in rows if may_be_asked(_row(row))}
    assert not asked & {row["path"] for row in rows if row["verdict"] != "protected"} or red


def _row(row: dict[str, object]) -> RouteRow:
    names = ("method", "path", "source", "line", "framework", "endpoint", "verdict", "by", "probes")
    return RouteRow(**{name: row[name] or "" for name in names}, methods=tuple(row["methods"]))  # type: ignore[arg-type, call-overload]


@pytest.mark.parametrize(
    ("given", "asked"),
    [
        ({}, True),
        ({"method": "*", "methods": ("DELETE", "POST")}, True),
        ({"method": "*"}, False),
        ({"method": "PUT"}, True),
        ({"method": "WEBSOCKET"}, False),
        ({"verdict": "exempt"}, False),
        ({"by": "django"}, False),
        ({"probes": {}}, False),
    ],
)
def test_what_is_asked_live(given, asked):
    """Handlers that take any method are asked, and nothing that was not proven to refuse."""
    row = {"method": "POST", "path": "/a", "source": "a.py", "line": 1, "framework": "f", "endpoint": "a"}
    row |= {"verdict": "protected", "by": "dodai", "probes": {"missing": {"reached": False}}}
    assert may_be_asked(RouteRow(**{**row, **given})) is asked
