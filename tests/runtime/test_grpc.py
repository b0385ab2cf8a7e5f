"""Real gRPC servers and channels on loopback: what travels, and the one line per RPC."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import grpc
import pytest
from grpc import aio
from tests.support.wait import until_async

import dodai.grpc
from dodai.core.request import bind, current, unbind
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.identity import ProofKeyRing

Config = Callable[..., RuntimeConfig]
Lines = Callable[..., list[dict[str, Any]]]


arrived = threading.Event()
WAY = {"watched": False}


@pytest.fixture(autouse=True, params=["interceptors", "watched"])
def _way(request: pytest.FixtureRequest) -> None:
    """Both ways to the same lines; imported by the other modules about RPCs."""
    WAY["watched"] = request.param == "watched"


class Aio:
    @staticmethod
    async def unary(request: bytes, context: Any) -> bytes:
        if request == b"boom":
            raise ValueError("taro@example.com")
        if request == b"missing":
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such quiz")
        if request == b"slow":
            arrived.set()
            await asyncio.sleep(30)
        if request == b"trailing":
            context.set_trailing_metadata([("x-own", "1")])
        return (current().user_id or "nobody").encode()

    @staticmethod
    async def down(request: bytes, _: Any) -> AsyncIterator[bytes]:
        for index in range(3):
            if request == b"boom" and index == 2:
                raise ValueError("taro@example.com")
            yield f"{index}:{current().request_id}".encode()
        if request == b"forever":
            await asyncio.sleep(30)

    @staticmethod
    async def up(requests: AsyncIterator[bytes], _: Any) -> bytes:
        return b"".join([item async for item in requests])

    @staticmethod
    async def both(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[bytes]:
        async for item in requests:
            yield item

    @staticmethod
    def plain(_request: bytes, _: Any) -> bytes:
        return current().request_id.encode()


class Threaded:
    @staticmethod
    def unary(request: bytes, context: Any) -> bytes:
        if request == b"boom":
            raise ValueError("taro@example.com")
        if request == b"missing":
            context.abort(grpc.StatusCode.NOT_FOUND, "no such quiz")
        return (current().user_id or "nobody").encode()

    @staticmethod
    def down(request: bytes, _: Any) -> Iterator[bytes]:
        for index in range(3):
            if request == b"boom" and index == 2:
                raise ValueError("taro@example.com")
            yield f"{index}:{current().request_id}".encode()

    @staticmethod
    def up(requests: Iterator[bytes], _: Any) -> bytes:
        return b"".join(requests)

    @staticmethod
    def both(requests: Iterator[bytes], _: Any) -> Iterator[bytes]:
        yield from requests


def handlers(of: Any) -> Any:
    methods = {
        "Unary": grpc.unary_unary_rpc_method_handler(of.unary),
        "Down": grpc.unary_stream_rpc_method_handler(of.down),
        "Up": grpc.stream_unary_rpc_method_handler(of.up),
        "Both": grpc.stream_stream_rpc_method_handler(of.both),
    }
    if hasattr(of, "plain"):
        methods["Plain"] = grpc.unary_unary_rpc_method_handler(of.plain)
    return grpc.method_handlers_generic_handler("quiz.Quiz", methods)


@asynccontextmanager
async def serving(server_config: RuntimeConfig, client_config: RuntimeConfig) -> AsyncIterator[aio.Channel]:
    server = watched_server(server_config)
    server.add_generic_rpc_handlers((handlers(Aio),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with watched_channel(f"127.0.0.1:{port}", client_config) as channel:
        yield channel
    await server.stop(None)


def watched_server(config: RuntimeConfig) -> Any:
    if WAY["watched"]:
        return dodai.grpc.watch_server(aio.server(), config=config)
    return aio.server(interceptors=dodai.grpc.aio_server_interceptors(config=config))


def watched_channel(address: str, config: RuntimeConfig, **named: Any) -> Any:
    if WAY["watched"]:
        return dodai.grpc.watch_channel(aio.insecure_channel(address), "backend", config=config, **named)
    given = dodai.grpc.aio_client_interceptors("backend", config=config, **named)
    return aio.insecure_channel(address, interceptors=given)


@contextmanager
def serving_threads(server_config: RuntimeConfig, client_config: RuntimeConfig) -> Iterator[grpc.Channel]:
    interceptors = dodai.grpc.server_interceptors(config=server_config)
    server = grpc.server(ThreadPoolExecutor(4), interceptors=interceptors)
    server.add_generic_rpc_handlers((handlers(Threaded),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as bare:
        yield grpc.intercept_channel(bare, *dodai.grpc.client_interceptors("backend", config=client_config))
    server.stop(None).wait()


@contextmanager
def request(config: RuntimeConfig, **values: Any) -> Iterator[Any]:
    context = Runtime.of(config).open(trusted=False)
    for name, value in values.items():
        setattr(context, name, value)
    token = bind(context)
    try:
        yield context
    finally:
        unbind(token)


async def test_id_and_proved_user_reach_the_server_line(config: Config, lines: Lines):
    """The server's line carries the caller's request id, user, and the caller's span as parent."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web"), user_id="花子") as context:
            answer = await channel.unary_unary("/quiz.Quiz/Unary")(b"x")
    assert answer.decode() == "花子"
    (line,) = lines("backend", "rpc")
    assert line["requestId"] == context.request_id
    assert line["traceId"] == context.trace_id
    assert line["parentSpanId"][:12] == context.span_id[:12]
    assert (line["rpc"], line["status"], line["outcome"], line["userId"]) == ("quiz.Quiz/Unary", "OK", "ok", "花子")
    assert context.rpc_count == 1
    assert context.rpc_ms > 0
    assert context.sub_lines is None


