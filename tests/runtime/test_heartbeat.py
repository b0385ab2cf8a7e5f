"""A process that serves says how it is, most of all when its event loop hangs."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from concurrent import futures
from contextlib import asynccontextmanager
from typing import Any

import grpc
import httpx2
import pytest
from grpc import aio
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from tests.support.wait import until_async

import dodai.asgi
import dodai.grpc
from dodai.observability.policy import ObservabilityPolicy
from dodai.runtime import RuntimeConfig

Config = Callable[..., RuntimeConfig]
Lines = Callable[..., list[dict[str, Any]]]
BEATING = ObservabilityPolicy(stdout=False, sample=0.0, heartbeat_s=0.05)
HANG_S = 0.6


async def test_hung_event_loop_is_in_the_heartbeat(config: Config, lines: Lines):
    """The thread that says so is not the one that hangs; requests in flight are counted."""
    hung = []

    async def hang(_: Any) -> Any:
        if not hung:
            hung.append(time.sleep(HANG_S))  # noqa: ASYNC251 - this is the fault
        return PlainTextResponse("ok")

    app = dodai.asgi.wrap(Starlette(routes=[Route("/", hang)]), config=config(policy=BEATING))
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://testserver") as client:
        await client.get("/")
        deadline = time.monotonic() + 20
        while not any(line.get("inFlight") == 0 for line in lines("web", "event")):
            assert time.monotonic() < deadline
            await asyncio.sleep(0.01)
    beats = [line for line in lines("web", "event") if line["name"] == "heartbeat"]
    assert beats[0]["inFlight"] == 1
    assert max(line["loopLagMs"] for line in beats) >= BEATING.heartbeat_s * 1000 * 0.9
    assert {line["dropped"] for line in beats} == {0}


async def test_without_a_period_there_is_no_heartbeat(config: Config, lines: Lines):
    """Where a metrics process of one's own does the same."""
    app = dodai.asgi.wrap(Starlette(), config=config())
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://testserver") as client:
        await client.get("/")
    assert app.runtime.heartbeat is None


async def test_heartbeat_tells_open_breakers_and_pools(config: Config, lines: Lines):
    """Which calls are refused now, and whether requests wait for a connection; nothing where all is well."""

    class Pool:
        """What `psycopg_pool` tells of itself."""

        def get_stats(self) -> dict[str, int]:
            return {"pool_min": 1, "pool_max": 10, "pool_size": 4, "pool_available": 1, "requests_waiting": 2}

    limits = {"dependency": {"backend": {"breaker_failures": 1, "breaker_reset": 60.0}}}
    app = dodai.asgi.wrap(
        Starlette(routes=[Route("/", lambda _: PlainTextResponse("ok"))]),
        config=config(policy=BEATING, sections=limits),
    )
    pool, runtime = Pool(), app.runtime
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://testserver") as client:
        await client.get("/")
        await beaten(lines, lambda line: "pools" not in line and "breakersOpen" not in line)
        runtime.pools[pool] = "database"
        runtime.guard("backend").leave(failed=True)
        await beaten(lines, lambda line: line.get("pools") == "database 3 10 2" and line["breakersOpen"] == "backend")
        runtime.guard("backend").leave(failed=False)
        del pool
        gc.collect()
        seen = len(lines("web", "event"))
        await beaten(lines, lambda line: "pools" not in line and "breakersOpen" not in line, behind=seen + 1)


async def test_process_that_is_asked_to_end_says_so(config: Config, lines: Lines):
    """At the end of the lifespan, before the application's own end; one that is killed has no such line."""
    ended = []

    @asynccontextmanager
    async def lifespan(_: Any) -> AsyncIterator[None]:
        yield
        ended.append([line["name"] for line in lines("web", "event")])

    app = dodai.asgi.wrap(Starlette(lifespan=lifespan), config=config(policy=BEATING))
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        if message["type"] == "lifespan.startup.complete":
            assert lines("web", "event") == []

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    assert ended == [["stopping"]]


async def test_watched_grpc_server_says_that_it_is_stopped(config: Config, lines: Lines):
    """A service with interceptors says it itself: `dodai.runtime.stopping()`."""
    server = dodai.grpc.watch_server(aio.server(), config=config(policy=BEATING))
    await server.start()
    assert lines("web", "event") == []
    await server.stop(None)
    assert [line["name"] for line in lines("web", "event")] == ["stopping"]


async def test_grpc_services_beat_from_their_first_call_on(config: Config, lines: Lines):
    """By interceptors and watched; in an event loop the beat says how late that is, with threads it says nothing."""
    with futures.ThreadPoolExecutor(1) as pool:
        ways = {
            "intercepted": lambda ours: aio.server(interceptors=dodai.grpc.aio_server_interceptors(config=ours)),
            "watched": lambda ours: dodai.grpc.watch_server(aio.server(), config=ours),
            "threads": lambda ours: grpc.server(pool, interceptors=dodai.grpc.server_interceptors(config=ours)),
        }
        for service, make in ways.items():
            server = make(config(policy=BEATING, service=service))
            port, started = server.add_insecure_port("127.0.0.1:0"), server.start()
            if started is not None:
                await started
            async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                with pytest.raises(grpc.RpcError):
                    await channel.unary_unary("/a.B/Missing")(b"")
            await until_async(lambda service=service: lines(service, "event"))
            assert ("loopLagMs" in lines(service, "event")[0]) is (service != "threads")
            ended = server.stop(None)
            if started is not None:
                await ended


async def test_grpc_service_tells_how_many_calls_it_serves(config: Config, lines: Lines):
    """One that waits is in flight, and no longer once it is answered."""
    answered = asyncio.Event()

    async def wait(_: bytes, __: Any) -> bytes:
        await answered.wait()
        return b"ok"

    server = dodai.grpc.watch_server(aio.server(), config=config(policy=BEATING))
    methods = {"Wait": grpc.unary_unary_rpc_method_handler(wait)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a.B", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary("/a.B/Wait")(b"")
        await beaten(lines, lambda line: line["inFlight"] == 1)
        behind = len(lines("web", "event"))
        answered.set()
        assert await call == b"ok"
        await beaten(lines, lambda line: line["inFlight"] == 0, behind)
    await server.stop(None)


async def beaten(lines: Lines, wanted: Callable[[dict[str, Any]], bool], behind: int = 0) -> None:
    """Wait for a heartbeat behind the first `behind` events."""
    deadline = time.monotonic() + 30
    while not any(line["name"] == "heartbeat" and wanted(line) for line in lines("web", "event")[behind:]):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
