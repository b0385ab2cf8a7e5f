"""`python -m web`: serves on 127.0.0.1:$PORT until SIGTERM, then finishes what it began and leaves with 0."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterator

import uvicorn

from web.app import app, life

# New visitors are told to go elsewhere for this long before the door closes: kept-alive connections get their
# `Connection: close`, and whoever asks /readyz learns of it.
NOTICE_S = 0.3
DRAIN_S = 8


class Server(uvicorn.Server):
    """uvicorn, except that being asked to stop is not an error: it would end by the signal again and not with 0."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def main() -> None:
    server = Server(
        uvicorn.Config(
            app,
            host="127.0.0.1",
            port=int(os.environ["PORT"]),
            access_log=False,
            log_level="warning",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=DRAIN_S,
        )
    )
    leaving: set[asyncio.Task[None]] = set()

    async def leave() -> None:
        life.leaving = True
        await asyncio.sleep(NOTICE_S)
        server.should_exit = True

    def on_signal() -> None:
        if not leaving:
            leaving.add(asyncio.ensure_future(leave()))

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    await server.serve()


if __name__ == "__main__":
    asyncio.run(main())
