"""What a request's line says of its context, by attribute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dodai.core.line import LineType, Outcome
from dodai.core.request import RequestContext

ShownUser = Callable[[str], str]

Shape = tuple[LineType, Outcome, int | str, str, str]
"""What the lines of like requests share: type, outcome, status, route or RPC, and HTTP method (empty for an RPC)."""


def constant_of(shape: Shape) -> dict[str, Any]:
    """The fields that a shape stands for, but for the type."""
    _, outcome, status, place, method = shape
    fields = {"status": status, "outcome": outcome}
    return fields | ({"method": method, "route": place} if method else {"rpc": place})


def describe(line: dict[str, Any], context: RequestContext, shown_user: ShownUser) -> None:
    """Add what the context knows beyond its ids: it holds only what was set, so most of the table is not asked."""
    for name, value in vars(context).items():
        told = _TOLD.get(name)
        if told is None or value is None:
            continue
        if told.__class__ is str:
            line[told] = value
        else:
            told(line, value, shown_user)


def _refusal(line: dict[str, Any], refusal: Any, _: ShownUser) -> None:
    line["code"] = refusal.code.id
    if refusal.reason:
        line["reason"] = refusal.reason


def _attempt(line: dict[str, Any], attempt: int, _: ShownUser) -> None:
    if attempt > 1:
        line["attempt"] = attempt


def _totals(line: dict[str, Any], totals: dict[str, list[float]], _: ShownUser) -> None:
    line["calls"] = ";".join(f"{name} {row[0]} {int(row[1])} {row[2]:.1f}" for name, row in totals.items())[:512]


def _extra(line: dict[str, Any], extra: dict[str, Any], _: ShownUser) -> None:
    line.update(extra)


def _user(name: str) -> Callable[[dict[str, Any], str, ShownUser], None]:
    return lambda line, user_id, shown_user: line.__setitem__(name, shown_user(user_id))


def _ms(name: str) -> Callable[[dict[str, Any], float, ShownUser], None]:
    return lambda line, milliseconds, _: line.__setitem__(name, round(milliseconds, 3))


_TOLD: dict[str, Any] = {
    "parent_span_id": "parentSpanId",
    "client_network": "clientNetwork",
    "client_request_id": "clientRequestId",
    "attempt": _attempt,
    "user_id": _user("userId"),
    "user_claimed": _user("userClaimed"),
    "db_count": "dbCount",
    "db_ms": _ms("dbMs"),
    "rpc_count": "rpcCount",
    "rpc_ms": _ms("rpcMs"),
    "http_count": "httpCount",
    "http_ms": _ms("httpMs"),
    "pool_wait_ms": _ms("poolWaitMs"),
    "totals": _totals,
    "failed_dependency": "dependency",
    "refusal": _refusal,
    "error": "error",
    "stack": "stack",
    "extra": _extra,
}
"""The name of the field, or what adds its fields."""

SELDOM_TOLD = frozenset(_TOLD) - {"parent_span_id", "client_network", "client_request_id"} | {"sub_lines"}
"""Without one of these attributes the three others, which need no escaping, are all that the line has to say."""
