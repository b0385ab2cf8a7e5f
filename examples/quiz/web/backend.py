"""The backend as the pages see it: one method to ask it, and one table for what its refusals mean in HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from grpc import StatusCode
from grpc_health.v1 import health_pb2, health_pb2_grpc

import dodai.grpc
from contract import quiz_pb2 as pb
from contract.quiz_pb2_grpc import QuizStub

# The dependency's own deadline stands in dodai.toml; this one holds where no manifest is read.
CALL_TIMEOUT_S = 5.0
LOOK_TIMEOUT_S = 1.5
PROBLEMS_KEY = "quiz-problems-bin"

# What only reads; how often is `retry_budget` in dodai.toml. A write that was not answered may have happened.
TRIED_AGAIN = ("quiz.v1.Quiz/List*", "quiz.v1.Quiz/Get*", "quiz.v1.Quiz/Next*")

# A backend that is started anew is found again within a second.
CHANNEL_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 3_000),
)

HTTP_STATUS: Mapping[StatusCode, int] = {
    StatusCode.INVALID_ARGUMENT: 422,
    StatusCode.OUT_OF_RANGE: 422,
    StatusCode.UNAUTHENTICATED: 401,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.FAILED_PRECONDITION: 409,
    StatusCode.ABORTED: 409,
    StatusCode.RESOURCE_EXHAUSTED: 503,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.CANCELLED: 503,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.UNKNOWN: 500,
    StatusCode.INTERNAL: 500,
    StatusCode.DATA_LOSS: 500,
}


class BackendError(Exception):
    """The backend did not do what was asked. `problems` maps fields to words when the input was at fault."""

    def __init__(self, code: StatusCode, problems: Mapping[str, str]) -> None:
        super().__init__(code.name)
        self.code = code
        self.http_status = HTTP_STATUS.get(code, 500)
        self.problems = problems


class Backend:
    """A channel to the backend; `aclose` it."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.aio.insecure_channel(
            address,
            options=CHANNEL_OPTIONS,
            interceptors=dodai.grpc.aio_client_interceptors(dependency="backend", idempotent=TRIED_AGAIN),
        )
        self._quiz = QuizStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    async def aclose(self) -> None:
        await self._channel.close()

    async def list_questions(self, lang: str, topic: str) -> pb.QuestionList:
        return await self._ask("ListQuestions", pb.ListQuestionsRequest(lang=lang, topic=topic))

    async def get_question(self, question: int) -> pb.Question:
        return await self._ask("GetQuestion", pb.QuestionRef(id=question))

    async def next_question(self, lang: str, after: int) -> int:
        found = await self._ask("NextQuestion", pb.NextQuestionRequest(lang=lang, after=after))
        return int(found.id)

    async def answer(self, attempt: str, question: int, position: int) -> pb.Verdict:
        return await self._ask("AnswerQuestion", pb.Attempt(attempt=attempt, question_id=question, position=position))

    async def create_question(self, draft: pb.Draft) -> int:
        return int((await self._ask("CreateQuestion", draft)).id)

    async def update_question(self, draft: pb.Draft) -> None:
        await self._ask("UpdateQuestion", draft)

    async def delete_question(self, question: int) -> None:
        await self._ask("DeleteQuestion", pb.QuestionRef(id=question))

    async def star(self, question: int, *, starred: bool) -> bool:
        return bool((await self._ask("StarQuestion", pb.Star(question_id=question, starred=starred))).starred)

    async def report(self, question: int, reason: str) -> None:
        await self._ask("ReportQuestion", pb.Report(question_id=question, reason=reason))

    async def decide_report(self, report: int, decision: str) -> None:
        await self._ask("DecideReport", pb.Decision(report_id=report, decision=decision))

    async def my_page(self, lang: str) -> pb.MyPage:
        return await self._ask("GetMyPage", pb.MyPageRequest(lang=lang))

    async def save_name(self, name: str) -> None:
        await self._ask("SaveName", pb.Name(name=name))

    async def clear_history(self) -> None:
        await self._ask("ClearHistory", pb.ClearHistoryRequest())

    async def is_serving(self) -> bool:
        """Whether the backend says it can do its work; False too when it says nothing in time."""
        try:
            reply = await self._health.Check(health_pb2.HealthCheckRequest(), timeout=LOOK_TIMEOUT_S)
        except grpc.aio.AioRpcError:
            return False
        return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)

    async def _ask(self, method: str, message: Any) -> Any:
        try:
            return await getattr(self._quiz, method)(message, timeout=CALL_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            raise BackendError(error.code(), _problems(error)) from error


def _problems(error: grpc.aio.AioRpcError) -> dict[str, str]:
    for key, value in error.trailing_metadata() or ():
        if key == PROBLEMS_KEY and isinstance(value, bytes):
            return {problem.field: problem.what for problem in pb.Problems.FromString(value).problems}
    return {}
