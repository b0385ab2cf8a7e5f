"""What one request costs beside its peers, and how long `dodai trace` takes among millions of lines.

Peers come from the `bench` extra; one that is not installed is left out. `DODAI_BENCH_LINES` (default 10,000,000) sets
how many lines the lookup has to find its request among.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from apart import Answers, Apart
from results import record, spread
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

import dodai.asgi
from dodai.core.request import format_request_id
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.segment import seal_all
from dodai.runtime import RuntimeConfig

ROUNDS = 15
SEGMENTS = (50, 8000)
REQUESTS = 1000
CONCURRENT = 16
IDLE_S = 0.01
EDGE_KEY = b"edge-key-0123456789"
CSRF_KEYS = "abcd:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY"
HEADERS = [
    (b"host", b"quiz.example"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
    (b"accept-language", b"ja,en;q=0.7"),
    (b"accept-encoding", b"gzip, deflate, br"),
    (b"sec-fetch-site", b"same-origin"),
    (b"cookie", b"session=abcdefghijklmnopqrstuvwxyz"),
]
FROM_EDGE = [
    (b"x-edge-key", EDGE_KEY),
    (b"x-request-id", b"01a20a154cc271afb17c548fca6d98ca"),
    (b"traceparent", b"00-01a20a154cc271afb17c548fca6d98ca-b7ad6b7169203331-01"),
    (b"x-forwarded-for", b"203.0.113.9"),
]


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    build: Callable[[Path], Any]
    headers: tuple[tuple[bytes, bytes], ...] = ()
    budget: str = ""


async def hello(_: Request) -> PlainTextResponse:
    return PlainTextResponse("hello")


def bare(_: Path) -> Any:
    return Starlette(routes=[Route("/hello/{name}", hello)])


def dodai_layers(folder: Path, *, stdout: bool = False, edge: bool = False, csrf: bool = False) -> Any:
    key = folder / "edge.key"
    key.write_bytes(EDGE_KEY)
    config = RuntimeConfig(
        service="web",
        env="bench",
        release="r1",
        state=folder,
        policy=ObservabilityPolicy(stdout=stdout),
        edge_key_file=key if edge else None,
        csrf_keys=CSRF_KEYS if csrf else "",
        csrf_off="" if csrf else "what observability alone costs",
        origins=("https://quiz.example",) if csrf else (),
    )
    return dodai.asgi.wrap(bare(folder), config=config)


def correlation_id(folder: Path) -> Any:
    from asgi_correlation_id import CorrelationIdMiddleware

    return CorrelationIdMiddleware(bare(folder))


def structlog_line(folder: Path) -> Any:
    import orjson
    import structlog

    stream = (folder / "structlog.jsonl").open("ab")
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(serializer=orjson.dumps),
        ],
        logger_factory=structlog.BytesLoggerFactory(file=stream),
        cache_logger_on_first_use=True,
    )
    log = structlog.get_logger()

    def write(**fields: Any) -> None:
        log.info("request", **fields)

    return LineMiddleware(bare(folder), write)


def python_json_logger(folder: Path) -> Any:
    from pythonjsonlogger.json import JsonFormatter

    handler = logging.FileHandler(folder / "logger.jsonl")
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(message)s"))
    log = logging.getLogger("bench")
    log.setLevel(logging.INFO)
    log.propagate = False
    log.addHandler(handler)
    return LineMiddleware(bare(folder), lambda **fields: log.info("request", extra=fields))


def instrumentator(folder: Path) -> Any:
    from prometheus_client import CollectorRegistry
    from prometheus_fastapi_instrumentator import Instrumentator

    app = bare(folder)
    Instrumentator(registry=CollectorRegistry()).instrument(app)
    return app


def otel(folder: Path, inner: Any = None) -> Any:
    from opentelemetry.instrumentation.asgi import OpenTelemetryMiddleware
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

    class Nowhere(SpanExporter):
        def export(self, _spans: Any) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere()))
    return OpenTelemetryMiddleware(inner or bare(folder), tracer_provider=provider)


def typical(folder: Path) -> Any:
    from asgi_correlation_id import CorrelationIdMiddleware

    app = instrumentator(folder)
    line = structlog_line(folder)
    line.app = app
    return otel(folder, CorrelationIdMiddleware(line))


class LineMiddleware:
    """What teams write by hand around a logger: one line per request with status and duration."""

    def __init__(self, app: Any, write: Callable[..., None]) -> None:
        self.app = app
        self.write = write

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def watched(message: Any) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            took = (time.perf_counter() - began) * 1000
            self.write(method=scope["method"], path=scope["path"], status=status, latency_ms=took)


CASES = (
    Case("bare Starlette", bare),
    Case("dodai: observability", dodai_layers, budget="≤ 10"),
    Case("dodai: observability + stdout copy", lambda folder: dodai_layers(folder, stdout=True)),
    Case("dodai: observability, a client's own id and trace", dodai_layers, tuple(FROM_EDGE[1:3])),
    Case("dodai: observability behind the edge", lambda folder: dodai_layers(folder, edge=True), tuple(FROM_EDGE)),
    Case("dodai: all layers", lambda folder: dodai_layers(folder, edge=True, csrf=True), tuple(FROM_EDGE), "≤ 15"),
    Case("asgi-correlation-id (id only)", correlation_id),
    Case("structlog + orjson (line only)", structlog_line),
    Case("python-json-logger (line only)", python_json_logger),
    Case("prometheus-fastapi-instrumentator", instrumentator),
    Case("OTel ASGI, traces", otel),
    Case("OTel + instrumentator + correlation id + structlog", typical),
)


def scope(headers: tuple[tuple[bytes, bytes], ...]) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": "/hello/taro",
        "raw_path": b"/hello/taro",
        "query_string": b"",
        "root_path": "",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("203.0.113.9", 5000),
        "headers": [*HEADERS, *headers],
    }


async def receive() -> dict[str, Any]:
    return {"type": "http.request", "body": b"", "more_body": False}


async def send(_: Any) -> None:
    return None


async def cpu_us(app: Callable[..., Awaitable[None]], headers: tuple[tuple[bytes, bytes], ...]) -> float:
    scopes = [scope(headers) for _ in range(REQUESTS)]
    began = time.process_time()
    for each in scopes:
        await app(each, receive, send)
    return (time.process_time() - began) * 1e6 / REQUESTS


async def cold_us(app: Callable[..., Awaitable[None]], headers: tuple[tuple[bytes, bytes], ...]) -> float:
    """CPU of one request after the process was idle: caches and branch predictors are somebody else's by then."""
    await asyncio.sleep(IDLE_S)
    one = scope(headers)
    began = time.thread_time_ns()
    await app(one, receive, send)
    return (time.thread_time_ns() - began) / 1000


