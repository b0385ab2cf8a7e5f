"""The page of somebody who is signed in: how it went, what they wrote, what they marked."""

from __future__ import annotations

from datetime import UTC, datetime

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from web.backend import BackendError
from web.chart import JAPAN, draw
from web.pages import at_hand, see_other, signed_in
from web.words import lang_of


async def my_page(request: Request) -> Response:
    signed_in(request)
    return await _show(request)


async def change(request: Request) -> Response:
    """Two forms, one address: `intent` says which of them was sent."""
    form = await request.form()
    backend = at_hand(request).backend
    if form.get("intent") == "clear":
        await backend.clear_history()
    elif form.get("intent") == "name":
        try:
            await backend.save_name(str(form.get("name", "")))
        except BackendError as error:
            if not error.problems:
                raise
            return await _show(request, problem=error.problems.get("name", ""), name=str(form.get("name", "")))
    else:
        raise HTTPException(422)
    return see_other("/me")


async def _show(request: Request, *, problem: str = "", name: str | None = None) -> Response:
    page = await at_hand(request).backend.my_page(lang_of(request))
    return at_hand(request).pages.show(
        request,
        "me.html",
        status=422 if problem else 200,
        page=page,
        name=page.name or signed_in(request).name if name is None else name,
        problem=problem,
        chart=draw(page.days, datetime.now(UTC).astimezone(JAPAN).date()),
        past=[(past, datetime.fromtimestamp(past.answered_at, JAPAN)) for past in page.past],
    )


routes = [
    Route("/me", my_page, name="my_page"),
    Route("/me", change, methods=["POST"], name="change_my_page"),
]
