"""Calls to the backend as the web tier makes them: with a proved user, with a claimed one, or with nobody."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

import grpc
from tests.quiz.stack import Stack

import dodai.grpc
from contract.quiz_pb2 import Draft
from contract.quiz_pb2_grpc import QuizStub
from dodai.core.request import bind, unbind
from dodai.runtime import Runtime, RuntimeConfig


@dataclass(slots=True)
class Caller:
    """`quiz` is the stub; inside `as_user` its calls carry the user with proof."""

    quiz: QuizStub
    runtime: Runtime

    @contextlib.contextmanager
    def as_user(self, user: str | None) -> Iterator[QuizStub]:
        context = self.runtime.open(trusted=False)
        context.user_id = user
        token = bind(context)
        try:
            yield self.quiz
        finally:
            unbind(token)


@contextlib.contextmanager
def calling(stack: Stack) -> Iterator[Caller]:
    config = RuntimeConfig.from_environment({**stack.environment("web"), "DODAI_STATE": ""})
    with grpc.insecure_channel(stack.addresses["backend"]) as channel:
        intercepted = grpc.intercept_channel(channel, *dodai.grpc.client_interceptors("backend", config=config))
        yield Caller(QuizStub(intercepted), Runtime(config))


def draft(prompt: str = "Which of these is a river?", question: int = 0) -> Draft:
    return Draft(
        id=question,
        lang="en",
        topic="places",
        prompt=prompt,
        choices=["The Kamo", "Mount Fuji", "Kyoto", "Biwa"],
        correct=1,
        explanation="It runs.",
    )


@contextlib.contextmanager
def refused(code: grpc.StatusCode) -> Iterator[None]:
    """Fails unless the block ends in a call refused with `code`."""
    try:
        yield
    except grpc.RpcError as error:
        assert error.code() is code, f"{error.code()}: {error.details()}"
    else:
        raise AssertionError(f"nothing was refused, {code} was expected")
