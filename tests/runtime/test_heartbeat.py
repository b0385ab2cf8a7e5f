"""A process that serves says how it is, most of all when its event loop hangs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import dodai.asgi
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
