"""What travels in gRPC metadata between tiers."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from dodai.core.line import UNMATCHED
from dodai.core.request import RequestContext, format_traceparent
from dodai.runtime import Runtime
from dodai.runtime.identity import PROOF_HEADER, USER_HEADER, decode_user

Pairs = list[tuple[str, Any]]
_OURS = frozenset({"traceparent", "tracestate", "x-request-id", "x-attempt", USER_HEADER, PROOF_HEADER})


def outgoing(
    runtime: Runtime, context: RequestContext, audience: str, span_id: str, given: Iterable[tuple[str, Any]] | None
) -> Pairs:
    """The metadata of a call: the application's own, then ids, user and proof; ours cannot be overridden."""
    pairs: Pairs = [pair for pair in given or () if pair[0] not in _OURS]
    pairs.append(("x-request-id", context.request_id))
    pairs.append(("traceparent", format_traceparent(context.trace_id, span_id, context.trace_flags)))
    if context.trace_state:
        pairs.append(("tracestate", context.trace_state))
    pairs += runtime.identity_headers(context, audience)
    return pairs


def incoming(runtime: Runtime, metadata: Iterable[tuple[str, Any]] | None, remaining_s: float | None) -> RequestContext:
    """The context of an RPC; ids and user count only with a valid proof, else they are minted and claimed."""
    found: dict[str, bytes] = {}
    for name, value in metadata or ():
        if name in _OURS:
            found[name] = value.encode("latin-1", "replace") if isinstance(value, str) else value
    user = decode_user(found[USER_HEADER].decode("latin-1")) if USER_HEADER in found else ""
    request_id = found.get("x-request-id")
    proof = found.get(PROOF_HEADER)
    proved = runtime.proved(proof.decode("latin-1") if proof else None, request_id, user)
    context = runtime.open(
        trusted=proved,
        request_id=request_id,
        traceparent=found.get("traceparent"),
        tracestate=found.get("tracestate"),
        attempt=found.get("x-attempt"),
    )
    if user and proved:
        context.user_id = user
    elif user:
        context.user_claimed = user
    if remaining_s is not None:
        context.deadline = time.monotonic() + remaining_s
    return context


def reply_metadata(runtime: Runtime, context: RequestContext) -> Pairs:
    """Trailing metadata of every reply: the request id, and the release that answered."""
    pairs: Pairs = [("x-request-id", context.request_id)]
    if runtime.config.release:
        pairs.append(("x-release", runtime.config.release))
    return pairs


def rpc_name(method: str | bytes) -> str:
    """`package.Service/Method` of a gRPC path."""
    text = method.decode("utf-8", "replace") if isinstance(method, bytes) else method
    return text.lstrip("/")[:128] or UNMATCHED


def remaining_of(context: RequestContext | None, own: float | None, limit: float | None) -> float | None:
    """The shortest of the caller's timeout, the dependency's deadline and what is left of the request's own."""
    left = None if context is None or context.deadline is None else max(0.0, context.deadline - time.monotonic())
    bounds = [bound for bound in (own, limit, left) if bound is not None]
    return min(bounds) if bounds else None
