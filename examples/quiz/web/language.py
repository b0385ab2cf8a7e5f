"""The switch between English and Japanese."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from web.pages import see_other
from web.words import LANG_COOKIE, LANGS

A_YEAR_S = 365 * 24 * 3600


async def choose(request: Request) -> Response:
    form = await request.form()
    lang = str(form.get("lang", ""))
    if lang not in LANGS:
        raise HTTPException(422)
    answer = see_other(own_path(str(form.get("back", ""))))
    answer.set_cookie(LANG_COOKIE, lang, max_age=A_YEAR_S, samesite="lax", secure=request.url.scheme == "https")
    return answer


def own_path(path: str) -> str:
    """`path` when it stays on this site, else `/`: `//elsewhere` and `/\\elsewhere` lead away from it."""
    stays = path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable()
    return path if stays else "/"


routes = [Route("/language", choose, methods=["POST"], name="language")]
