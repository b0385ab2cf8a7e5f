"""What other services tell us. They have no cookies, so no CSRF token: their signature stands in for it."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from web.pages import LARGEST_ID, at_hand

TOLERANCE_S = 300


async def review(request: Request) -> Response:
    """The review desk decided about a report: `{"report": 7, "decision": "keep" | "withdraw"}`; idempotent."""
    body = await request.body()
    if not is_signed(body, request.headers.get("x-signature", ""), at_hand(request).settings.webhook_keys, time.time()):
        raise HTTPException(401)
    try:
        said = json.loads(body)
        report, decision = said["report"], said["decision"]
    except (ValueError, RecursionError, KeyError, TypeError):
        raise HTTPException(422) from None
    if not (isinstance(report, int) and 0 < report <= LARGEST_ID and isinstance(decision, str)):
        raise HTTPException(422)
    await at_hand(request).backend.decide_report(report, decision)
    return JSONResponse({"report": report, "decision": decision})


def is_signed(body: bytes, signature: str, keys: Iterable[str], now_s: float) -> bool:
    """Whether `t=SECONDS,v1=HEX` is HMAC-SHA256 over `SECONDS.BODY` by one of the keys, at most five minutes old.

    The time is under the signature, so that a request that was overheard cannot be sent again later.
    """
    parts = dict(part.partition("=")[::2] for part in signature.split(","))
    at, given = parts.get("t", ""), parts.get("v1", "")
    if not (at.isascii() and at.isdecimal() and given.isascii()) or abs(now_s - int(at[:12])) > TOLERANCE_S:
        return False
    message = at.encode() + b"." + body
    return any(hmac.compare_digest(hmac.new(k.encode(), message, hashlib.sha256).hexdigest(), given) for k in keys)


routes = [Route("/webhooks/review", review, methods=["POST"], name="review_webhook")]
