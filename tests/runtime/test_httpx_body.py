"""The body belongs to the call: its time, its failure and its bound."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import Any

import httpx
import httpx2
import pytest
from tests.runtime.test_httpx import client, context  # noqa: F401 - a fixture

import dodai.httpx
from dodai.core.request import RequestContext
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.limits import DependencyUnavailableError

Config = Callable[..., RuntimeConfig]
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
DEADLINE_S = 0.5
PIECE_S = 0.1


def limited(config: Config, **more: Any) -> RuntimeConfig:
    limits = {"deadline": DEADLINE_S, "retry_budget": 0.0, "breaker_failures": 3, "breaker_reset": 60.0, **more}
    return config(sections={"dependency": {"identity": limits}})


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    path = (await reader.readuntil(b"\r\n\r\n")).split()[1]
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 40\r\nconnection: close\r\nx-filler: yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy\r\n\r\n"
    try:
        if path == b"/slow-head":
            for byte in head:
                writer.write(bytes([byte]))
                await asyncio.sleep(PIECE_S)
        writer.write(head)
        if path == b"/cut":
            writer.write(b"abc")
            await writer.drain()
            writer.transport.abort()
            return
        for _ in range(40):
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0 if path == b"/fast" else PIECE_S)
    except ConnectionError:
        pass
    finally:
        writer.close()


@asynccontextmanager
async def dripping() -> AsyncIterator[str]:
    tasks: list[asyncio.Task[Any]] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.current_task())
        await answer(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@LIBRARIES
@pytest.mark.parametrize("path", ["/slow-body", "/slow-head"])
async def test_deadline_bounds_head_and_body_together(config: Config, context: RequestContext, library: Any, path: str):  # noqa: F811
    """A server that sends a byte now and then keeps nobody for longer than the deadline."""
    async with dripping() as url, client(library, limited(config)) as http:
        begun = perf_counter()
        with pytest.raises(library.ReadTimeout):
            await http.get(url + path)
        assert perf_counter() - begun < DEADLINE_S + 0.5  # the bound that is promised to a user
    (line,) = context.sub_lines
    assert (line["outcome"], context.failed_dependency, context.http_count) == ("timeout", "identity", 1)
    assert context.http_ms >= DEADLINE_S * 900


@LIBRARIES
async def test_body_that_breaks_off_is_a_failed_call(config: Config, context: RequestContext, library: Any):  # noqa: F811
    """200 in its head does not make it an answer; the breaker hears of it, too."""
    limits = limited(config, deadline=20.0)
    async with dripping() as url, client(library, limits) as http:
        for _ in range(3):
            with pytest.raises(library.RemoteProtocolError):
                await http.get(url + "/cut")
        with pytest.raises(DependencyUnavailableError):
            await http.get(url + "/fast")
    assert [line["outcome"] for line in context.sub_lines] == ["server_error"] * 4
    assert context.sub_lines[-1]["reason"] == "breaker_open"


@LIBRARIES
async def test_whole_and_given_up_bodies_are_counted_once(config: Config, context: RequestContext, library: Any):  # noqa: F811
    """When the last byte is read, or when the caller closes before."""
    async with dripping() as url, client(library, limited(config, deadline=20.0)) as http:
        assert len((await http.get(url + "/fast")).content) == 40
        assert context.http_count == 1
        async with http.stream("GET", url + "/slow-body") as response:
            async for _ in response.aiter_raw():
                break
        assert (context.http_count, context.sub_lines) == (2, None)
    assert context.totals["identity"][:2] == [2, 0]


def test_blocking_client_ends_within_its_deadline(config: Config):
    """Between two pieces the deadline is looked at, and no single read waits longer."""
    loop = asyncio.new_event_loop()
    ready, urls, stop = threading.Event(), [], asyncio.Event()

    async def serve() -> None:
        async with dripping() as url:
            urls.append(url)
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()))
    thread.start()
    ready.wait(10)
    Runtime.of(limited(config))
    transport = dodai.httpx.Transport(httpx.HTTPTransport(), dependency="identity", config=limited(config))
    begun = perf_counter()
    with httpx.Client(transport=transport, trust_env=False) as http, pytest.raises(httpx.ReadTimeout):
        http.get(urls[0] + "/slow-body")
    assert perf_counter() - begun < 2 * DEADLINE_S + 0.5
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()


@LIBRARIES
async def test_tier_of_ours_that_answers_503_is_up(config: Config, context: RequestContext, library: Any):  # noqa: F811
    """Its request id on the answer proves it: what it calls is down, and its breaker is the one to open."""

    def respond(request: Any) -> Any:
        return library.Response(503, headers={"x-request-id": "a" * 32} if request.url.path == "/ours" else {})

    for path, refused in (("/ours", False), ("/edge", True)):
        transport = dodai.httpx.AsyncTransport(
            library.MockTransport(respond), dependency="identity", audience="backend", config=limited(config)
        )
        async with library.AsyncClient(transport=transport) as http:
            for _ in range(3):
                assert (await http.post("http://backend" + path)).status_code == 503
            if refused:
                with pytest.raises(DependencyUnavailableError):
                    await http.post("http://backend" + path)
            else:
                assert (await http.post("http://backend" + path)).status_code == 503
