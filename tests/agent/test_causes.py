"""What the audit could not prove has a reason of its own, and the one setting or change that makes it provable."""

from __future__ import annotations

import pytest
from tests.agent.test_audit import STARLETTE, WRAPPED, audit, verdicts

from dodai.core.fact import Unknown

WALL = """
class Wall:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and b"session=ann" not in dict(scope["headers"]).get(b"cookie", b""):
            await PlainTextResponse("sign in", 302, {"location": "/login?next=x"})(scope, receive, send)
        else:
            await self.app(scope, receive, send)
def signed_in(): return {"Cookie": "session=bob"}
"""
SHA1 = """
from starlette.convertors import Convertor, register_url_convertor
class Sha1(Convertor):
    regex = "[0-9a-f]{40}"
    def convert(self, value): return value
    def to_string(self, value): return value
register_url_convertor("sha1", Sha1())
inner.routes.append(Route("/d/{key:sha1}/{n:int}", save, methods=["POST"]))
"""


def row(found, route: str):
    return next(row for row in found.rows if row.id == route)


def test_wall_in_front_names_where_it_sends_and_the_setting(tmp_path):
    """A login wall proves nothing: the recorded address is shown, and `sign_in` named, once it is set differently."""
    source = STARLETTE + WALL + "app = Wall(inner)\n"
    found = row(audit(tmp_path, source), "POST /save")
    assert found.verdict == "unknown"
    assert "missing 302 to `/login?next=x`" in found.evidence
    assert "`[csrf] sign_in = " in found.fix
    found = row(audit(tmp_path, source, policy={"sign_in": "shop:signed_in"}), "POST /save")
    assert found.fix == "make `[csrf] sign_in` return headers that the app takes for those of a signed-in visitor"


def test_part_of_a_path_that_cannot_be_made_up_is_named_and_a_setting_proves_the_route(tmp_path):
    """A converter of the application's own: the request went nowhere until `[csrf.example]` says what fits."""
    source = STARLETTE + SHA1 + WRAPPED
    found = row(audit(tmp_path, source), "POST /d/{key}/{n}")
    assert (found.verdict, found.fix) == (
        "unknown",
        '`[csrf.example] "{key}" = "…"`; `[csrf.example] "{n}" = "…"` gives a value it takes',
    )
    for example in ({"{key}": "a" * 40}, {"/d/{key}/{n}": f"/d/{'a' * 40}/7"}):
        found = row(audit(tmp_path, source, policy={"example": example}), "POST /d/{key}/{n}")
        assert (found.verdict, found.by) == ("protected", "dodai")


def test_report_mode_says_that_it_is_the_mode(tmp_path):
    """The layer is there and refuses nothing: the fix is the mode, not the layer."""
    manifest = tmp_path / "dodai.toml"
    manifest.write_text('[project]\nname = "shop"\n[service.web]\ncommand = ["x"]\n[csrf]\nmode = "report"\n')
    table = audit(tmp_path, STARLETTE + WRAPPED, policy={"mode": "report"}, environ={"DODAI_MANIFEST": str(manifest)})
    found = row(table, "POST /save")
    assert found.evidence.endswith('reached the handler: mode "report" refuses nothing')
    assert found.fix.startswith('`[csrf] mode = "both"`')


def test_failed_import_is_shown_in_the_file_of_the_user(tmp_path):
    """What a library raises is shown where the user's own code called it."""
    found = audit(tmp_path, "import json\n\njson.loads('{')\n")
    assert isinstance(found, Unknown)
    assert "at `shop.py:3`" in found.reason


@pytest.mark.parametrize(
    ("handler", "named"),
    [
        ("async def check(request):\n    verify_csrf(request)\n", "verify_csrf"),
        ("async def check(request):\n    request.state.csrf.validate_csrf_token()\n", "validate_csrf_token"),
        ("async def check(request):\n    LoginForm(request).validate()\n", "shop.LoginForm"),
        ("async def check(request):\n    guarded(request)\n", "shop.guarded"),
    ],
)
def test_check_inside_a_handler_is_unknown_and_not_unprotected(tmp_path, handler, named):
    """Handlers are never run, so what one does itself is not proven; it is not called absent either."""
    source = (
        STARLETTE
        + "def verify_csrf(request): ...\ndef guarded(request): verify_csrf(request)\n"
        + "class LoginForm:\n    class Meta:\n        csrf = True\n    def __init__(self, request): ...\n"
        + handler
        + "inner.routes.append(Route('/check', check, methods=['POST']))\napp = inner\n"
    )
    table = audit(tmp_path, source)
    found = row(table, "POST /check")
    assert (found.verdict, verdicts(table)["POST /save"]) == ("unknown", "unprotected")
    assert found.evidence.startswith("checked inside the handler: ")
    assert f"`{named}`" in found.evidence
    assert "move the check in front" in found.fix


def test_middleware_that_needs_what_is_not_there_is_said(tmp_path):
    """A valid request that fails behind the check names the failure, and where variables are set."""
    source = (
        STARLETTE
        + """
class Needs:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http": raise RuntimeError("no pool")
        await self.app(scope, receive, send)
inner.add_middleware(Needs)
"""
        + WRAPPED
    )
    found = row(audit(tmp_path, source), "POST /save")
    assert found.verdict == "unknown"
    assert found.fix == "set in `[check.environment]` what the middleware in front of the handler needs"
