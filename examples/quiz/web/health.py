"""Is this process alive, and can it do its work."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from dodai.runtime import lost_lines
from web.pages import at_hand


async def healthz(request: Request) -> Response:  # noqa: ARG001 - the framework's signature
    """Alive: nothing else is asked, so that a sick dependency never gets this process restarted."""
    return PlainTextResponse("ok\n")


async def readyz(request: Request) -> Response:
    """Ready: the backend serves and this process is not about to leave.

    The identity provider is not asked: without it nobody can sign in, and everything else works.
    """
    hand = at_hand(request)
    serving = await hand.backend.is_serving()
    ready = serving and not hand.life.leaving
    body = {
        "ready": ready,
        "version": hand.settings.release,
        "dependencies": {"backend": "ok" if serving else "does not serve"},
        "lostLines": lost_lines(),
    }
    return JSONResponse(body, 200 if ready else 503, {"cache-control": "no-store"})


routes = [
    Route("/healthz", healthz, name="healthz"),
    Route("/readyz", readyz, name="readyz"),
]
