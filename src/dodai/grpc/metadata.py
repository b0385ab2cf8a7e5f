"""What travels in gRPC metadata between tiers."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from dodai.core.line import UNMATCHED
from dodai.core.request import RequestContext
from dodai.runtime import Runtime
from dodai.runtime.identity import PROOF_HEADER, USER_HEADER

Pairs = list[tuple[str, Any]]
_OURS = frozenset({"traceparent", "tracestate", "x-request-id", "x-attempt", USER_HEADER, PROOF_HEADER})


def outgoing(
    runtime: Runtime, context: RequestContext, audience: str, span_id: str, given: Iterable[tuple[str, Any]] | None
) -> Pairs:
    """The metadata of a call: the application's own, then ids, user and proof; ours cannot be overridden."""
    pairs: Pairs = [
        ("x-request-id", context.request_id),
        ("traceparent", f"00-{context.trace_id}-{span_id}-{context.trace_flags}"),
        *runtime.identity_headers(context, audience),
    ]
    if context.trace_state:
        pairs.append(("tracestate", context.trace_state))
    return [*(pair for pair in given if pair[0] not in _OURS), *pairs] if given else pairs


def incoming(runtime: Runtime, metadata: Iterable[tuple[str, Any]] | None, remaining_s: float | None) -> RequestContext:
    """The context of an RPC; ids and user count only with a valid proof, else they are minted and claimed."""
    found: dict[str, Any] = dict(metadata or ())
    context = runtime.fresh() if _OURS.isdisjoint(found) else _named(runtime, found)
    if remaining_s is not None:
        context.deadline = time.monotonic() + remaining_s
    return context


def _named(runtime: Runtime, found: dict[str, Any]) -> RequestContext:
    """The context of an RPC that brings an id, a trace or a user."""
    get = found.get
    return runtime.arrived(
        request_id=_bytes(get("x-request-id")),
        user=_bytes(get(USER_HEADER)),
        proof=_bytes(get(PROOF_HEADER)),
        traceparent=_bytes(get("traceparent")),
        tracestate=_bytes(get("tracestate")),
        attempt=_bytes(get("x-attempt")),
    )


def _bytes(value: Any) -> bytes | None:
    """A value of ours, which are all text: names that gRPC sends as bytes end in `-bin`."""
    return None if value is None else value.encode("latin-1", "replace")


def reply_metadata(runtime: Runtime, context: RequestContext) -> tuple[tuple[str, str], ...]:
    """Trailing metadata of every reply: the request id, and the release that answered."""
    release = runtime.config.release
    own = ("x-request-id", context.request_id)
    return (own, ("x-release", release)) if release else (own,)


def rpc_name(method: str | bytes) -> str:
    """`package.Service/Method` of a gRPC path."""
    text = method.decode("utf-8", "replace") if isinstance(method, bytes) else method
    return text.lstrip("/")[:128] or UNMATCHED


def remaining_of(context: RequestContext | None, own: float | None, limit: float | None) -> float | None:
    """The shortest of the caller's timeout, the dependency's deadline and what is left of the request's own."""
    left = None if context is None or context.deadline is None else max(0.0, context.deadline - time.monotonic())
    bounds = [bound for bound in (own, limit, left) if bound is not None]
    return min(bounds) if bounds else None