@pytest.mark.parametrize(
    "client",
    [
        {"identity_keys": ProofKeyRing()},
        {"identity_keys": ProofKeyRing.parse("k1:" + "A" * 43)},
        {"identity_keys": ProofKeyRing.parse("zz:" + "A" * 43)},
    ],
    ids=["no-proof", "wrong-key", "unknown-key"],
)
async def test_user_without_valid_proof_is_only_claimed(config: Config, lines: Lines, client: dict[str, Any]):
    """Without our key the id is minted anew, the user is `userClaimed` and never the user."""
    async with serving(config("backend"), config("web", **client)) as channel:
        with request(config("web"), user_id="u-1") as context:
            answer = await channel.unary_unary("/quiz.Quiz/Unary")(b"x")
    assert answer == b"nobody"
    (line,) = lines("backend", "rpc")
    assert line["requestId"] != context.request_id
    assert line["clientRequestId"] == context.request_id
    assert "userId" not in line
    assert line["userClaimed"] == "u-1"


async def test_proof_for_another_service_is_refused(config: Config, lines: Lines):
    """A proof made for `backend` proves nothing to `billing`."""
    async with serving(config("billing"), config("web")) as channel:
        with request(config("web"), user_id="u-1"):
            assert await channel.unary_unary("/quiz.Quiz/Unary")(b"x") == b"nobody"
    assert lines("billing", "rpc")[0]["userClaimed"] == "u-1"


async def test_application_cannot_override_our_metadata(config: Config, lines: Lines):
    """A `x-user-id` the application puts into metadata itself does not travel."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web"), user_id="u-1"):
            call = channel.unary_unary("/quiz.Quiz/Unary")
            assert await call(b"x", metadata=(("x-user-id", "root"), ("x-other", "1"))) == b"u-1"


async def test_handler_exception_is_internal_without_its_words(config: Config, lines: Lines, caplog: Any):
    """The caller gets INTERNAL and the request id; the message of the exception goes nowhere."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web")) as context, pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary("/quiz.Quiz/Unary")(b"boom")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert context.request_id in caught.value.details()
    (line,) = lines("backend", "rpc")
    assert (line["status"], line["outcome"], line["error"]) == ("INTERNAL", "server_error", "ValueError")
    assert "unary" in line["stack"]
    assert "taro" not in str(line) + caught.value.details() + caplog.text
    assert context.failed_dependency == "backend"
    assert context.sub_lines[0]["status"] == "INTERNAL"


async def test_abort_keeps_its_status_and_is_no_server_error(config: Config, lines: Lines):
    """NOT_FOUND is an answer: client_error on the server, no failed dependency at the caller."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web")) as context, pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary("/quiz.Quiz/Unary")(b"missing")
    assert caught.value.details() == "no such quiz"
    (line,) = await until_async(lambda: lines("backend", "rpc"))  # the answer leaves before its line is written
    assert (line["status"], line["outcome"]) == ("NOT_FOUND", "client_error")
    assert context.failed_dependency is None


async def test_every_reply_names_request_and_release(config: Config, lines: Lines):
    """Trailing metadata carries x-request-id and x-release, also beside the handler's own and on errors."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web")) as context:
            for message in (b"x", b"trailing", b"boom"):
                call = channel.unary_unary("/quiz.Quiz/Unary")(message)
                try:
                    await call
                    trailing = dict(await call.trailing_metadata())
                except aio.AioRpcError as error:
                    trailing = dict(error.trailing_metadata())
                assert (trailing["x-request-id"], trailing["x-release"]) == (context.request_id, "r1")


async def test_remaining_deadline_travels_and_is_a_timeout(config: Config, lines: Lines):
    """A request with 200 ms left gives its callee no more, and both sides say timeout."""
    async with serving(config("backend"), config("web")) as channel:
        left = time.monotonic() + 0.2
        with request(config("web"), deadline=left) as context, pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary("/quiz.Quiz/Unary")(b"slow", timeout=20)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        (line,) = await until_async(lambda: lines("backend", "rpc"))
    assert (line["status"], line["outcome"]) == ("DEADLINE_EXCEEDED", "timeout")
    assert context.sub_lines[0]["outcome"] == "timeout"


async def test_caller_that_gives_up_is_client_gone(config: Config, lines: Lines):
    """A cancelled call is CANCELLED and client_gone, not an error."""
    async with serving(config("backend"), config("web")) as channel:
        arrived.clear()
        task = asyncio.ensure_future(_ask(channel, b"slow"))
        await until_async(arrived.is_set)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (line,) = await until_async(lambda: lines("backend", "rpc"))
    assert (line["status"], line["outcome"]) == ("CANCELLED", "client_gone")


