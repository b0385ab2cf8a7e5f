"""What the edge of a local environment costs a request: straight to the service, its stable address, the edge, Caddy.

Each is a process of its own, as is the service; the load comes over kept connections. Processor time of the process in
between is from `/proc`, so it does not measure the load generator. Linux only; without a `caddy` its row is left out.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from results import record, spread
from uvicorn_benchmark import HEAD, TICKS

from dodai.operations.ports import EdgeSpec
from dodai.providers.local.edge.listener import EdgeServer
from dodai.providers.local.fault_proxy import FaultProxy
from dodai.providers.local.loopback import loopback_port

ROUNDS, REQUESTS, CONNECTIONS, BODY_BYTES = 5, 1500, (1, 8), 2000
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: %d\r\n" % BODY_BYTES
Listen = Callable[[int], Awaitable[int]]


class Service(asyncio.Protocol):
    """Answers each GET with the same page, and ends the connection when asked to."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport, self.kept = transport, b""

    def data_received(self, data: bytes) -> None:
        *heads, self.kept = (self.kept + data).split(b"\r\n\r\n")
        for head in heads:
            last = b"connection: close" in head.lower()
            end = b"connection: close\r\n\r\n" if last else b"\r\n"
            self.transport.write(ANSWER + end + b"x" * BODY_BYTES)  # type: ignore[attr-defined]
            if last:
                self.transport.close()


async def service(_: int) -> int:
    server = await asyncio.get_running_loop().create_server(Service, "127.0.0.1", 0)
    return int(server.sockets[0].getsockname()[1])


async def stable_address(port: int) -> int:
    proxy = FaultProxy("web")
    proxy.point(("127.0.0.1", port), label="release")
    return await proxy.listen()


async def edge(port: int) -> int:
    """As the Host runs it: its service is reached through the stable address."""
    server = EdgeServer(Path(tempfile.mkdtemp()), "bench")
    server.serve(EdgeSpec(routes=(("/", "web"),)), "k" * 40, {"web": await stable_address(port)})
    return await server.listen()


def _run(listen: Listen, port: int, told: multiprocessing.SimpleQueue[int]) -> None:
    async def forever() -> None:
        told.put(await listen(port))
        await asyncio.Event().wait()

    asyncio.run(forever())


@contextmanager
def process(listen: Listen, port: int = 0) -> Iterator[tuple[int, int]]:
    """(pid, port) of what listens."""
    told: multiprocessing.SimpleQueue[int] = multiprocessing.SimpleQueue()
    started = multiprocessing.Process(target=_run, args=(listen, port, told), daemon=True)
    started.start()
    try:
        yield started.pid or 0, told.get()
    finally:
        started.kill()
        started.join()


@contextmanager
def caddy(port: int) -> Iterator[tuple[int, int]]:
    mine = loopback_port()
    told = f"{{\nadmin off\nauto_https off\n}}\nhttp://127.0.0.1:{mine} {{\nreverse_proxy 127.0.0.1:{port}\n}}\n"
    with tempfile.TemporaryDirectory() as home, Path(os.devnull).open("w") as nowhere:
        (file := Path(home) / "Caddyfile").write_text(told)
        words, env = ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"], os.environ | {"HOME": home}
        started = subprocess.Popen(words, env=env, stdout=nowhere, stderr=nowhere)
        try:
            time.sleep(2.0)
            yield started.pid, mine
        finally:
            started.kill()
            started.wait()


async def load(port: int, connections: int) -> None:
    async def visitor() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(REQUESTS // connections):
            writer.write(HEAD.replace(b"quiz.example", b"127.0.0.1") + b"\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            await reader.readexactly(BODY_BYTES)
        writer.close()

    await asyncio.gather(*(visitor() for _ in range(connections)))


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def main() -> int:
    with ExitStack() as stack:
        pid, port = stack.enter_context(process(service))
        between = {"straight to the service": (pid, port)}
        between["its stable address"] = stack.enter_context(process(stable_address, port))
        between["the edge"] = stack.enter_context(process(edge, port))
        if shutil.which("caddy"):
            between["Caddy, reverse-proxy"] = stack.enter_context(caddy(port))
        rates: dict[tuple[str, int], list[float]] = {(name, many): [] for name in between for many in CONNECTIONS}
        costs: dict[str, list[float]] = {name: [] for name in between}
        for _ in range(ROUNDS):
            for name, (pid, port) in between.items():
                before = cpu_s(pid)
                for many in CONNECTIONS:
                    began = time.perf_counter()
                    asyncio.run(load(port, many))
                    rates[name, many].append(REQUESTS // many * many / (time.perf_counter() - began))
                costs[name].append((cpu_s(pid) - before) / (REQUESTS * len(CONNECTIONS)) * 1e6)
    rows = [
        (name, *(spread(rates[name, many], "/s", 0) for many in CONNECTIONS), spread(costs[name], "µs", 0))
        for name in between
    ]
    one = CONNECTIONS[0]
    straight, through = (1e3 / statistics.median(rates[name, one]) for name in ("straight to the service", "the edge"))
    head = ("Way", *(f"{many} connection{'s' * (many > 1)}" for many in CONNECTIONS), "Processor time a request")
    record(
        "edge",
        "The edge of a local environment",
        head,
        rows,
        f"The edge adds {through - straight:.1f} ms at one connection.",
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
