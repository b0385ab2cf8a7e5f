"""The drill that judges all lines of a stage: what it lets pass, and what it must not."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from dodai.core.page import Text
from dodai.observability.line_format import line_problems, traffic_problems
from dodai.rehearsal.drills.observability import drills, evaluate_lines

SPEC = Path(__file__).resolve().parents[2] / "spec"
ID = "01a20a154cc271afb17c548fca6d98ca"
ON_BYTES = {"not-json", "not-an-object", "too-long"}
"""Judged before there is a line."""
VECTORS = json.loads((SPEC / "line" / "line.json").read_text("utf-8"))
LINES = [vector for vector in VECTORS if not ON_BYTES & set(vector["problems"])]


@pytest.fixture(scope="module")
def checker() -> Any:
    spec = importlib.util.spec_from_file_location("check_line", SPEC / "check_line.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def line(service: str, kind: str = "http", **fields: Any) -> dict[str, Any]:
    own = {"route": "/", "method": "GET", "status": 200} if kind == "http" else {"rpc": "q.Q/Get", "status": "OK"}
    base = {"ts": 1.0, "v": 1, "type": kind, "service": service, "requestId": ID, "outcome": "ok", "latencyMs": 1.5}
    return {**base, **own, **fields}


def request(**web: Any) -> list[dict[str, Any]]:
    """One whole request: edge, web, and the one RPC that web made."""
    return [
        line("edge", spanId="a" * 12 + "0000"),
        line("web", spanId="b" * 12 + "0000", parentSpanId="a" * 12 + "0000", userId="u1", **{"rpcCount": 1, **web}),
        line("backend", "rpc", spanId="c" * 12 + "0000", parentSpanId="b" * 12 + "0001", userId="u1"),
    ]


def problems(lines: list[dict[str, Any]]) -> set[str]:
    return {problem.split(":")[0] for problem in evaluate_lines(lines, "web", ("backend",))[0]}


def test_whole_request_has_no_problem_and_is_counted():
    """Each tier once, one signed-in request."""
    found, details = evaluate_lines(request(), "web", ("backend",))
    assert found == []
    assert details["lines"] == {"edge": 1, "web": 1, "backend": 1}
    assert (details["signedIn"], details["answeredByEdge"]) == (1, 0)


@pytest.mark.parametrize("field", ["requestId", "route", "status", "latencyMs", "outcome"])
def test_line_without_a_required_field_is_found(field: str):
    """In any tier."""
    for tier in (0, 1):
        lines = request()
        del lines[tier][field]
        assert "missing" in problems(lines)


def test_missing_doubled_and_orphaned_lines_are_found():
    """A tier that said nothing, one that said it twice, one that nobody called."""
    edge, web, backend = request()
    assert problems([edge, web]) == {"tier"}  # also when the service behind it never writes one
    assert problems([edge, {**web, "rpcCount": 0}]) == set()
    assert problems([edge, web, *(line("backend", "rpc", requestId="f" * 32),)]) == {"tier"}
    assert problems([edge, backend]) == {"tier", "orphan"}
    assert problems([edge, web, dict(web), backend]) >= {"tier", "duplicate"}
    assert problems([web, backend]) == {"orphan"}


def test_user_that_a_tier_lost_or_changed_is_found():
    """Signed in at the front means signed in behind it."""
    edge, web, backend = request()
    assert problems([edge, web, {**backend, "userId": "u2"}]) == {"user"}
    assert problems([edge, web, {key: value for key, value in backend.items() if key != "userId"}]) == {"user"}


def test_what_the_edge_answered_itself_is_counted_and_excused():
    """A refusal, a dead service, a client that left: no line of the next tier is owed."""
    refused = line("edge", status=502, outcome="server_error", code="DOD554", reason="upstream_ended")
    left = line("edge", requestId="0" * 32, status=499, outcome="client_gone")
    found, details = evaluate_lines([refused, left], "web", ())
    assert found == []
    assert details["requestsCut"] == [ID, "0" * 32]


def test_failed_call_needs_no_line_behind_it():
    """It may have reached the service or not."""
    edge, web, _ = request()
    call = line("web", "rpc_client", status="UNAVAILABLE", outcome="server_error", parentSpanId=web["spanId"])
    other = line("backend", "rpc", requestId="f" * 32)
    assert problems([edge, web, call, other]) == set()


@pytest.mark.parametrize("vector", LINES, ids=lambda vector: vector["name"])
def test_drill_judges_a_line_as_the_spec_does(vector: dict[str, Any]):
    """The same first words."""
    found = line_problems(json.loads(vector["line"]))
    assert [problem.split(":", 1)[0] for problem in found] == vector["problems"]


def test_drill_judges_traffic_as_the_spec_does(checker: Any):
    """Orphans, duplicates and users, one by one."""
    edge, web, backend = request()
    for lines in (
        [edge, web, backend],
        [web, backend],
        [edge, backend],
        [edge, web, web, backend],
        [edge, web, {**backend, "userId": "u2"}],
    ):
        assert traffic_problems(lines) == checker.check_traffic(lines)


def test_it_is_the_last_drill():
    """Whatever ran after it would be judged by nobody."""
    known = drills("web", ("backend",))
    assert known[-1].id == "every-line-is-whole"
    assert isinstance(known[-1].title, Text)
    assert known[-1].title.ja
