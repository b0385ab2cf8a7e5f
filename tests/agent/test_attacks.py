"""Applications with an unprotected action that an audit could call protected: none of them is `ok`."""

from __future__ import annotations

import sys

import pytest
from tests.agent.test_audit import STARLETTE, audit, verdicts
from tests.frameworks.test_flask_django_routes import DJANGO

from dodai.core.fact import Unknown
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
        "        if request.path == '/stripe': return HttpResponse('done')\n"
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
        "        if scope.get('path') == '/stripe': await PlainTextResponse('done')(scope, receive, send)\n"
        "        else: await self.app(scope, receive, send)\n"
        "inner.add_middleware(Hooks)\n"
    )
    assert verdicts(audit(tmp_path, STARLETTE + hooks + "app = inner\n"))["* /stripe"] == "unknown"
    covered = audit(tmp_path, STARLETTE + hooks + "import dodai.asgi\napp = dodai.asgi.wrap(inner)\n")
    assert covered.summary.coverage == 1.0
