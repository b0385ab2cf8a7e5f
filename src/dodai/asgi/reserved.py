"""The reserved paths below `/-/dodai/`: they never reach the application."""

from __future__ import annotations

from collections.abc import Awaitable

from dodai.asgi.error_response import send_refusal
from dodai.core.asgi_types import App, Receive, Scope, Send, Served
from dodai.core.codes import BODY_TOO_LARGE, RESERVED_PATH
from dodai.core.refusal import Refusal
from dodai.core.request import RequestContext, current
from dodai.csrf.policy import PROBE_PATH, RESERVED_PREFIX, is_reserved

_PROBE_BYTES = 64 * 1024


def reserve(app: App) -> Served:
    """`app` behind the reserved paths.

    `POST /-/dodai/probe` answers 204 once every layer outside has let it pass: it proves that the edge and the
    application agree on the origin, without any code of the application. It reads at most 64 KiB. Every other reserved
    path is refused with 404.
    """

    def reserved(scope: Scope, receive: Receive, send: Send, _: RequestContext | None = None) -> Awaitable[None]:
        # No coroutine of its own for all the requests that are the application's.
        path = scope.get("path", "")
        if prefix := scope.get("root_path"):
            path = path.removeprefix(prefix.rstrip("/"))
        inside = path.startswith(RESERVED_PREFIX) and is_reserved(path)
        return answer(scope, receive, send) if inside else app(scope, receive, send)

    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif (
            scope["path"].removeprefix(scope.get("root_path", "").rstrip("/")) == PROBE_PATH
            and scope["method"] == "POST"
        ):
            await _probe(scope, receive, send)
        else:
            await _refuse(scope, send, Refusal(404, RESERVED_PATH, "reserved_path"))

    return reserved


async def _probe(scope: Scope, receive: Receive, send: Send) -> None:
    context = current()
    if context is not None:
        context.route = PROBE_PATH
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        size += len(message.get("body", b""))
        more = message.get("more_body", False)
        if size > _PROBE_BYTES:
            await _refuse(scope, send, Refusal(413, BODY_TOO_LARGE, "body_too_large"))
            return
    await send({"type": "http.response.start", "status": 204, "headers": [(b"cache-control", b"no-store")]})
    await send({"type": "http.response.body", "body": b""})


async def _refuse(scope: Scope, send: Send, refusal: Refusal) -> None:
    context = current()
    if context is None:
        raise RuntimeError("reserved paths are served inside dodai.asgi.wrap")
    context.route = context.route or RESERVED_PREFIX + "/*"
    await send_refusal(scope, send, context, refusal)
