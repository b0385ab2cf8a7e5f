"""The line schema as a value: names, requirements, outcomes."""

from __future__ import annotations

import pytest

from dodai.core.line import (
    FIELD_NAMES,
    FIELDS,
    LINE_TYPES,
    OUTCOMES,
    RPC_STATUSES,
    http_outcome,
    rpc_outcome,
)


def test_fields_are_named_once_and_said_in_both_languages():
    """`ts` first; every field has a purpose in English and Japanese."""
    assert FIELDS[0].name == "ts"
    assert len(FIELD_NAMES) == len(FIELDS)
    assert all(field.purpose.en and field.purpose.ja for field in FIELDS)
    assert all(set(field.required) <= set(LINE_TYPES) for field in FIELDS)


def test_served_requests_carry_what_the_plan_asks_for():
    """Request id, route or RPC, status and latency in every line of a served request."""
    required = {kind: {f.name for f in FIELDS if kind in f.required} for kind in ("http", "ws", "rpc")}
    for kind, names in required.items():
        assert {"requestId", "status", "latencyMs", "outcome", "rpc" if kind == "rpc" else "route"} <= names


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(200, "ok"), (302, "ok"), (101, "ok"), (404, "client_error"), (499, "client_gone"), (500, "server_error"),
     (503, "server_error"), (504, "timeout")],
)  # fmt: skip
def test_http_status_has_one_outcome(status: int, outcome: str):
    """Our failures, the client's, and deadlines are told apart."""
    assert http_outcome(status) == outcome


def test_rpc_answers_are_no_server_errors():
    """Only the service's own failures count for the error rate."""
    by_outcome = {outcome: {s for s in RPC_STATUSES if rpc_outcome(s) == outcome} for outcome in OUTCOMES}
    assert by_outcome["server_error"] == {"UNKNOWN", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNIMPLEMENTED"}
    assert by_outcome["timeout"] == {"DEADLINE_EXCEEDED"}
    assert by_outcome["client_gone"] == {"CANCELLED"}
    assert "NOT_FOUND" in by_outcome["client_error"]