def answers(case_id: str, folder: Path) -> Answers:
    case = next(case for case in CASES if case.id == case_id)
    app = case.build(folder)
    return {
        "hot": lambda: asyncio.run(cpu_us(app, case.headers)),
        "cold": lambda: asyncio.run(cold_us(app, case.headers)),
    }


def requests(folder: Path) -> None:
    apps: dict[str, tuple[Case, Apart]] = {}
    missing = []
    for case in CASES:
        own = folder / case.id.replace(" ", "-").replace("/", "-")
        own.mkdir()
        app = Apart(answers, case.id, own)
        if app.missing:
            missing.append(f"{case.id} ({app.missing})")
        else:
            apps[case.id] = (case, app)
    times: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(ROUNDS):
        for name, (_, app) in apps.items():
            times[name].append(app.ask("hot"))
    cold: dict[str, list[float]] = {name: [] for name in apps}
    for _ in range(ROUNDS * 3):
        for name, (_, app) in apps.items():
            cold[name].append(app.ask("cold"))
    cold_base = statistics.median(cold["bare Starlette"])
    base = min(times["bare Starlette"])
    mine = min(times["dodai: observability"]) - base
    rows = []
    for name, (case, _) in apps.items():
        added = min(times[name]) - base
        chilled = statistics.median(cold[name]) - cold_base
        figures = (f"{min(times[name]):.1f}", f"{added:.1f}", f"{added / mine:.1f}", f"{chilled:.0f}")
        rows.append((name, *figures, case.budget))
    notes = f"Minimum of {ROUNDS} interleaved rounds of {REQUESTS} requests, CPU time of the process."
    notes += f" Load of the machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    notes += f" Not installed here: {', '.join(missing)}." if missing else ""
    notes += f" Cold: median of {ROUNDS * 3} single requests, each after {IDLE_S * 1000:.0f} ms of idleness."
    notes += (
        " Of what observability adds, writing the line is 3.1 µs and putting it together 2.3 (2026-11-30: left out)."
    )
    notes += (
        " A segment in a mapped file that was allocated ahead takes 1.5 to 1.9 µs less a GET and nothing measurable"
    )
    notes += (
        " less an RPC. It was not built: an open segment would end in zero bytes, which `grep` calls binary and `jq`"
    )
    notes += " and `tail -f` cannot read."
    head = ("stack", "µs", "added µs", "× dodai", "added cold, µs", "budget µs")
    record("observability-request", "One GET in process", head, rows, notes)


