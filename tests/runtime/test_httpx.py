"""HTTP calls to real servers on loopback, with httpx and httpx2: totals, ids, limits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx
import httpx2
import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

import dodai.asgi
import dodai.httpx
import dodai.wsgi
from dodai.core.request import RequestContext, bind, current, unbind
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.identity import ProofKeyRing
from dodai.runtime.limits import CircuitBreaker, DependencyUnavailableError

Config = Callable[..., RuntimeConfig]
LIMITS = {"deadline": 30.0, "retry_budget": 0.0, "breaker_failures": 3, "breaker_reset": 60.0}


class Server:
    """Answers each request with the next status of `statuses`, the last one for ever; 0 hangs."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)
        self.requests: list[dict[str, str]] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readuntil(b"\r\n\r\n"):
            pairs = (line.split(": ", 1) for line in head.decode().split("\r\n")[1:] if ": " in line)
            self.requests.append({name.lower(): value for name, value in pairs})
            status = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
            if status == 0:
                await asyncio.sleep(3600)
            writer.write(f"HTTP/1.1 {status} X\r\ncontent-length: 2\r\n\r\nok".encode())
            await writer.drain()


@asynccontextmanager
async def serving(*statuses: int) -> AsyncIterator[tuple[str, Server]]:
    server = Server(*statuses)
    tasks: set[asyncio.Task[Any]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.current_task())
        try:
            await server.serve(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    listener = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}", server
    listener.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture
def context(config: Config) -> Any:
    context = Runtime(config()).open(trusted=False)
    context.user_id = "u-1"
    token = bind(context)
    yield context
    unbind(token)


def client(library: Any, config: RuntimeConfig, **arguments: Any) -> Any:
    transport = dodai.httpx.AsyncTransport(
        library.AsyncHTTPTransport(), dependency="identity", config=config, **arguments
    )
    return library.AsyncClient(transport=transport, trust_env=False)


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
async def test_call_is_counted_and_a_foreign_service_gets_nothing(
    config: Config, context: RequestContext, library: Any
):
    """Totals grow; without an audience neither ids nor user nor proof leave."""
    async with serving(200) as (url, server), client(library, config()) as http:
        assert (await http.get(url)).text == "ok"
    assert context.http_count == 1
    assert context.http_ms > 0
    assert not {"x-request-id", "traceparent", "x-user-id", "x-identity-proof"} & server.requests[0].keys()


async def test_service_of_ours_gets_ids_user_and_proof(config: Config, context: RequestContext):
    """With an audience the callee can trust id and user."""
    async with serving(200) as (url, server), client(httpx2, config(), audience="grader") as http:
        await http.get(url)
    sent = server.requests[0]
    assert sent["x-request-id"] == context.request_id
    assert sent["traceparent"].startswith(f"00-{context.trace_id}-{context.span_id[:12]}")
    callee = Runtime(config("grader"))
    assert callee.proved(sent["x-identity-proof"], sent["x-request-id"].encode(), sent["x-user-id"])
    assert not Runtime(config("other")).proved(sent["x-identity-proof"], sent["x-request-id"].encode(), "u-1")


async def test_hanging_dependency_ends_at_its_deadline(config: Config, context: RequestContext):
    """A server that never answers costs the deadline of the manifest, not the client's own timeout."""
    limited = config(sections={"dependency": {"identity": {**LIMITS, "deadline": 0.5}}})
    async with serving(0) as (url, _), client(httpx2, limited) as http:
        started = time.monotonic()
        with pytest.raises(httpx2.ReadTimeout):
            await http.get(url, timeout=60)
    assert time.monotonic() - started < 5
    assert (context.failed_dependency, context.sub_lines[0]["outcome"]) == ("identity", "timeout")


async def test_breaker_opens_after_failures_in_a_row(config: Config, context: RequestContext):
    """Three 503 and the fourth call is refused here, without reaching the server."""
    limited = config(sections={"dependency": {"identity": LIMITS}})
    async with serving(503) as (url, server), client(httpx2, limited) as http:
        for _ in range(3):
            assert (await http.post(url)).status_code == 503
        with pytest.raises(DependencyUnavailableError):
            await http.post(url)
    assert len(server.requests) == 3


async def test_idempotent_call_is_retried_within_the_budget(config: Config, context: RequestContext):
    """GET is tried again after a 503, POST never; both attempts are counted."""
    limited = config(sections={"dependency": {"identity": {**LIMITS, "retry_budget": 0.1}}})
    async with serving(503, 200) as (url, server), client(httpx2, limited, audience="grader") as http:
        assert (await http.get(url)).status_code == 200
        assert [request.get("x-attempt") for request in server.requests] == [None, "2"]
        server.statuses = [503, 200]
        assert (await http.post(url)).status_code == 503
    assert context.http_count == 3


