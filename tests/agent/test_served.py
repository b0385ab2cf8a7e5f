"""What is audited is what is served: start-up has run, layers have spoken, and another method was asked for."""

from __future__ import annotations

import pytest
from tests.agent.test_audit import OVERRIDE, STARLETTE, WRAPPED, audit, verdicts

LIFESPAN = """
import contextlib
@contextlib.asynccontextmanager
async def lifespan(app):
    {start}
    app.router.routes.append(Route("/late", save, methods=["POST"]))
    yield {{"pool": 1}}
    Path(__file__).with_name("ended").write_text("")
inner.router.lifespan_context = lifespan
"""
METHOD_BY_HEADER = """
class Overriding:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        named = dict(scope.get("headers", ())).get(b"x-http-method-override")
        if named: scope = {**scope, "method": named.decode()}
        await self.app(scope, receive, send)
"""


def test_route_that_start_up_adds_is_listed(tmp_path):
    """The lifespan is started before the routes are listed, and ended in the end."""
    source = STARLETTE + LIFESPAN.format(start="pass") + WRAPPED
    assert verdicts(audit(tmp_path, source))["POST /late"] == "protected"
    assert (tmp_path / "ended").exists()
    assert "POST /late" not in verdicts(audit(tmp_path, source, policy={"lifespan": False}))


@pytest.mark.parametrize(
    ("start", "why"), [("raise OSError('no database')", "OSError: no database"), ("import sys; sys.exit(3)", "")]
)
def test_start_up_that_fails_leaves_a_gap_with_its_reason(tmp_path, start, why):
    """What it would have added is not listed, so the table is not whole; the setting for apps that add nothing is named."""
    table = audit(tmp_path, STARLETTE + LIFESPAN.format(start=start) + WRAPPED)
    if why:
        (gap,) = table.gaps
        assert f"the lifespan of `shop:app` did not start ({why})" in gap.reason
        assert "`[csrf] lifespan = false`" in gap.fix
        assert verdicts(table)["POST /save"] == "protected"
    else:
        assert table.fix  # the whole process gave up


def test_application_without_lifespan_has_no_gap(tmp_path):
    """An application that does not know the protocol raises, and servers go on."""
    refuses = "class Raw:\n    def __init__(self, app): self.app = app\n    async def __call__(self, scope, receive, send):\n        assert scope['type'] != 'lifespan'\n        await self.app(scope, receive, send)\n"
    table = audit(tmp_path, STARLETTE + WRAPPED + refuses + "app = Raw(app)\n")
    assert (table.gaps, table.summary.coverage) == ((), 1.0)


@pytest.mark.parametrize("override", [METHOD_BY_HEADER + "inner = Overriding(inner)\n", OVERRIDE])
def test_read_that_becomes_a_write_is_asked(tmp_path, override):
    """A GET that names another method reaches a handler past everything that lets reads through."""
    unsafe = """
class OnlyUnsafe:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            await PlainTextResponse("csrf token missing", 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)
"""
    table = audit(tmp_path, STARLETTE + override + unsafe + "app = OnlyUnsafe(inner)\n")
    row = next(row for row in table.rows if row.id == "POST /save")
    assert (row.verdict, row.evidence) == ("unprotected", "a GET that names another method reached the handler")
    covered = audit(tmp_path, STARLETTE + override + WRAPPED)
    assert verdicts(covered)["POST /save"] == "protected"


def test_hostile_request_that_runs_another_handler_is_red_with_its_name(tmp_path):
    """What ran is named, not what was asked for."""
    source = STARLETTE + (
        "async def other(request): await save(request)\n"
        "class Elsewhere:\n    def __init__(self, app): self.app = app\n"
        "    async def __call__(self, scope, receive, send):\n"
        "        if scope.get('path') == '/save': scope = {**scope, 'path': '/other', 'raw_path': b'/other'}\n"
        "        await self.app(scope, receive, send)\n"
        "inner.routes.append(Route('/other', other, methods=['POST']))\napp = Elsewhere(inner)\n"
    )
    row = next(row for row in audit(tmp_path, source).rows if row.id == "POST /save")
    assert row.verdict == "unprotected"
    assert row.evidence.endswith("request reached `POST /other`")


@pytest.mark.parametrize(
    "hidden",
    [
        "class Outer:\n    def __init__(self, app): self.chain = (app,)\n    async def __call__(self, scope, receive, send): await self.chain[0](scope, receive, send)\napp = Outer(app)\n",
        "class Outer:\n    def __init__(self, app): self.downstream = app\n    async def __call__(self, scope, receive, send): await self.downstream(scope, receive, send)\napp = Outer(app)\n",
        "def outer(app):\n    async def served(scope, receive, send): await app(scope, receive, send)\n    return served\napp = outer(app)\n",
    ],
)
def test_application_that_a_layer_hides_is_found_and_asked_through_it(tmp_path, hidden):
    """In a tuple, under a name of its own, in a closure: requests still go to the outermost object."""
    table = audit(tmp_path, STARLETTE + WRAPPED + hidden)
    assert verdicts(table)["POST /save"] == "protected"
    assert verdicts(audit(tmp_path, STARLETTE + "app = inner\n" + hidden))["POST /save"] == "unprotected"


def test_layer_in_front_that_answers_itself_is_unknown(tmp_path):
    """A path that the layer outside of the protection answers is in no router's list."""
    source = (
        STARLETTE
        + WRAPPED
        + """
class Hooks:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        if scope["path"] == "/hook":
            charge()
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"done"})
        else:
            await self.app(scope, receive, send)
"""
    )
    table = audit(tmp_path, source + "app = Hooks(app)\n", policy={"lifespan": False})
    row = next(row for row in table.rows if row.id == "* /hook")
    assert (row.verdict, row.endpoint, row.source) == ("unknown", "shop.Hooks", "shop.py")
    inside = audit(tmp_path, source.replace(WRAPPED, "") + "import dodai.asgi\napp = dodai.asgi.wrap(Hooks(inner))\n")
    assert inside.summary.coverage == 1.0
