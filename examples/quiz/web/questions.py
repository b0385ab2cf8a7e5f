"""Reading and answering questions."""

from __future__ import annotations

from uuid import uuid4

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contract import quiz_pb2 as pb
from web.backend import BackendError
from web.pages import TOPICS, at_hand, question_of, see_other, wants_piece
from web.words import lang_of


async def home(request: Request) -> Response:
    topic = request.query_params.get("topic", "")
    if topic and topic not in TOPICS:
        raise HTTPException(404)
    found = await at_hand(request).backend.list_questions(lang_of(request), topic)
    return at_hand(request).pages.show(request, "home.html", questions=found.questions, topic=topic)


async def next_question(request: Request) -> Response:
    after = request.query_params.get("after", "")
    seen = int(after) if after.isascii() and after.isdecimal() and len(after) < 19 else 0
    try:
        found = await at_hand(request).backend.next_question(lang_of(request), seen)
    except BackendError as error:
        if error.http_status != 404:
            raise
        return see_other("/")
    return see_other(f"/questions/{found}")


async def question(request: Request) -> Response:
    found = await at_hand(request).backend.get_question(question_of(request))
    return _ask(request, found, str(uuid4()))


async def answer(request: Request) -> Response:
    """The verdict itself rather than a redirect to it: the same form again gets the same verdict (`attempt`)."""
    asked = question_of(request)
    form = await request.form()
    choice, attempt = str(form.get("choice", "")), str(form.get("attempt", ""))
    if choice not in ("1", "2", "3", "4"):
        found = await at_hand(request).backend.get_question(asked)
        return _ask(request, found, attempt, problem="choice")
    verdict = await at_hand(request).backend.answer(attempt, asked, int(choice))
    template = "_verdict.html" if wants_piece(request) else "question.html"
    return at_hand(request).pages.show(request, template, question=verdict.question, verdict=verdict)


routes = [
    Route("/", home, name="home"),
    Route("/next", next_question, name="next"),
    Route("/questions/{question:int}", question, name="question"),
    Route("/questions/{question:int}/answer", answer, methods=["POST"], name="answer"),
]


def _ask(request: Request, question: pb.Question, attempt: str, problem: str = "") -> Response:
    return at_hand(request).pages.show(
        request,
        "_ask.html" if wants_piece(request) else "question.html",
        status=422 if problem else 200,
        question=question,
        attempt=attempt,
        verdict=None,
        problem=problem,
    )