def test_blocking_client_does_the_same(config: Config, context: RequestContext):
    """`Transport` for `Client`: a refused connection is the dependency's failure."""
    transport = dodai.httpx.Transport(httpx2.HTTPTransport(), dependency="identity", config=config())
    with httpx2.Client(transport=transport, trust_env=False) as http, pytest.raises(httpx2.ConnectError):
        http.get("http://127.0.0.1:9/")
    assert (context.http_count, context.failed_dependency) == (1, "identity")
    assert context.sub_lines[0]["error"].endswith("ConnectError")


@settings(deadline=None, max_examples=50)
@given(st.lists(st.booleans(), max_size=200), st.floats(0, 0.5))
def test_retries_never_exceed_their_share(failures: list[bool], budget: float):
    """Whatever fails when, retries stay within the share of the calls plus the one that is there at the start."""
    guard = CircuitBreaker("x", retry_budget=budget)
    retries = 0
    for failed in failures:
        guard.enter()
        guard.leave(failed=failed)
        retries += failed and guard.may_retry()
    assert retries <= 1 + budget * len(failures) + 1e-9


def test_open_breaker_lets_one_call_through_to_try():
    """After the reset time one call passes; it closes the breaker if it succeeds, others wait if it does not."""
    now = 0.0
    guard = CircuitBreaker("x", breaker_failures=2, breaker_reset_s=2.0, clock=lambda: now)
    for _ in range(2):
        guard.enter()
        guard.leave(failed=True)
    with pytest.raises(DependencyUnavailableError):
        guard.enter()
    now = 2.0
    guard.enter()
    with pytest.raises(DependencyUnavailableError):
        guard.enter()
    guard.leave(failed=False)
    guard.enter()


async def left_asgi(scope: Any, _: Any, send: Any) -> None:
    """Answers with what is left of the request's deadline, in seconds."""
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": left()})


def left_wsgi(_: Any, start: Any) -> list[bytes]:
    start("200 OK", [])
    return [left()]


def left() -> bytes:
    deadline = current().deadline
    return b"none" if deadline is None else f"{deadline - time.monotonic():.3f}".encode()


@asynccontextmanager
async def both(config: RuntimeConfig) -> AsyncIterator[list[str]]:
    """The same application under uvicorn and under the WSGI server of the standard library; their addresses."""
    server = uvicorn.Server(
        uvicorn.Config(dodai.asgi.wrap(left_asgi, config=config), port=0, log_level="error", lifespan="off")
    )
    task = asyncio.create_task(server.serve())
    quiet = type("Quiet", (WSGIRequestHandler,), {"log_message": lambda *_: None})
    plain = make_server("127.0.0.1", 0, dodai.wsgi.wrap(left_wsgi, config=config), handler_class=quiet)
    thread = threading.Thread(target=plain.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    async with asyncio.timeout(10):
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
    try:
        port = server.servers[0].sockets[0].getsockname()[1]
        yield [f"http://127.0.0.1:{port}/", f"http://127.0.0.1:{plain.server_port}/"]
    finally:
        server.should_exit = True
        await task
        await asyncio.to_thread(plain.shutdown)
        plain.server_close()


async def test_remaining_deadline_travels_to_a_tier_of_ours(config: Config, context: RequestContext):
    """The next tier has what is left of the shorter one: the request's deadline or the dependency's."""
    sections = {"dependency": {"identity": {"deadline": 7.0}}}
    async with both(config("backend")) as urls:
        for url in urls:
            async with client(httpx2, config("web", sections=sections), audience="backend") as http:
                context.deadline = time.monotonic() + 3.0
                assert 1.0 < float((await http.get(url)).text) <= 3.0
                context.deadline = None
                assert 3.0 < float((await http.get(url)).text) <= 7.0
            async with client(httpx2, config("web"), audience="backend") as http:
                assert (await http.get(url)).text == "none"


async def test_deadline_without_a_proof_of_ours_is_ignored(config: Config, context: RequestContext):
    """From a client, from a tier with other keys, and towards a foreign service, which gets none."""
    context.deadline = time.monotonic() + 3.0
    async with both(config("backend")) as urls:
        for url in urls:
            async with httpx2.AsyncClient(trust_env=False) as plain:
                assert (await plain.get(url, headers={"x-deadline-ms": "1000"})).text == "none"
            strangers = config(
                "web", identity_keys=ProofKeyRing.parse("k9:YWJjZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXowMTIzNDU")
            )
            async with client(httpx2, strangers, audience="backend") as http:
                assert (await http.get(url)).text == "none"
    async with serving(200) as (url, server), client(httpx2, config("web")) as http:
        await http.get(url)
        assert "x-deadline-ms" not in server.requests[0]