async def echo(request: bytes, _: Any) -> bytes:
    return request


def bare_rpc(_: Path) -> tuple[list[Any], list[Any]]:
    return [], []


def dodai_rpc(folder: Path) -> tuple[list[Any], list[Any]]:
    import dodai.grpc
    from dodai.runtime.identity import ProofKeyRing

    shared = {
        "state": folder,
        "policy": ObservabilityPolicy(stdout=False),
        "identity_keys": ProofKeyRing.parse(CSRF_KEYS),
    }
    server = dodai.grpc.aio_server_interceptors(config=RuntimeConfig(service="backend", **shared))
    client = dodai.grpc.aio_client_interceptors("backend", config=RuntimeConfig(service="web", **shared))
    return server, client


def watched_rpc(folder: Path) -> tuple[Any, Any]:
    """The same without interceptors: (what wraps the server, what wraps the channel)."""
    import dodai.grpc
    from dodai.runtime.identity import ProofKeyRing

    shared = {
        "state": folder,
        "policy": ObservabilityPolicy(stdout=False),
        "identity_keys": ProofKeyRing.parse(CSRF_KEYS),
    }
    backend, web = RuntimeConfig(service="backend", **shared), RuntimeConfig(service="web", **shared)
    return (
        lambda server: dodai.grpc.watch_server(server, config=backend),
        lambda channel: dodai.grpc.watch_channel(channel, "backend", config=web),
    )


def otel_rpc(_: Path) -> tuple[list[Any], list[Any]]:
    from opentelemetry.instrumentation.grpc import aio_client_interceptors, aio_server_interceptor
    from opentelemetry.sdk.trace import TracerProvider

    provider = TracerProvider()
    return [aio_server_interceptor(provider)], aio_client_interceptors(provider)


