"""Calls that are tried again, over real gRPC: which ones, how often, and never more than the budget."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import aio
from tests.runtime.test_grpc import _way as _way  # noqa: PLC0414 - the fixture, for this module too
from tests.runtime.test_grpc import request, watched_channel
from tests.support.wait import until_async

from dodai.runtime import RuntimeConfig

Config = Callable[..., RuntimeConfig]
CALLS, AT_ONCE = 500, 25


class Failing:
    """A backend that refuses as UNAVAILABLE what `fails` says of its how-manieth call it is; counts what arrives.

    With `ours` as a tier of ours does, which puts the request id on every answer.
    """

    def __init__(self, fails: Callable[[int], bool], *, ours: bool = False) -> None:
        self.fails = fails
        self.ours = ours
        self.arrived: Counter[str] = Counter()
        self.attempts: list[str] = []

    async def answer(self, name: str, context: Any) -> bytes:
        self.arrived[name] += 1
        sent = dict(context.invocation_metadata())
        self.attempts.append(sent.get("x-attempt", "1"))
        if self.ours:
            context.set_trailing_metadata([("x-request-id", str(sent["x-request-id"]))])
        if self.fails(sum(self.arrived.values())):
            await context.abort(grpc.StatusCode.UNAVAILABLE, "not now")
        return b""

    def handlers(self) -> Any:
        def unary(name: str) -> Any:
            async def method(_: bytes, context: Any) -> bytes:
                return await self.answer(name, context)

            return grpc.unary_unary_rpc_method_handler(method)

        async def follow(_: bytes, context: Any) -> AsyncIterator[bytes]:
            yield await self.answer("Follow", context)

        own = {name: unary(name) for name in ("GetQuiz", "Save")}
        own["Follow"] = grpc.unary_stream_rpc_method_handler(follow)
        return grpc.method_handlers_generic_handler("quiz.Quiz", own)


@asynccontextmanager
async def calling(config: Config, backend: Failing, **limits: Any) -> AsyncIterator[Callable[[str], Any]]:
    server = aio.server()
    server.add_generic_rpc_handlers((backend.handlers(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    section = {"deadline": 30.0, "retry_budget": 0.1, "breaker_failures": 0, "breaker_reset": 60.0, **limits}
    own = config(sections={"dependency": {"backend": section}})
    async with watched_channel(f"127.0.0.1:{port}", own, idempotent=("quiz.Quiz/Get*",)) as channel:

        async def call(name: str) -> str:
            try:
                if name == "Follow":
                    _ = [message async for message in channel.unary_stream("/quiz.Quiz/Follow")(b"")]
                else:
                    await channel.unary_unary(f"/quiz.Quiz/{name}")(b"")
            except grpc.RpcError as error:
                return str(error.code().name)
            return "OK"

        yield call
    await server.stop(None)


async def crowd(call: Callable[[str], Any], name: str) -> Counter[str]:
    """How `CALLS` calls ended, `AT_ONCE` of them under way at any time."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one() -> str:
        async with places:
            return str(await call(name))

    return Counter(await asyncio.gather(*(one() for _ in range(CALLS))))


async def test_idempotent_call_that_was_not_answered_is_tried_again(config: Config):
    """Nobody sees that the first attempt failed; the backend is told which attempt it is."""
    backend = Failing(lambda number: number == 1)
    async with calling(config, backend) as call:
        assert await call("GetQuiz") == "OK"
    assert backend.attempts == ["1", "2"]


async def test_write_is_never_tried_again(config: Config):
    """It may have happened."""
    backend = Failing(lambda number: number == 1)
    async with calling(config, backend) as call:
        assert await call("Save") == "UNAVAILABLE"
    assert backend.attempts == ["1"]


@pytest.mark.parametrize("one_in", [1, 3, 20], ids=["all fail", "a third fails", "a twentieth fails"])
async def test_retries_add_at_most_a_tenth_to_the_load(config: Config, one_in: int):
    """Hundreds of calls that may be tried again, many at once, and what really arrived at the backend."""
    backend = Failing(lambda number: number % one_in == 0)
    async with calling(config, backend) as call:
        ended = await crowd(call, "GetQuiz")
    asked, arrived = sum(ended.values()), backend.arrived["GetQuiz"]
    assert asked == CALLS
    assert asked < arrived <= asked * 1.1 + 1, ended


async def test_breaker_stops_calls_and_their_retries(config: Config):
    """A backend that always fails sees a handful of hundreds of calls."""
    backend = Failing(lambda _: True)
    async with calling(config, backend, breaker_failures=5) as call:
        ended = await crowd(call, "GetQuiz")
    assert ended == {"UNAVAILABLE": CALLS}
    assert backend.arrived["GetQuiz"] <= AT_ONCE + 5


@pytest.mark.parametrize("name", ["Save", "Follow"])
@pytest.mark.parametrize("ours", [False, True], ids=["nobody of ours", "a tier of ours"])
async def test_breaker_stays_closed_for_a_tier_that_answers(config: Config, name: str, ours: bool):
    """A reply with our request id proves that the tier is up, whatever it could not do; without one nobody answered.

    The line of a call that the open breaker kept from being made says so.
    """
    backend = Failing(lambda _: True, ours=ours)
    async with calling(config, backend, breaker_failures=3) as call:
        with request(config("web")) as context:
            assert {await call(name) for _ in range(8)} == {"UNAVAILABLE"}
            await until_async(lambda: context.rpc_count == 8)
    assert (backend.arrived[name] == 8) is ours
    refused = [line for line in context.sub_lines if line.get("reason") == "breaker_open"]
    assert len(refused) == 8 - backend.arrived[name]
