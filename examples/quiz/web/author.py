"""Writing, changing and deleting questions. Who may do so is decided by the backend, from the proved user alone."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from contract import quiz_pb2 as pb
from web.backend import BackendError
from web.pages import at_hand, question_of, see_other, signed_in, wants_piece
from web.words import lang_of


async def new(request: Request) -> Response:
    signed_in(request)
    return _editor(request, pb.Draft(lang=lang_of(request), choices=["", "", "", ""]))


async def create(request: Request) -> Response:
    draft = _draft(await request.form())
    try:
        question = await at_hand(request).backend.create_question(draft)
    except BackendError as error:
        return _again(request, draft, error)
    return see_other(f"/questions/{question}")


async def preview(request: Request) -> Response:
    """How the question would look; nothing is stored."""
    signed_in(request)
    draft = _draft(await request.form())
    if wants_piece(request):
        return at_hand(request).pages.show(request, "_preview.html", draft=draft)
    return _editor(request, draft, preview=True)


async def edit(request: Request) -> Response:
    question = await at_hand(request).backend.get_question(question_of(request))
    if not question.mine:
        signed_in(request)
        raise HTTPException(403)
    return _editor(
        request,
        pb.Draft(
            id=question.id,
            lang=question.lang,
            topic=question.topic,
            prompt=question.prompt,
            choices=question.choices,
            correct=question.correct,
            explanation=question.explanation,
        ),
    )


async def change(request: Request) -> Response:
    """One form, two buttons: `intent` says whether the question is saved or deleted."""
    question = question_of(request)
    form = await request.form()
    if form.get("intent") == "delete":
        await at_hand(request).backend.delete_question(question)
        return see_other("/me")
    if form.get("intent") != "save":
        raise HTTPException(422)
    draft = _draft(form, question)
    try:
        await at_hand(request).backend.update_question(draft)
    except BackendError as error:
        return _again(request, draft, error)
    return see_other(f"/questions/{question}")


async def delete(request: Request) -> Response:
    """Asked for by quiz.js, which then takes the row out of the page."""
    await at_hand(request).backend.delete_question(question_of(request))
    return Response(status_code=200)


routes = [
    Route("/questions/new", new, name="new_question"),
    Route("/questions", create, methods=["POST"], name="create_question"),
    Route("/questions/preview", preview, methods=["POST"], name="preview_question"),
    Route("/questions/{question:int}/edit", edit, name="edit_question"),
    Route("/questions/{question:int}", change, methods=["POST"], name="change_question"),
    Route("/questions/{question:int}", delete, methods=["DELETE"], name="delete_question"),
]


def _draft(form: FormData, question: int = 0) -> pb.Draft:
    correct = str(form.get("correct", ""))
    return pb.Draft(
        id=question,
        lang=str(form.get("lang", "")),
        topic=str(form.get("topic", "")),
        prompt=str(form.get("prompt", "")),
        choices=[str(form.get(f"choice{n}", "")) for n in (1, 2, 3, 4)],
        correct=int(correct) if correct in ("1", "2", "3", "4") else 0,
        explanation=str(form.get("explanation", "")),
    )


def _again(request: Request, draft: pb.Draft, error: BackendError) -> Response:
    """The form as it was filled in, with what is wrong beside each field."""
    if not error.problems:
        raise error
    return _editor(request, draft, problems=error.problems)


def _editor(
    request: Request, draft: pb.Draft, *, problems: Mapping[str, str] | None = None, preview: bool = False
) -> Response:
    return at_hand(request).pages.show(
        request, "editor.html", status=422 if problems else 200, draft=draft, problems=problems or {}, preview=preview
    )
