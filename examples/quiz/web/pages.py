"""From a template to an answer: what every page knows, and how a page differs from a piece of one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

from dodai.core.request import current
from dodai.csrf import enforce as csrf
from web.backend import Backend
from web.headers import Life
from web.settings import Settings
from web.visitor import Provider, Visitor, visitor_of
from web.words import LANGS, Words, lang_of

TOPICS = ("art", "history", "places", "science", "words")
LARGEST_ID = 2**63 - 1
REASONS = ("wrong", "unclear", "unkind")


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
        csrf.install(self._templates)

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
            "langs": LANGS,
            "other_lang": next(other for other in LANGS if other != lang),
            "here": _here(request),
            "visitor": visitor_of(request),
            "topics": TOPICS,
            "reasons": REASONS,
            "request_id": request_id(),
        }


@dataclass(frozen=True, slots=True)
class AtHand:
    """What the handlers work with, made when the application starts."""

    settings: Settings
    backend: Backend
    provider: Provider
    pages: Pages
    life: Life
    origins: tuple[str, ...]


def at_hand(request: Request) -> AtHand:
    found: AtHand = request.state.at_hand
    return found


def see_other(target: str, status: int = 303) -> Response:
    """A redirect that says in its body, too, where it leads (RFC 9110 §15.4): for who does not follow by itself."""
    answer = PlainTextResponse(f"{target}\n", status, {"cache-control": "no-store"})
    answer.headers["location"] = quote(target, safe=":/%#?=@[]!$&'()*+,;")
    return answer


def signed_in(request: Request) -> Visitor:
    """Who is signed in; otherwise the answer is 401, whose page offers to sign in and come back."""
    visitor = visitor_of(request)
    if visitor is None:
        raise HTTPException(401)
    return visitor


def question_of(request: Request) -> int:
    """The question in the path; a number that no question can have is a page that does not exist."""
    question: int = request.path_params["question"]
    if question > LARGEST_ID:
        raise HTTPException(404)
    return question


def request_id() -> str:
    """The id under which everybody along the way has written this request down."""
    context = current()
    return context.request_id if context else ""


def wants_piece(request: Request) -> bool:
    """Whether quiz.js asks, which swaps a piece into the page that is already there."""
    return request.headers.get("hx-request") == "true"


def _here(request: Request) -> str:
    """The page to come back to: what was asked for if it was a page, else the one the form stands on."""
    path = request.url.path
    if request.method in ("GET", "HEAD"):
        return path
    page, _, action = path.rpartition("/")
    if action in ("answer", "report"):
        return page
    if path in ("/questions", "/questions/preview"):
        return "/questions/new"
    return f"{path}/edit" if page == "/questions" else path if path == "/me" else "/"
