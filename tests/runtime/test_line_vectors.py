"""One table of what a line says: the line formatted in one go is the line that is built field by field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dodai.core.codes import BODY_TOO_LARGE
from dodai.core.refusal import Refusal
from dodai.core.request import RequestContext
from dodai.observability.line_format import dump
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.line_fields import SELDOM_TOLD, Shape

SHAPES: tuple[Shape, ...] = (
    ("http", "ok", 200, "/quiz/{id}", "GET"),
    ("http", "client_gone", 499, "<unmatched>", "OTHER"),
    ("rpc", "server_error", "UNAVAILABLE", "quiz.Quiz/Answer", ""),
)
SAID: dict[str, tuple[Any, dict[str, Any]]] = {
    "parent_span_id": ("b" * 16, {"parentSpanId": "b" * 16}),
    "client_network": ("192.0.2.0", {"clientNetwork": "192.0.2.0"}),
    "client_request_id": ("client-00000001", {"clientRequestId": "client-00000001"}),
    "attempt": (3, {"attempt": 3}),
    "user_id": ("u-1", {"userId": "u-1"}),
    "user_claimed": ("u-2", {"userClaimed": "u-2"}),
    "db_count": (4, {"dbCount": 4}),
    "db_ms": (1.23456, {"dbMs": 1.235}),
    "rpc_count": (2, {"rpcCount": 2}),
    "rpc_ms": (20.0, {"rpcMs": 20.0}),
    "http_count": (1, {"httpCount": 1}),
    "http_ms": (0.0004, {"httpMs": 0.0}),
    "pool_wait_ms": (7.5, {"poolWaitMs": 7.5}),
    "totals": ({"database": [3, 1, 4.25]}, {"calls": "database 3 1 4.2"}),
    "failed_dependency": ("database", {"dependency": "database"}),
    "refusal": (
        Refusal(413, BODY_TOO_LARGE, "body_too_large"),
        {"code": BODY_TOO_LARGE.id, "reason": "body_too_large"},
    ),
    "error": ("app.errors.Odd", {"error": "app.errors.Odd"}),
    "stack": ("a.py:1 f\nb.py:2 g", {"stack": "a.py:1 f\nb.py:2 g"}),
    "extra": ({"csrf": "token", "cfRay": 'ray"\u2028\x85'}, {"csrf": "token", "cfRay": 'ray"\u2028\x85'}),
}


def both(folder: Path, shape: Shape, said: dict[str, Any], fields: dict[str, Any]) -> tuple[bytes, bytes]:
    """(the line that was written, the line built field by field), their times left out."""
    runtime = Runtime(RuntimeConfig(state=folder, service="web", env="production", release="r1"))
    context = runtime.fresh()
    for name, value in said.items():
        setattr(context, name, value)
    kind, outcome, status, route, method = shape
    plain = runtime.line(context, kind, status=status, outcome=outcome, latency_s=0.0123456)
    plain |= {"rpc": route} if kind == "rpc" else {"method": method, "route": route}
    own = {name: value for name, value in fields.items() if name != "bytesOut"}
    runtime.write_served(context, shape, 0.0123456, own or None, fields.get("bytesOut"))
    runtime.flush()
    written = [line for file in folder.rglob("*.jsonl") for line in file.read_bytes().splitlines()]
    mine = [line for line in written if context.request_id.encode() in line]
    assert len(mine) == 1, written
    return _timeless(mine[0]), _timeless(dump(plain | fields))


def _timeless(line: bytes) -> bytes:
    found = json.loads(line)
    assert next(iter(found)) == "ts"
    return json.dumps({name: value for name, value in found.items() if name != "ts"}, sort_keys=True).encode()


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]} {shape[2]}")
@pytest.mark.parametrize("name", ["nothing", *SAID])
def test_fast_line_says_what_the_plain_line_says(tmp_path, shape, name):
    """Each thing that a context knows, alone: under its name, with its value, in both lines."""
    said = {name: SAID[name][0]} if name in SAID else {}
    fast, plain = both(tmp_path, shape, said, {"bytesOut": 5})
    assert fast == plain
    told = json.loads(fast)
    for field, value in (SAID[name][1] if name in SAID else {}).items():
        assert told[field] == pytest.approx(value) if isinstance(value, float) else told[field] == value


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape[0]} {shape[2]}")
@pytest.mark.parametrize(
    "fields", [{}, {"bytesOut": 0}, {"bytesOut": 0, "path": '/a"\\b\x1b\u2028%s'}, {"path": "ü" * 1000}]
)
def test_fast_line_says_all_at_once_what_the_plain_line_says(tmp_path, shape, fields):
    """Everything together, with text that has to be escaped."""
    fast, plain = both(tmp_path, shape, {name: value for name, (value, _) in SAID.items()}, fields)
    assert fast == plain


@pytest.mark.parametrize("noted", [{"csrf": "token"}, {"csrf": 'report:"x'}, {"csrf": "ü"}, {"cfRay": "a1"}, {}])
def test_fast_line_of_a_form_says_what_the_plain_line_says(tmp_path, noted):
    """Most lines of forms have one more word, that of the decision; any other text is escaped."""
    fast, plain = both(tmp_path, SHAPES[0], {"extra": noted}, {"bytesOut": 5})
    assert (fast, json.loads(fast).get("csrf")) == (plain, noted.get("csrf"))


def test_every_attribute_that_lines_tell_has_a_vector():
    """Whoever adds one to the table adds one here, and none is named that a context does not have."""
    often = {"parent_span_id", "client_network", "client_request_id"}
    assert set(SAID) == SELDOM_TOLD - {"sub_lines"} | often
    assert all(hasattr(RequestContext, name) for name in SAID)
