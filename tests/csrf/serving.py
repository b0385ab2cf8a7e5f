"""The layer behind a real server on a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

import httpx2
import uvicorn
from tests.csrf.driver import Handler, guarded


class Stage:
    """The part of a rehearsal's stage that the drills use."""

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self.url = url
        self.request = client.request


@contextlib.asynccontextmanager
async def serving(app=None, origins=None, **policy):
    """The layer behind uvicorn; the public origin is where it listens unless others are given."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    app = guarded(app or Handler(), origins=origins or [url], clock=time.time, **policy)
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None))
    task = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        async with httpx2.AsyncClient(base_url=url, timeout=10) as client:
            yield Stage(url, client)
    finally:
        server.should_exit = True
        await task
        listener.close()
