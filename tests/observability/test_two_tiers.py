"""A web tier and a backend over real sockets: the id a user reads off a page leads to the tier that failed."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx2
import pytest
import uvicorn
from grpc import aio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import dodai.asgi
import dodai.grpc
import dodai.psycopg
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.trace import Tree, find, main
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.identity import ProofKeyRing
from dodai.wiring.watch import lines_at

KEYS = ProofKeyRing.parse("k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY")
CHECK = runpy.run_path(str(Path(__file__).resolve().parents[2] / "spec" / "check_line.py"))


class Stack:
    """`backend` can be stopped; `http` talks to the web tier as a browser does."""

    def __init__(self, state: Path, url: str) -> None:
        self.state = state
        self.url = url
        self.http: httpx2.AsyncClient
        self.backend: aio.Server

    def config(self, service: str) -> RuntimeConfig:
        policy = ObservabilityPolicy(stdout=False, sample=0.0)
        return RuntimeConfig(service=service, env="test", state=self.state, identity_keys=KEYS, policy=policy)

    def lines(self) -> list[dict[str, Any]]:
        paths = sorted((self.state / "lines").glob("*.jsonl"))
        return [json.loads(raw) for path in paths for raw in path.read_bytes().splitlines()]

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Stack]:
        Runtime._current = Runtime(self.config("backend"))
        self.backend = aio.server(interceptors=dodai.grpc.aio_server_interceptors())
        self.backend.add_generic_rpc_handlers((self._handlers(),))
        port = self.backend.add_insecure_port("127.0.0.1:0")
        await self.backend.start()
        web = self.config("web")
        interceptors = dodai.grpc.aio_client_interceptors("backend", config=web)
        async with aio.insecure_channel(f"127.0.0.1:{port}", interceptors=interceptors) as channel:
            app = dodai.asgi.wrap(self._web(channel), config=web)
            server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning", proxy_headers=False))
            task = asyncio.ensure_future(server._serve())
            while not server.started:  # noqa: ASYNC110 - uvicorn has no event to wait for
                await asyncio.sleep(0.005)
            url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            async with httpx2.AsyncClient(base_url=url, headers={"accept": "text/html"}) as self.http:
                yield self
            server.should_exit = True
            await task
        await self.backend.stop(None)

    def _handlers(self) -> Any:
        async def answer(request: bytes, _: Any) -> bytes:
            async with await dodai.psycopg.AsyncConnection.connect(self.url, autocommit=True) as connection:
                for _ in range(3):
                    await connection.execute("SELECT 1")
                if request == b"slow":
                    await connection.execute("SELECT pg_sleep(30)")
                if request == b"broken":
                    raise ValueError("canary taro@example.com")
            return b"ok"

        return grpc.method_handlers_generic_handler(
            "quiz.Quiz", {"Answer": grpc.unary_unary_rpc_method_handler(answer)}
        )

    @staticmethod
    def _web(channel: aio.Channel) -> Starlette:
        async def answer(request: Request) -> Response:
            dodai.asgi.set_user("花子")
            call = channel.unary_unary("/quiz.Quiz/Answer")
            return PlainTextResponse(await call(request.path_params["how"].encode(), timeout=1.0))

        return Starlette(routes=[Route("/answer/{how}", answer)])


@pytest.fixture
async def stack(tmp_path: Path, database: str) -> AsyncIterator[Stack]:
    before = Runtime._current
    async with Stack(tmp_path / "state", database).running() as stack:
        yield stack
    Runtime._current = before


def shown_id(page: str) -> str:
    return re.search(r"<code>([0-9a-f]{32})</code>", page)[1]


async def test_every_line_of_a_request_has_id_user_status_and_latency(stack: Stack):
    """Two tiers, one id, one user; as many lines as requests; no orphan, no duplicate."""
    for _ in range(10):
        assert (await stack.http.get("/answer/fine")).text == "ok"
    lines = stack.lines()
    assert (
        [line["service"] for line in lines].count("web") == [line["service"] for line in lines].count("backend") == 10
    )
    assert CHECK["check_traffic"](lines) == []
    assert {line["userId"] for line in lines} == {"花子"}
    assert all(line["latencyMs"] > 0 and line["status"] in (200, "OK") for line in lines)
    tree = Tree(find(lines[0]["requestId"], [str(stack.state / "lines")]).lines)
    (web,) = tree.roots
    (backend,) = web.children
    assert backend.totals[0][:2] == ("sql", 3)
    assert tree.failure is None


@pytest.mark.parametrize(
    ("how", "status", "tier", "code"),
    [("broken", 500, "backend", "DOD061"), ("slow", 504, "database", "DOD065"), ("down", 503, "backend", "DOD064")],
)
async def test_id_on_the_error_page_leads_to_the_tier_that_failed(
    stack: Stack, capsys: Any, how: str, status: int, tier: str, code: str
):
    """An exception in the backend, a statement past the deadline, a backend that is gone."""
    if how == "down":
        await stack.backend.stop(None)
    response = await stack.http.get(f"/answer/{how}")
    assert response.status_code == status
    assert code in response.text
    request_id = shown_id(response.text)
    lines_folder = str(stack.state / "lines")
    if how == "slow":
        async with asyncio.timeout(5):
            while len(find(request_id, [lines_folder]).lines) < 4:  # noqa: ASYNC110 - lines appear in files
                await asyncio.sleep(0.02)
    assert main([request_id, "--state", str(stack.state)], lines_at) == 0
    out = capsys.readouterr().out
    assert f"failed: {tier}" in out
    assert "canary" not in out
    assert "taro" not in str(stack.lines()) + response.text
