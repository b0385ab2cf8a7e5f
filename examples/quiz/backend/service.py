"""The gRPC service: who may do what, and how rows become messages. Ownership looks at the proved user alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn
from uuid import UUID

import grpc
from grpc.aio import ServicerContext as Call

from backend import rules
from backend.store import Row, Store
from contract import quiz_pb2 as pb
from contract.quiz_pb2_grpc import QuizServicer
from dodai.core.request import current

PROBLEMS_KEY = "quiz-problems-bin"


class Quiz(QuizServicer):
    def __init__(self, store: Store) -> None:
        self._store = store

    async def ListQuestions(self, request: pb.ListQuestionsRequest, context: Call) -> pb.QuestionList:  # noqa: N802
        if request.lang not in rules.LANGS:
            await _refuse(context, [rules.Problem("lang", "unknown")])
        rows = await self._store.list_questions(request.lang, request.topic, _user())
        return pb.QuestionList(questions=[_question(row) for row in rows])

    async def GetQuestion(self, request: pb.QuestionRef, context: Call) -> pb.Question:  # noqa: N802
        user = _user()
        row = await self._question_row(request.id, user, context)
        return _question(row, solved=row["author_id"] is not None and row["author_id"] == user)

    async def NextQuestion(self, request: pb.NextQuestionRequest, context: Call) -> pb.QuestionRef:  # noqa: N802
        found = await self._store.next_question(request.lang, request.after, _user())
        if found is None:
            await _not_found(context)
        return pb.QuestionRef(id=found)

    async def AnswerQuestion(self, request: pb.Attempt, context: Call) -> pb.Verdict:  # noqa: N802
        attempt = _uuid(request.attempt)
        if attempt is None or not rules.is_choice(request.position):
            await _refuse(context, [rules.Problem("choice" if attempt else "attempt", "missing")])
        user = _user()
        found = await self._store.answer(attempt, request.question_id, request.position, user)
        if found is None:
            await _not_found(context)
        stored, row = found
        return pb.Verdict(question=_question(row, solved=True), position=stored["position"], right=stored["correct"])

    async def CreateQuestion(self, request: pb.Draft, context: Call) -> pb.QuestionRef:  # noqa: N802
        user = await _signed_in(context)
        draft = await _checked(request, context)
        return pb.QuestionRef(id=await self._store.create_question(draft, user))

    async def UpdateQuestion(self, request: pb.Draft, context: Call) -> pb.QuestionRef:  # noqa: N802
        user = await self._author(request.id, context)
        draft = await _checked(request, context)
        await self._store.update_question(request.id, draft, user)
        return pb.QuestionRef(id=request.id)

    async def DeleteQuestion(self, request: pb.QuestionRef, context: Call) -> pb.Done:  # noqa: N802
        user = await self._author(request.id, context)
        await self._store.delete_question(request.id, user)
        return pb.Done()

    async def StarQuestion(self, request: pb.Star, context: Call) -> pb.Star:  # noqa: N802
        user = await _signed_in(context)
        exists, _ = await self._store.author_of(request.question_id)
        if not exists:
            await _not_found(context)
        await self._store.star(user, request.question_id, starred=request.starred)
        return request

    async def GetMyPage(self, request: pb.MyPageRequest, context: Call) -> pb.MyPage:  # noqa: ARG002, N802
        user = await _signed_in(context)
        name, total, days, past, mine, starred = await self._store.my_page(user)
        return pb.MyPage(
            name=name,
            answered=total["answered"],
            right=total["answered_right"],
            days=[pb.Day(date=d["day"], answered=d["answered"], right=d["answered_right"]) for d in days],
            past=[_past(row) for row in past],
            mine=[_question(row, user=user) for row in mine],
            starred=[_question(row, user=user) for row in starred],
        )

    async def SaveName(self, request: pb.Name, context: Call) -> pb.Name:  # noqa: N802
        user = await _signed_in(context)
        problem = rules.problem_of_name(request.name)
        if problem:
            await _refuse(context, [problem])
        await self._store.save_name(user, request.name.strip())
        return pb.Name(name=request.name.strip())

    async def ClearHistory(self, request: pb.ClearHistoryRequest, context: Call) -> pb.Done:  # noqa: ARG002, N802
        await self._store.clear_history(await _signed_in(context))
        return pb.Done()

    async def ReportQuestion(self, request: pb.Report, context: Call) -> pb.Done:  # noqa: N802
        if request.reason not in rules.REASONS:
            await _refuse(context, [rules.Problem("reason", "unknown")])
        if not await self._store.report(request.question_id, request.reason, _user()):
            await _not_found(context)
        return pb.Done()

    async def DecideReport(self, request: pb.Decision, context: Call) -> pb.Done:  # noqa: N802
        if request.decision not in rules.DECISIONS:
            await _refuse(context, [rules.Problem("decision", "unknown")])
        stands = await self._store.decide(request.report_id, request.decision)
        if stands is None:
            await _not_found(context)
        if stands != request.decision:
            await _abort(context, grpc.StatusCode.FAILED_PRECONDITION, "the report was decided otherwise before")
        return pb.Done()

    async def _question_row(self, question: int, user: str | None, context: Call) -> Row:
        row = await self._store.get_question(question, user)
        if row is None:
            await _not_found(context)
        return row

    async def _author(self, question: int, context: Call) -> str:
        user = await _signed_in(context)
        exists, author = await self._store.author_of(question)
        if not exists:
            await _not_found(context)
        if author != user:
            await _abort(context, grpc.StatusCode.PERMISSION_DENIED, "only its author may change a question")
        return user


def _user() -> str | None:
    """The user whose proof came with the call. A user id without proof is logged by dodai and never reaches this."""
    request = current()
    return request.user_id if request else None


async def _signed_in(context: Call) -> str:
    user = _user()
    if user is None:
        await _abort(context, grpc.StatusCode.UNAUTHENTICATED, "this needs somebody who is signed in")
    return user


async def _checked(request: pb.Draft, context: Call) -> rules.Draft:
    draft = rules.Draft.of(
        lang=request.lang,
        topic=request.topic,
        prompt=request.prompt,
        choices=request.choices,
        correct=request.correct,
        explanation=request.explanation,
    )
    problems = rules.problems_of(draft)
    if problems:
        await _refuse(context, problems)
    return draft


async def _refuse(context: Call, problems: Iterable[rules.Problem]) -> NoReturn:
    found = [pb.Problem(field=problem.field, what=problem.what) for problem in problems]
    words = ", ".join(f"{problem.field}: {problem.what}" for problem in found)
    own = (PROBLEMS_KEY, pb.Problems(problems=found).SerializeToString())
    await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, words, own)


async def _not_found(context: Call) -> NoReturn:
    await _abort(context, grpc.StatusCode.NOT_FOUND, "there is no such question")


async def _abort(context: Call, code: grpc.StatusCode, words: str, *more: tuple[str, bytes]) -> NoReturn:
    """Ends the call. What dodai has put into the trailing metadata (request id, release) stays there."""
    await context.abort(code, words, (*(context.trailing_metadata() or ()), *more))
    raise AssertionError("abort raises")


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _question(row: Row, *, solved: bool = False, user: str | None = None) -> pb.Question:
    author = row["author_id"]
    return pb.Question(
        id=row["id"],
        lang=row["lang"],
        topic=row["topic"],
        prompt=row["prompt"],
        choices=row.get("choices") or (),
        mine=author is not None and author == (user or _user()),
        starred=row["starred"],
        answered=row["answered"],
        answered_right=row["answered_right"],
        correct=row.get("correct") or 0 if solved else 0,
        explanation=row["explanation"] if solved else "",
        from_house=author is None,
    )


def _past(row: Row) -> pb.Past:
    return pb.Past(
        question_id=row["question_id"],
        prompt=row["prompt"],
        right=row["correct"],
        answered_at=row["answered_at"],
        deleted=row["deleted"],
    )
