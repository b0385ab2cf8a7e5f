"""From a template to an answer: what every page knows, and how a page differs from a piece of one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from dodai.core.request import current
from web.words import LANGS, Words, lang_of

TOPICS = ("art", "history", "places", "science", "words")


class Pages:
    """Renders templates in the reader's language."""

    def __init__(self, words: Words) -> None:
        self._words = words
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def show(self, request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
        """The page, in the language the request asks for."""
        text = self._templates.get_template(template).render({**self._common(request), **values})
        headers = {"content-language": lang_of(request), "vary": "Accept-Language, Cookie", "cache-control": "no-store"}
        return HTMLResponse(text, status, headers)

    def _common(self, request: Request) -> Mapping[str, Any]:
        lang = lang_of(request)
        return {
            "say": self._words.say(lang),
            "lang": lang,
            "other_lang": next(other for other in LANGS if other != lang),
            "path": request.url.path,
            "topics": TOPICS,
            "request_id": request_id(),
        }


def request_id() -> str:
    """The id under which everybody along the way has written this request down."""
    context = current()
    return context.request_id if context else ""


def wants_piece(request: Request) -> bool:
    """Whether quiz.js asks, which swaps a piece into the page that is already there."""
    return request.headers.get("hx-request") == "true"