def floor_rpc(_: Path) -> tuple[list[Any], list[Any]]:
    """Interceptors that compute nothing and send what the wire format asks for: what no implementation can go below."""
    import grpc
    from grpc import aio

    wrapped: dict[str, Any] = {}

    class Server(aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            handler = await continuation(details)
            if details.method not in wrapped:
                serve = _with_trailing(handler.unary_unary)
                wrapped[details.method] = grpc.unary_unary_rpc_method_handler(serve)
            return wrapped[details.method]

    class Client(aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation: Any, details: Any, message: Any) -> Any:
            one, two = os.urandom(16).hex(), os.urandom(32).hex()
            sent = (("x-request-id", one), ("traceparent", f"00-{one}-{two[:16]}-01"), ("x-identity-proof", two))
            more = aio.ClientCallDetails(
                details.method, details.timeout, sent, details.credentials, details.wait_for_ready
            )
            return await continuation(more, message)

    return [Server()], [Client()]


def idle_rpc(_: Path) -> tuple[list[Any], list[Any]]:
    """Interceptors that do nothing: what the machinery of grpc.aio costs by itself."""
    from grpc import aio

    class Server(aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            return await continuation(details)

    class Client(aio.UnaryUnaryClientInterceptor):
        async def intercept_unary_unary(self, continuation: Any, details: Any, message: Any) -> Any:
            return await continuation(details, message)

    return [Server()], [Client()]


def _with_trailing(inner: Callable[..., Awaitable[bytes]]) -> Callable[..., Awaitable[bytes]]:
    async def serve(message: bytes, servicer: Any) -> bytes:
        servicer.set_trailing_metadata((("x-request-id", os.urandom(16).hex()),))
        return await inner(message, servicer)

    return serve


RPC_CASES = (
    Case("bare grpc.aio", bare_rpc),
    Case("interceptors that do nothing", idle_rpc),
    Case("interceptors that only send the same metadata", floor_rpc),
    Case("dodai, server side only", lambda folder: (dodai_rpc(folder)[0], [])),
    Case("dodai, client side only", lambda folder: ([], dodai_rpc(folder)[1])),
    Case("dodai, interceptors", dodai_rpc),
    Case("dodai, `watch_server` and `watch_channel`", watched_rpc, budget="≤ 0.35"),
    Case("OTel", otel_rpc),
)


async def rpcs(folder: Path) -> None:
    """Unary calls, client and server in one process, so that CPU time covers both sides."""
    import grpc
    from grpc import aio

    alone: dict[str, list[float]] = {}
    beside: dict[str, list[float]] = {}
    async with contextlib.AsyncExitStack() as stack:
        calls = {}
        for case in RPC_CASES:
            try:
                server_side, client_side = case.build(folder / "rpc")
            except ImportError:
                continue
            server, given = aio.server(interceptors=server_side if isinstance(server_side, list) else []), server_side
            server = server if isinstance(given, list) else given(server)
            handlers = {"Echo": grpc.unary_unary_rpc_method_handler(echo)}
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Bench", handlers),))
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            stack.push_async_callback(server.stop, None)
            watched = not isinstance(client_side, list)
            channel = aio.insecure_channel(f"127.0.0.1:{port}", interceptors=[] if watched else client_side)
            channel = await stack.enter_async_context(client_side(channel) if watched else channel)
            calls[case.id] = channel.unary_unary("/bench.Bench/Echo")
            alone[case.id], beside[case.id] = [], []
        for _ in range(ROUNDS * 4):  # short rounds: the minimum is of a moment in which nobody else was busy
            for name, call in calls.items():
                began = time.process_time()
                for _ in range(REQUESTS // 16):
                    await call(b"x")
                alone[name].append((time.process_time() - began) * 1e6 / (REQUESTS // 16))
                began = time.process_time()
                for _ in range(REQUESTS // 256):
                    await asyncio.gather(*(call(b"x") for _ in range(CONCURRENT)))
                beside[name].append((time.process_time() - began) * 1e6 / (REQUESTS // 256 * CONCURRENT))
    rows = []
    for case in RPC_CASES:
        if case.id in alone:
            cells = [f"{min(alone[case.id]):.0f}"]
            for times in (alone, beside):
                base, peer = min(times["bare grpc.aio"]), times.get("OTel", times["bare grpc.aio"])
                added = min(times[case.id]) - base
                cells += [f"{added:.0f}", f"{added / max(min(peer) - base, 1.0):.2f}"]
            rows.append((case.id, *cells, case.budget))
    notes = "dodai: id, trace, user with proof, deadline, totals and a line; OTel: traces without an exporter. The"
    notes += " interceptor machinery and the metadata alone are the floor above."
    notes += f" Load of the machine meanwhile: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    head = ("both sides", "µs", "added µs", "× OTel", f"added at {CONCURRENT} at once, µs", "× OTel", "budget × OTel")
    record("observability-rpc", "One unary RPC", head, rows, notes)


def lookups(folder: Path, count: int) -> None:
    rows, notes = [], ""
    for segments in SEGMENTS:
        state = folder / str(segments)
        wanted = generate(state / "lines", count, count // segments)
        began = time.perf_counter()
        sealed = seal_all(str(state / "lines"))
        sealing = time.perf_counter() - began
        found, note = looked_up(state, wanted, beside_grep=segments == SEGMENTS[0])
        rows += found
        notes += f"{count:,} lines, {note}; sealing took {sealing / sealed:.3f} s a segment. "
        shutil.rmtree(state)
    told_lookups(rows, notes)


def looked_up(state: Path, wanted: dict[str, str], *, beside_grep: bool) -> tuple[list[tuple[str, ...]], str]:
    """The rows of one folder of sealed segments, and what is in it."""
    files = list((state / "lines").glob("*.jsonl"))
    rows = []
    for name, request_id in wanted.items():
        argv = [sys.executable, "-m", "dodai", "trace", request_id, "--state", str(state)]
        took = [taken_ms(argv) for _ in range(ROUNDS)]
        walls, processors = zip(*took, strict=True)
        rows.append((f"{len(files):,} segments, {name}", spread(walls, "ms"), spread(processors, "ms"), "< 100"))
    if beside_grep and (grep := shutil.which("grep")):
        command = f"{grep} -F {wanted['newest minted id']} {state}/lines/*.jsonl"
        wall, processor = taken_ms(["sh", "-c", command])
        rows.append(("`grep -F`", spread([wall], "ms"), spread([processor], "ms"), ""))
    size = sum(path.stat().st_size for path in files) / 1e9
    return rows, f"{size:.1f} GB in {len(files):,} segments"


def told_lookups(rows: list[tuple[str, ...]], notes: str) -> None:
    bare = [taken_ms([sys.executable, "-c", "pass"]) for _ in range(ROUNDS)]
    walls, processors = zip(*bare, strict=True)
    rows.append(("`python -c pass`", spread(walls, "ms"), spread(processors, "ms"), ""))
    notes += f"Load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    head = ("lookup", "wall", "processor time", "budget ms")
    record("observability-trace", "One request among many, whole process", head, rows, notes)


def generate(lines: Path, count: int, per_segment: int) -> dict[str, str]:
    """Segments of `per_segment` lines, five lines a request; the oldest and the newest minted and foreign id."""
    lines.mkdir(parents=True)
    draw = random.Random(7)
    start = 1_795_000_000_000
    body = (
        b'{"ts":%.3f,"v":1,"type":"http","service":"web","instance":"1234.abcdef","version":"r42","env":"production",'
        b'"requestId":"%s","traceId":"%s","spanId":"eeb3a76100fd0000","parentSpanId":"b7ad6b7169203331","status":200,'
        b'"outcome":"ok","latencyMs":12.345,"userId":"user-1234","method":"GET","route":"/questions/{question}"}\n'
    )
    wanted: dict[str, str] = {}
    foreign = {5: "oldest foreign id", count - 10: "newest foreign id"}
    minted = {10: "oldest minted id", count - 5: "newest minted id"}
    for first in range(0, count, per_segment):
        rows = []
        for index in range(first, min(first + per_segment, count), 5):
            at = start + index
            request_id = format_request_id(at, draw.getrandbits(74))
            if index in foreign:
                request_id = wanted[foreign[index]] = f"order-7788990{index:011d}"
            elif index in minted:
                wanted[minted[index]] = request_id
            raw = request_id.encode()
            rows += [body % ((at + delay) / 1000, raw, raw) for delay in range(5)]
        end = start + first + per_segment
        (lines / f"web-1234.abcdef-1234-{start + first:013d}-{end:013d}.jsonl").write_bytes(b"".join(rows))
    return wanted


def taken_ms(argv: list[str]) -> tuple[float, float]:
    """(wall clock, processor time) of a whole process; where others are busy only the second says what it costs."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall * 1000, processor * 1000


def main() -> None:
    """All three, or those that are named: `request`, `rpc`, `trace`."""
    wanted = sys.argv[1:] or ["request", "rpc", "trace"]
    with tempfile.TemporaryDirectory(prefix="dodai-bench-") as name:
        if "request" in wanted:
            requests(Path(name))
        if "rpc" in wanted:
            asyncio.run(rpcs(Path(name)))
        if "trace" in wanted:
            lookups(Path(name) / "state", int(os.environ.get("DODAI_BENCH_LINES", "10000000")))


if __name__ == "__main__":
    main()
