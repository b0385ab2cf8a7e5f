"""What an audit costs, and what becomes of an application that takes longer than it may."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.agent.test_audit import STARLETTE, WRAPPED, audit, verdicts
from tests.agent.test_public_shapes import ANY_METHOD
from tests.agent.test_served import LIFESPAN

from dodai.csrf.check.gather import gather_routes
from dodai.csrf.route_table import RouteTable

MANY = """
for number in range(40):
    inner.routes.append(Route(f"/many/{number}", save, methods=["POST"]))
"""
SLOW = """
import asyncio
class Slow:
    def __init__(self, app): self.app = app
    async def __call__(self, scope, receive, send):
        if scope["type"] == "http": await asyncio.sleep(0.1)
        await self.app(scope, receive, send)
inner.add_middleware(Slow)
app = inner
"""
DATABASE = """
import contextlib, os, psycopg
@contextlib.asynccontextmanager
async def lifespan(app):
    async with await psycopg.AsyncConnection.connect(os.environ["DATABASE_URL"]) as connection:
        (path,) = await (await connection.execute("select '/from-the-database'")).fetchone()
        app.router.routes.append(Route(path, save, methods=["POST"]))
        yield
inner.router.lifespan_context = lifespan
"""
MANIFEST = """
[project]
name = "shop"

[service.web]
command = ["serve"]
app = "shop:app"
public = true
"""


def test_number_of_requests_is_bounded_by_the_routes_and_told(tmp_path):
    """A handler that takes any method is asked all of it once, and for its other methods what tells a check apart."""
    table = audit(tmp_path, STARLETTE + MANY + WRAPPED)
    assert len(table.state_changing) == 44
    assert table.requests <= 16 * 44
    assert f"44 state-changing routes of `web`, asked with {table.requests} requests" in table.seen
    paths = 6
    assert audit(tmp_path, ANY_METHOD).requests <= (16 + 3 * 8) * paths + 4


def test_application_too_large_for_its_time_keeps_what_was_seen(tmp_path):
    """Routes that were not asked are told one by one, with the setting; nothing is called protected or lost."""
    table = audit(tmp_path, STARLETTE + MANY + SLOW, policy={"audit_timeout": 10.0})
    found = verdicts(table)
    assert len(found) == 44
    assert set(found.values()) <= {"unprotected", "unknown"}
    late = [row for row in table.state_changing if row.verdict == "unknown"]
    assert {(row.evidence, row.fix) for row in late} == {
        ("not asked: the time for the audit was over before", "raise `[csrf] audit_timeout`")
    }


def test_import_that_listens_is_judged(tmp_path):
    """Only connections to other machines are refused while code is listed."""
    source = "import socket\nlistener = socket.create_server(('127.0.0.1', 0))\n" + STARLETTE + WRAPPED
    assert audit(tmp_path, source).summary.coverage == 1.0


@pytest.mark.parametrize("inherit", [[], ["DATABASE_URL", "NOT_SET_ANYWHERE"]])
def test_lifespan_that_needs_a_database_is_judged_where_there_is_one(tmp_path, monkeypatch, database, inherit):
    """`[check] inherit` hands on what CI knows and no file may hold; without it the gap names the way."""
    (tmp_path / "shop.py").write_text(STARLETTE + DATABASE + WRAPPED)
    monkeypatch.setenv("DATABASE_URL", database)
    manifest = {"service": {"web": {"app": "shop:app", "public": True}}, "check": {"inherit": inherit}}
    table = gather_routes(manifest, root=tmp_path, python=sys.executable, today="2026-11-29")
    assert isinstance(table, RouteTable)
    assert verdicts(table)["POST /save"] == "protected"
    if inherit:
        assert (verdicts(table)["POST /from-the-database"], table.gaps) == ("protected", ())
    else:
        (gap,) = table.gaps
        assert "did not start (KeyError: 'DATABASE_URL')" in gap.reason
        assert "`[check] inherit`" in gap.fix


def test_no_lifespan_lists_what_the_import_alone_gives(tmp_path):
    """The option of both commands, for a start-up that cannot run here and adds no route."""
    (tmp_path / "shop.py").write_text(STARLETTE + LIFESPAN.format(start="raise OSError('no database')") + WRAPPED)
    (tmp_path / "dodai.toml").write_text(MANIFEST)

    def run(*words: str) -> tuple[int, dict[str, object]]:
        done = subprocess.run(
            [sys.executable, "-m", "dodai", *words, "--json"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        return done.returncode, json.loads(done.stdout)

    code, told = run("routes", "--no-lifespan")
    assert (code, told["notJudged"]) == (0, [])
    code, told = run("routes")
    (gap,) = told["notJudged"]
    assert (code, "OSError: no database" in gap["reason"]) == (1, True)
    _, report = run("check", "csrf", "--no-lifespan")
    assert "lifespan" not in json.dumps(report)
    assert not (Path(tmp_path) / "ended").exists()
