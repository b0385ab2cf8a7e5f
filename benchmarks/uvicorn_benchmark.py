"""What one request costs under uvicorn, with the peers: real server processes, load from another process on loopback.

CPU time of the server process for each request, from `/proc`: requests a second would also measure the load generator,
which shares the cores. Linux only. Peers come from the `bench` extra; one that is not installed is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from observability_benchmark import CASES, Case, bare
from results import record

ROUNDS = 9
REQUESTS = 1600
CONNECTIONS = 8
TICKS = os.sysconf("SC_CLK_TCK")
HEAD = (
    b"GET /hello/taro HTTP/1.1\r\nhost: quiz.example\r\n"
    b"user-agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n"
    b"accept: text/html,application/xhtml+xml;q=0.9,*/*;q=0.8\r\naccept-language: ja,en;q=0.7\r\n"
    b"accept-encoding: gzip, deflate, br\r\nsec-fetch-site: same-origin\r\n"
    b"cookie: session=abcdefghijklmnopqrstuvwxyz\r\n"
)


def sentry(folder: Path) -> Any:
    import sentry_sdk
    from sentry_sdk.integrations.asgi import SentryAsgiMiddleware

    class Nowhere(sentry_sdk.Transport):  # type: ignore[misc]
        def capture_envelope(self, envelope: Any) -> None:
            """Throw away what would be sent."""

    sentry_sdk.init(
        dsn="http://key@127.0.0.1:9/1", transport=Nowhere, traces_sample_rate=1.0, default_integrations=False
    )
    return SentryAsgiMiddleware(bare(folder))


def logfire(folder: Path) -> Any:
    import logfire as library

    library.configure(send_to_logfire=False, console=False)
    return library.instrument_asgi(bare(folder))


ALL = (*CASES, Case("Sentry, traces 100 %", sentry), Case("Logfire, not sending", logfire))


def serve(name: str, folder: Path) -> None:
    """Run the case `name` and print its port; ends when standard input does."""
    import uvicorn

    app = next(case for case in ALL if case.id == name).build(folder)
    server = uvicorn.Server(uvicorn.Config(app, port=0, access_log=False, log_level="error", lifespan="off"))

    async def run() -> None:
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)
        await asyncio.to_thread(sys.stdin.read)
        server.should_exit = True
        await task

    asyncio.run(run())


async def load(port: int, head: bytes, count: int) -> None:
    """`count` requests over a few connections that stay open."""

    async def talk(share: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(share):
            writer.write(head)
            answer = await reader.readuntil(b"\r\n\r\n")
            if not answer.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(answer[:80].decode("latin-1"))
            await reader.readexactly(len(b"hello"))
        writer.close()

    await asyncio.gather(*(talk(count // CONNECTIONS) for _ in range(CONNECTIONS)))


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextlib.contextmanager
def serving(case: Case, folder: Path) -> Iterator[tuple[int, int] | None]:
    """(pid, port) of a server for `case`; None when its peer is not installed."""
    folder.mkdir()
    argv = [sys.executable, __file__, "--serve", case.id, str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        port = process.stdout.readline().strip()
        yield (process.pid, int(port)) if port else None
        process.stdin.close()


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="dodai-bench-") as folder, contextlib.ExitStack() as stack:
        servers = {}
        for number, case in enumerate(ALL):
            server = stack.enter_context(serving(case, Path(folder) / str(number)))
            if server is not None:
                servers[case.id] = (case, *server)
        times: dict[str, list[float]] = {name: [] for name in servers}
        for _ in range(ROUNDS):
            for name, (case, pid, port) in servers.items():
                head = HEAD + b"".join(b"%b: %b\r\n" % pair for pair in case.headers) + b"\r\n"
                before = cpu_s(pid)
                asyncio.run(load(port, head, REQUESTS))
                times[name].append((cpu_s(pid) - before) * 1e6 / REQUESTS)
    rows, base = [], min(times["bare Starlette"])
    mine = min(times["dodai: observability"]) - base
    for name, found in times.items():
        added = min(found) - base
        rows.append(
            (name, f"{min(found):.0f}", f"{statistics.median(found):.0f}", f"{added:.0f}", f"{added / mine:.1f}")
        )
    missing = [case.id for case in ALL if case.id not in servers]
    notes = (
        f"Minimum of {ROUNDS} interleaved rounds of {REQUESTS} requests over {CONNECTIONS} kept connections; CPU time"
    )
    notes += " of the server process, exporter threads included, load from another process."
    notes += f" Load of the machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    notes += f" Not installed here: {', '.join(missing)}." if missing else ""
    head = ("stack", "server CPU µs", "median", "added µs", "× dodai")
    record("observability-uvicorn", "One GET under uvicorn", head, rows, notes)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        serve(sys.argv[2], Path(sys.argv[3]))
    else:
        main()
