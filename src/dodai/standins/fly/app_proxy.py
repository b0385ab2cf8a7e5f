"""Proxy of the stand-in: one address per app, each new connection led to the next machine that may have traffic.

A machine without services, as one of a group of workers, has none. It stands for all of Fly's proxies, which learn one
after another who is cordoned: of the connections while they do, every other one meets a proxy that knows.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
from collections.abc import Callable

from dodai.standins.fly.machine_process import FlyMachine

CHUNK = 64 * 1024


class AppProxy:
    """Listens on loopback for every app of an account, on a thread of its own."""

    def __init__(self, machines: Callable[[str], list[FlyMachine]]) -> None:
        self._machines = machines
        self._turns, self._proxies = itertools.count(), itertools.count()
        self._ports: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None] | None] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def port(self, app: str) -> int:
        """Where the app is reached, from the first time it is asked for."""
        if app not in self._ports:
            opened = asyncio.run_coroutine_threadsafe(self._open(app), self._loop)
            self._ports[app] = opened.result(5)
        return self._ports[app]

    def close(self) -> None:
        async def end() -> None:
            tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _open(self, app: str) -> int:
        async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            self._tasks.add(task)  # the loop itself keeps only a weak reference
            try:
                with contextlib.suppress(OSError):
                    await self._lead(app, reader, writer)
                await _close(writer)
            finally:
                self._tasks.discard(task)

        server = await asyncio.start_server(lead, "127.0.0.1", 0)
        self._tasks.add(self._loop.create_task(server.serve_forever()))
        port: int = server.sockets[0].getsockname()[1]
        return port

    async def _lead(self, app: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        proxy, machines = next(self._proxies), self._machines(app)
        well = [one for one in machines if one.is_well and one.port and one.config.get("services")]
        routable = [one for one in well if one.is_led_to(proxy)]
        for _ in routable:
            chosen = routable[next(self._turns) % len(routable)]
            try:
                there, back = await asyncio.open_connection("127.0.0.1", chosen.port)
            except OSError:
                continue  # it has just ended; the next one
            asking = asyncio.create_task(_pump(reader, back))
            try:
                await _pump(there, writer)  # what the visitor still sends has no reader once the machine has closed
            finally:
                asking.cancel()
                await asyncio.gather(asking, return_exceptions=True)
                await _close(back)
            return


async def _close(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while chunk := await reader.read(CHUNK):
            writer.write(chunk)
            await writer.drain()
    with contextlib.suppress(OSError, RuntimeError):
        writer.write_eof()
