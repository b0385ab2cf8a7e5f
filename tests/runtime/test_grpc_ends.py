"""How RPCs end: streams written by hand or given up, messages nobody can read or write, methods nobody has."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from grpc import aio
from tests.runtime.test_grpc import Aio, handlers, request, serving, watched_channel, watched_server
from tests.runtime.test_grpc import _way as _way  # noqa: PLC0414 - the fixture, for this module too
from tests.support.wait import until_async

import dodai.grpc
from dodai.core.request import bind, unbind
from dodai.runtime import Runtime, RuntimeConfig

Config = Callable[..., RuntimeConfig]
Lines = Callable[..., list[dict[str, Any]]]


async def test_client_stream_can_be_written_by_hand(config: Config, lines: Lines):
    """`write()` goes through before there is an answer, and the call is counted when it is over."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web")) as context:
            call = channel.stream_unary("/quiz.Quiz/Up")(timeout=5)
            await call.write(b"a")
            await call.write(b"b")
            await call.done_writing()
            assert await call == b"ab"
            await until_async(lambda: context.rpc_count == 1)
    assert [(line["rpc"], line["status"]) for line in lines("backend", "rpc")] == [("quiz.Quiz/Up", "OK")]


async def test_stream_that_is_given_up_is_counted(config: Config, lines: Lines):
    """A caller that has seen enough made a call all the same, and the server's line says who left."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web")) as context:
            call = channel.unary_stream("/quiz.Quiz/Down")(b"forever")
            async for _ in call:
                break
            call.cancel()
            await until_async(lambda: context.rpc_count == 1)
            assert [line["status"] for line in context.sub_lines or ()] in ([], ["CANCELLED"])
    (line,) = await until_async(lambda: lines("backend", "rpc"))
    assert (line["status"], line["outcome"]) == ("CANCELLED", "client_gone")


async def test_stream_that_fails_is_counted_as_failed(config: Config):
    """The status of the call is that of the stream."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web")) as context:
            with pytest.raises(aio.AioRpcError):
                _ = [message async for message in channel.unary_stream("/quiz.Quiz/Down")(b"boom")]
            await until_async(lambda: context.rpc_count == 1)
            assert [(line["status"], line["outcome"]) for line in context.sub_lines] == [("INTERNAL", "server_error")]


async def test_unknown_method_is_the_callers_mistake(config: Config, lines: Lines):
    """A scanner raises no alert; a caller of ours sees that its own call failed."""
    async with serving(config("backend"), config("web")) as channel:
        with request(config("web")), pytest.raises(aio.AioRpcError):
            await channel.unary_unary("/quiz.Quiz/Nothing")(b"")
    (line,) = lines("backend", "rpc")
    assert (line["status"], line["outcome"], line["rpc"]) == ("UNIMPLEMENTED", "client_error", "<unmatched>")


async def answer(message: Any, _: Any) -> Any:
    return object() if message.get("unwritable") else message


@asynccontextmanager
async def json_channel(server: RuntimeConfig, client: RuntimeConfig, threads: bool) -> AsyncIterator[Any]:
    """A method whose messages are JSON, so that some cannot be read or written."""
    call: Any = (lambda message, _: message) if threads else answer
    handler = grpc.unary_unary_rpc_method_handler(call, json.loads, lambda value: json.dumps(value).encode())
    serving = watched_server(server)
    serving.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("j.J", {"Echo": handler}),))
    port = serving.add_insecure_port("127.0.0.1:0")
    await serving.start()
    async with watched_channel(f"127.0.0.1:{port}", client) as channel:
        yield channel
    await serving.stop(None)


@pytest.mark.parametrize("threads", [False, True])
async def test_request_that_cannot_be_read_is_an_error_with_a_line(config: Config, lines: Lines, threads: bool):
    """The line has the caller's id, and the caller is not told what the reader said."""
    async with json_channel(config("backend"), config("web"), threads) as channel:
        with request(config("web")) as context, pytest.raises(aio.AioRpcError) as caught:
            await channel.unary_unary("/j.J/Echo")(b"{taro@example.com")
    (line,) = lines("backend", "rpc")
    assert (line["requestId"], line["status"], line["outcome"]) == (context.request_id, "INTERNAL", "server_error")
    assert line["error"] == "json.decoder.JSONDecodeError"
    assert "taro" not in str(caught.value)


async def test_answer_that_cannot_be_written_is_an_error_with_a_line(config: Config, lines: Lines):
    """The handler returned, and the caller got nothing: `OK` would be a lie."""
    async with json_channel(config("backend"), config("web"), False) as channel:
        with request(config("web")):
            assert await channel.unary_unary("/j.J/Echo")(b'{"fine": 1}') == b'{"fine": 1}'
            with pytest.raises(aio.AioRpcError):
                await channel.unary_unary("/j.J/Echo")(b'{"unwritable": 1}')
    fine, failed = lines("backend", "rpc")
    assert (fine["status"], failed["status"], failed["outcome"]) == ("OK", "UNKNOWN", "server_error")
    assert failed["error"] == "TypeError"