async def _ask(channel: aio.Channel, message: bytes) -> Any:
    return await channel.unary_unary("/quiz.Quiz/Unary")(message)


async def test_unknown_method_has_a_line_with_bounded_name(config: Config, lines: Lines):
    """A method that does not exist is UNIMPLEMENTED under one name, with its path kept beside."""
    async with serving(config("backend"), config("web")) as channel:
        with pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary("/quiz.Quiz/Nope")(b"x")
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    (line,) = lines("backend", "rpc")
    assert (line["rpc"], line["path"], line["status"]) == ("<unmatched>", "/quiz.Quiz/Nope", "UNIMPLEMENTED")


async def test_streams_have_one_line_each(config: Config, lines: Lines):
    """Down, up and both ways: one line, OK, the caller's id in the handler."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web")) as context:
            down = [item async for item in channel.unary_stream("/quiz.Quiz/Down")(b"x")]
            assert await channel.stream_unary("/quiz.Quiz/Up")(iter([b"a", b"b"])) == b"ab"
            both = [item async for item in channel.stream_stream("/quiz.Quiz/Both")(iter([b"a", b"b"]))]
    assert down == [f"{index}:{context.request_id}".encode() for index in range(3)]
    assert both == [b"a", b"b"]
    assert [(line["rpc"], line["status"]) for line in lines("backend", "rpc")] == [
        ("quiz.Quiz/Down", "OK"),
        ("quiz.Quiz/Up", "OK"),
        ("quiz.Quiz/Both", "OK"),
    ]
    assert context.rpc_count == 3


async def test_stream_that_fails_half_way_is_a_server_error(config: Config, lines: Lines):
    """Two messages and then an exception: INTERNAL on both sides."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web")) as context, pytest.raises(aio.AioRpcError):
            async for _ in channel.unary_stream("/quiz.Quiz/Down")(b"boom"):
                pass
    (line,) = lines("backend", "rpc")
    assert (line["status"], line["outcome"], line["error"]) == ("INTERNAL", "server_error", "ValueError")
    assert context.failed_dependency == "backend"


async def test_plain_function_on_asyncio_server_has_context(config: Config, lines: Lines):
    """grpc.aio runs plain functions in threads; the context is there and the line is written."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web")) as context:
            assert await channel.unary_unary("/quiz.Quiz/Plain")(b"x") == context.request_id.encode()
    assert lines("backend", "rpc")[0]["status"] == "OK"


async def test_call_outside_a_request_gets_an_id(config: Config, lines: Lines):
    """A health probe at start has no request; its callee's line is findable all the same."""
    async with serving(config("backend"), config("web")) as channel:
        await channel.unary_unary("/quiz.Quiz/Unary")(b"x")
    assert len(lines("backend", "rpc")[0]["requestId"]) == 32


def test_threaded_server_and_client_do_the_same(config: Config, lines: Lines):
    """grpc.server and grpc.intercept_channel: ids, user, statuses and totals as with asyncio."""
    with serving_threads(config("backend"), config("web")) as channel, request(config("web"), user_id="u-1") as context:
        assert channel.unary_unary("/quiz.Quiz/Unary")(b"x") == b"u-1"
        for message, status in ((b"boom", grpc.StatusCode.INTERNAL), (b"missing", grpc.StatusCode.NOT_FOUND)):
            with pytest.raises(grpc.RpcError) as caught:
                channel.unary_unary("/quiz.Quiz/Unary")(message)
            assert caught.value.code() is status
            assert "taro" not in caught.value.details()
        assert next(iter(list(channel.unary_stream("/quiz.Quiz/Down")(b"x")))) == f"0:{context.request_id}".encode()
        assert channel.stream_unary("/quiz.Quiz/Up")(iter([b"a", b"b"])) == b"ab"
        assert list(channel.stream_stream("/quiz.Quiz/Both")(iter([b"a"]))) == [b"a"]
        with pytest.raises(grpc.RpcError):
            channel.unary_unary("/quiz.Quiz/Nope")(b"x")
    assert [line["status"] for line in lines("backend", "rpc")] == [
        "OK",
        "INTERNAL",
        "NOT_FOUND",
        "OK",
        "OK",
        "OK",
        "UNIMPLEMENTED",
    ]
    assert {line["requestId"] for line in lines("backend", "rpc")} == {context.request_id}
    assert context.rpc_count == 7


def test_stream_that_is_given_up_leaves_no_request_behind(config: Callable[..., RuntimeConfig]):
    """Between two messages of a threaded stream nobody is current: the next RPC in the thread must not find its user."""
    from types import SimpleNamespace

    from dodai.grpc.server import _bound

    served = SimpleNamespace(context=Runtime(config("backend")).fresh())
    seen = []

    def behaviour():
        for number in range(2):
            seen.append(current())
            yield number

    before = current()
    messages = _bound(served, behaviour)
    assert [next(messages), current() is before] == [0, True]
    assert [next(messages), current() is before] == [1, True]
    assert seen == [served.context, served.context]
