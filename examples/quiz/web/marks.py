"""Marking a question with a star (JSON, called by fetch) and reporting one."""

from __future__ import annotations

import json

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from web.pages import at_hand, question_of, see_other, wants_piece


async def star(request: Request) -> Response:
    """`{"starred": true}` in, the same out: what is said twice is true once."""
    try:
        said = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise HTTPException(400) from None
    if not isinstance(said, dict) or not isinstance(said.get("starred"), bool):
        raise HTTPException(422)
    starred = await at_hand(request).backend.star(question_of(request), starred=said["starred"])
    return JSONResponse({"starred": starred})


async def report(request: Request) -> Response:
    question = question_of(request)
    form = await request.form()
    await at_hand(request).backend.report(question, str(form.get("reason", "")))
    if wants_piece(request):
        return at_hand(request).pages.show(request, "_thanks.html")
    return see_other(f"/questions/{question}")


routes = [
    Route("/api/questions/{question:int}/star", star, methods=["PUT"], name="star"),
    Route("/questions/{question:int}/report", report, methods=["POST"], name="report"),
]