def unary(message: Any, servicer: Any) -> Any:
    if message.get("missing"):
        servicer.set_code(grpc.StatusCode.NOT_FOUND)
        servicer.set_details("no such quiz")
        return None
    return object() if message.get("unwritable") else message


def stream(message: Any, _: Any) -> Iterator[Any]:
    yield {"first": True}
    yield object() if message.get("unwritable") else message


@pytest.mark.parametrize("method", ["Echo", "Stream"])
def test_answer_of_a_threaded_server_that_cannot_be_written_is_an_error_with_a_line(
    config: Config, lines: Lines, method: str
):
    """What the client sees is what the line says; a status that was set without a message stays."""
    write = lambda value: json.dumps(value).encode()  # noqa: E731
    handlers = {
        "Echo": grpc.unary_unary_rpc_method_handler(unary, json.loads, write),
        "Stream": grpc.unary_stream_rpc_method_handler(stream, json.loads, write),
    }
    server = grpc.server(ThreadPoolExecutor(2), interceptors=dodai.grpc.server_interceptors(config=config("backend")))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("j.J", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    seen = []
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        make = channel.unary_unary if method == "Echo" else channel.unary_stream
        for asked in ({"a": 1}, {"unwritable": True}, *([{"missing": True}] if method == "Echo" else [])):
            try:
                answer = make(f"/j.J/{method}")(json.dumps(asked).encode(), timeout=5)
                seen.append(("OK", answer if method == "Echo" else list(answer)[-1]))
            except grpc.RpcError as error:
                seen.append((error.code().name, error.details()))
    server.stop(None).wait()
    told = [(line["status"], line["outcome"], line.get("error")) for line in lines("backend", "rpc")]
    assert seen[0] == ("OK", b'{"a": 1}')
    assert seen[1][0] == "INTERNAL"
    assert "request id" in seen[1][1]
    assert told[:2] == [("OK", "ok", None), ("INTERNAL", "server_error", "TypeError")]
    assert seen[2:] == ([("NOT_FOUND", "no such quiz")] if method == "Echo" else [])
    assert [line[0] for line in told[2:]] == ["NOT_FOUND"] * len(seen[2:])


async def test_watched_call_is_counted_however_its_caller_takes_it(config: Config):
    """Awaited twice, asked for its status alone, or dropped: one call in the totals each."""
    backend, web = config("backend"), config("web")
    server = dodai.grpc.watch_server(aio.server(), config=backend)
    server.add_generic_rpc_handlers((handlers(Aio),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with dodai.grpc.watch_channel(aio.insecure_channel(f"127.0.0.1:{port}"), config=web) as channel:
        unary = channel.unary_unary("/quiz.Quiz/Unary")
        with request(web) as context:
            call = unary(b"x")
            assert (await call, await call) == (b"nobody", b"nobody")
            assert (context.rpc_count, await call.code()) == (1, grpc.StatusCode.OK)
            asked = unary(b"x", metadata=(("x-own", "1"), ("x-request-id", "forged-00000001")), timeout=20)
            assert await asked.code() is grpc.StatusCode.OK
            assert dict(await asked.trailing_metadata())["x-request-id"] == context.request_id
            await until_async(lambda: context.rpc_count == 2)
            dropped = unary(b"slow")
            await asyncio.sleep(0)
            del dropped
            gc.collect()
            assert context.rpc_count == 3
    await server.stop(None)


async def test_proof_is_made_once_for_the_calls_of_a_user_and_checked_once(config: Config, lines: Lines):
    """Each request keeps its own id; another user gets another proof."""
    seen: list[tuple[str, str]] = []

    async def unary(_: bytes, context: Any) -> bytes:
        sent = dict(context.invocation_metadata())
        seen.append((sent["x-identity-proof"], sent["x-request-id"]))
        return b""

    backend, web = config("backend"), config("web")
    server = watched_server(backend)
    methods = {"Unary": grpc.unary_unary_rpc_method_handler(unary)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("quiz.Quiz", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with watched_channel(f"127.0.0.1:{port}", web) as channel:
        call = channel.unary_unary("/quiz.Quiz/Unary")
        runtime = Runtime.of(web)
        for user in ("u-1", "u-1", "u-2"):
            context = runtime.open(trusted=False)
            context.user_id = user
            token = bind(context)
            await call(b"")
            unbind(token)
    await server.stop(None)
    proofs, ids = [proof for proof, _ in seen], [request_id for _, request_id in seen]
    assert [line["userId"] for line in lines("backend", "rpc")] == ["u-1", "u-1", "u-2"]
    assert [line["requestId"] for line in lines("backend", "rpc")] == ids
    assert (len(set(ids)), len(set(proofs)), proofs[0][:3]) == (3, 2, "p2.")
