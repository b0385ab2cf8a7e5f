"""What `dodai watch` costs: lines counted a second, its page over thirty days of rollups, and a process that idles.

Usage: python benchmarks/watch_benchmark.py [tail] [page] [idle]; `DODAI_BENCH_SECONDS` (60) is how long it idles.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
from results import record, spread

from dodai.core.request import format_request_id
from dodai.observability.buckets import packed
from dodai.observability.line_format import dump
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.rollup import Store
from dodai.observability.rollup.cell import whole
from dodai.observability.run import Watched, Watcher
from dodai.observability.run.curves import SeenCells
from dodai.observability.run.watch_page import PageServer

ROUNDS = 5
LINES = 400_000
SERIES = 60
KINDS = (("http", "edge"), ("http", "web"), ("http", "web"), ("rpc", "backend"), ("dependency", "web"))
DAY_S = 86400
QUIZ = Path(__file__).parents[1] / "examples" / "quiz" / "dodai.toml"
RATE = 100


def visit(at: float, draw: random.Random) -> list[dict[str, Any]]:
    """The lines of one visit as edge, web tier and backend write them."""
    request_id = format_request_id(int(at * 1000), draw.getrandbits(74))
    ids = {"requestId": request_id, "traceId": request_id, "spanId": f"{draw.getrandbits(64):016x}"}
    latency_ms = round(draw.lognormvariate(2.5, 0.7), 3)
    route = f"/questions/{draw.randrange(12)}"
    base = {"ts": round(at, 3), "v": 1, "env": "bench", "version": "20261129-ab12", **ids}
    http = {"type": "http", "method": "GET", "route": route, "status": 200, "outcome": "ok"}
    web = {"service": "web", "instance": "101.ab12cd", "userId": "h:6f1d2c3b4a5968", "calls": "backend 2 0 6.1"}
    rpc = {"type": "rpc", "service": "backend", "instance": "102.ab12cd", "rpc": "quiz.v1.QuizService/GetQuestion"}
    return [
        {**base, **http, "service": "edge", "latencyMs": latency_ms + 2.0, "bytesOut": 5120},
        {**base, **http, **web, "latencyMs": latency_ms, "ttfbMs": latency_ms},
        {**base, **rpc, "status": "OK", "outcome": "ok", "latencyMs": 3.2, "calls": "database 3 0 2.0", "dbCount": 3},
    ]


def lines(count: int, now_s: float) -> bytes:
    draw = random.Random(7)
    visits = count // 3
    rows = [dump(line) for number in range(visits) for line in visit(now_s - (visits - number) / 1000, draw)]
    return b"".join(rows)


def tail(folder: Path) -> None:
    """From the file to the committed transaction, CPU time of the process; beside what parsing alone takes."""
    text = lines(LINES, time.time())
    file = folder / "lines" / "web.jsonl"
    file.parent.mkdir(parents=True)
    file.write_bytes(text)
    count = text.count(b"\n")
    counted, parsed, plain = [], [], []
    for _ in range(ROUNDS):
        shutil.rmtree(folder / "watch", ignore_errors=True)
        watcher = Watcher(Watched("bench", "bench", folder, ObservabilityPolicy()), {})
        began = time.process_time()
        assert watcher.read() == count
        counted.append(count / (time.process_time() - began) / 1000)
        watcher.store.close()
        for loads, into in ((orjson.loads, parsed), (json.loads, plain)):
            began = time.process_time()
            for line in text.splitlines():
                loads(line)
            into.append(count / (time.process_time() - began) / 1000)
    mine = statistics.median(counted)
    rows = [
        ("dodai: read, counted, stored", spread(counted, "k", 0), "1.00", "≥ 200"),
        ("orjson: parsed, nothing counted", spread(parsed, "k", 0), f"{statistics.median(parsed) / mine:.2f}", ""),
        (
            "json of Python: parsed, nothing counted",
            spread(plain, "k", 0),
            f"{statistics.median(plain) / mine:.2f}",
            "",
        ),
    ]
    notes = f"{count:,} lines, {len(text) / count:.0f} bytes each, of edge, web and backend; CPU time, {ROUNDS} rounds."
    head = ("", "1,000 lines a second of one core", "ratio", "budget")
    record("watch-tail", "Lines into rollups", head, rows, f"{notes} {_load()}")


def page(folder: Path) -> None:
    """`/data.json` over a connection that stays, as a page asks for it, each time after an evaluation; thirty days."""
    journeys = {f"Journey {number}": (f"GET /r{number}", f"POST /r{number}") for number in range(6)}
    watched = Watched("bench", "bench", folder, ObservabilityPolicy(), journeys=journeys, public="web")
    count = thirty_days(watched)
    server, rows = PageServer(watched, ("127.0.0.1", 0), "", tuple), []
    with server:
        page = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        for name, first in (("the first look", True), ("a page that renews itself", False)):
            walls, cpus, sizes = [], [], []
            for _ in range(4 * ROUNDS):
                server._seen = None
                server._read = SeenCells() if first else server._read
                began, used = time.perf_counter(), time.process_time()
                page.request("GET", "/data.json")
                body = page.getresponse().read()
                walls.append((time.perf_counter() - began) * 1000)
                cpus.append((time.process_time() - used) * 1000)
                sizes.append(len(body))
            rows.append((f"`/data.json`, {name}", spread(walls, "ms"), spread(cpus, "ms"), "< 20"))
    notes = f"15 minutes of 30 days; {SERIES} series, {count:,} cells, "
    notes += f"{watched.path.stat().st_size / 1e6:.0f} MB; {sizes[-1] / 1000:.0f} kB."
    head = ("", "wall", "CPU of server and client", "budget ms")
    record("watch-page", "The page's data over thirty days", head, rows, f"{notes} {_load()}")


def thirty_days(watched: Watched) -> int:
    """Rollups as a busy month leaves them; how many cells that is."""
    store, now_s = Store(watched.path, cell_s=watched.cell_s), int(time.time())
    with store.transaction() as database:
        for width, days in ((60, 30), (watched.cell_s, 2)):
            insert = "INSERT INTO cell VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
            database.executemany(insert, cells(now_s // width * width, width, days))
    count = int(store.database.execute("SELECT count(*) FROM cell").fetchone()[0])
    store.close()
    return count


def cells(end_s: int, width: int, days: int) -> Iterator[tuple[Any, ...]]:
    """The cells of every series, and those of the sums of each service, as `Store.keep` leaves them."""
    histogram = {15_625: 40, 22_097: 12, 31_250: 6, 62_500: 2}
    # as in life hardly any two cells are equal: what is worked out once for equal ones must not look cheap here
    draw, places = random.Random(7), Counter(KINDS[number % 5] for number in range(SERIES))
    kept = [packed({bound: 1 + draw.randrange(2 * one) for bound, one in histogram.items()}) for _ in range(4001)]
    sums = {place: packed({bound: count * one for bound, count in histogram.items()}) for place, one in places.items()}
    for at in range(end_s - days * DAY_S, end_s, width):
        for number in range(SERIES):
            kind, service = KINDS[number % 5]
            name = f"{'GET ' if kind == 'http' else ''}/r{number}"
            data = kept[(at // width * SERIES + number) % len(kept)]
            yield width, at, kind, service, name, 60, 0, 0, 1200.0, 0.0, data, "", "a" * 32, 62.5
        for (kind, service), one in places.items():
            yield (
                width,
                at,
                whole(kind),
                service,
                "",
                60 * one,
                0,
                0,
                1200.0 * one,
                0.0,
                sums[kind, service],
                "",
                "",
                0.0,
            )


def idle(folder: Path) -> None:
    """A real `dodai watch` beside `RATE` requests a second through three tiers, and a Prometheus that scrapes it."""
    seconds = float(os.environ.get("DODAI_BENCH_SECONDS", "60"))
    thirty_days(Watched("bench", "local", folder, ObservabilityPolicy()))
    argv = [sys.executable, "-m", "dodai", "watch", "--state", str(folder), "--listen", f"127.0.0.1:{free_port()}"]
    with contextlib.ExitStack() as stack:
        stack.enter_context(visitors(folder / "lines"))
        watch = stack.enter_context(running([*argv, "--manifest", str(QUIZ)], folder))
        known = {"dodai watch": watch}
        if shutil.which("prometheus"):
            known["Prometheus, which scrapes that"] = stack.enter_context(prometheus(folder, argv[-1]))
        time.sleep(10.0)  # imports and the first evaluation are not idling
        before = {name: cpu_s(process.pid) for name, process in known.items()}
        began = time.monotonic()
        time.sleep(seconds)
        lasted = time.monotonic() - began
        shares = {name: (cpu_s(process.pid) - before[name]) / lasted for name, process in known.items()}
        sizes = {name: rss_mb(process.pid) for name, process in known.items()}
    budget = {"dodai watch": "≤ 1 %, ≤ 60 MB"}
    rows = [(name, f"{shares[name]:.2%}", f"{sizes[name]:.0f}", budget.get(name, "")) for name in known]
    notes = f"{RATE} requests a second, three lines each, for {seconds:.0f} s,"
    notes += f" over thirty days of rollups; the page is not open. {_load()}"
    record("watch-idle", "A watch at rest", ("process", "of one core", "MB", "budget"), rows, notes)


@contextlib.contextmanager
def visitors(folder: Path) -> Iterator[None]:
    """`RATE` visits a second as the lines that they leave."""
    folder.mkdir(parents=True, exist_ok=True)
    done, draw = threading.Event(), random.Random(7)

    def write() -> None:
        with (folder / "all.jsonl").open("ab", buffering=0) as file:
            while not done.wait(0.1):
                rows = [line for _ in range(RATE // 10) for line in visit(time.time(), draw)]
                file.write(b"".join(dump(line) for line in rows))

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


@contextlib.contextmanager
def running(argv: list[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{Path(argv[0]).name}.log").open("wb") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def prometheus(folder: Path, target: str) -> Iterator[subprocess.Popen[bytes]]:
    config = {"scrape_configs": [{"job_name": "dodai", "static_configs": [{"targets": [target]}]}]}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    words = [
        "--config.file=prometheus.yml",
        "--storage.tsdb.path=data",
        f"--web.listen-address=127.0.0.1:{free_port()}",
    ]
    with running(["prometheus", *words], folder) as process:
        yield process


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def _load() -> str:
    return f"Load of the machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."


def main() -> None:
    for name in sys.argv[1:] or ["tail", "page", "idle"]:
        with tempfile.TemporaryDirectory(prefix="dodai-bench-") as folder:
            {"tail": tail, "page": page, "idle": idle}[name](Path(folder))


if __name__ == "__main__":
    main()
