"""Calls to dependencies: totals in the request's line, and a line of their own when slow, failed or sampled."""

from __future__ import annotations

import time
from typing import Any, Literal

from dodai.core.line import Outcome
from dodai.core.request import RequestContext
from dodai.runtime.process import Runtime

CallType = Literal["rpc_client", "http_client", "sql"]


def record_call(
    runtime: Runtime,
    context: RequestContext,
    kind: CallType,
    *,
    dependency: str,
    span_id: str,
    seconds: float,
    outcome: Outcome,
    **fields: Any,
) -> None:
    """Add a finished call to the totals of `context`; keep its line when it was slow, failed or is sampled.

    `fields` are fields of the line schema such as `rpc`, `status`, `operation` or `error`.
    """
    milliseconds = seconds * 1000.0
    if kind == "sql":
        context.db_count += 1
        context.db_ms += milliseconds
    elif kind == "rpc_client":
        context.rpc_count += 1
        context.rpc_ms += milliseconds
    else:
        context.http_count += 1
        context.http_ms += milliseconds
    failed = outcome in ("server_error", "timeout", "aborted")
    context.count_call(dependency, milliseconds, failed=failed)
    if failed and context.failed_dependency is None:
        context.failed_dependency = dependency
    if failed or context.sampled or seconds >= runtime.config.policy.slow_call_s:
        line = {"ts": time.time(), "type": kind, "spanId": span_id, "dependency": dependency, "outcome": outcome}
        context.add_sub_line({**line, "latencyMs": round(milliseconds, 3), **fields})
