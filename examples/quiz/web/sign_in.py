"""Signing in and out."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dodai.csrf import enforce as csrf
from web.language import own_path
from web.pages import at_hand, see_other
from web.visitor import forget, remember

BACK = "back"
LONGEST_HINT = 64


async def sign_in(request: Request) -> Response:
    """Off to the identity provider. A form rather than a link: nobody else's page can start it for the visitor."""
    form = await request.form()
    request.session[BACK] = own_path(str(form.get("back", "")))
    hint = str(form.get("login_hint", ""))[:LONGEST_HINT]
    there = await at_hand(request).provider.send_there(request, f"{_origin(request)}/sign-in/done", hint)
    return see_other(there, 302)


async def signed_in(request: Request) -> Response:
    """Back from the identity provider; `state` ties this request to the one that left."""
    back = own_path(str(request.session.get(BACK, "")))
    remember(request, await at_hand(request).provider.receive(request))
    csrf.login(request)
    return see_other(back)


async def sign_out(request: Request) -> Response:
    forget(request)
    csrf.logout(request)
    return see_other("/")


def _origin(request: Request) -> str:
    """What stands in the visitor's address bar. Behind the edge nobody else can set these headers."""
    declared = at_hand(request).origins
    if declared:
        return declared[0]
    scheme = request.headers.get("x-forwarded-proto") or request.url.scheme
    return f"{scheme}://{request.headers.get('x-forwarded-host') or request.url.netloc}"


routes = [
    Route("/sign-in", sign_in, methods=["POST"], name="sign_in"),
    Route("/sign-in/done", signed_in, name="signed_in"),
    Route("/sign-out", sign_out, methods=["POST"], name="sign_out"),
]
