"""`/-/dodai/metrics`: what processes count themselves, exact whatever becomes of them, on a port of its own."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.observability.engines import ask, running
from tests.support.wait import until

import dodai.asgi
from dodai.engine.loopback_port import loopback_port
from dodai.observability.policy import ObservabilityPolicy
from dodai.runtime import RuntimeConfig
from dodai.runtime.metric_server import PATH, MetricServer, exposition
from dodai.runtime.metric_slots import SERIES, SlotCounter, counted

Config = Callable[..., RuntimeConfig]
EACH = 10


def value(text: str, name: str, labels: str) -> int:
    found = re.search(rf"(?m)^{name}{{{re.escape(labels)}}} (\d+)$", text)
    assert found, (name, labels, text)
    return int(found[1])


def measured(port: int) -> ObservabilityPolicy:
    return ObservabilityPolicy(stdout=False, sample=0.0, heartbeat_s=0.0, metrics=f"127.0.0.1:{port}")


def test_counters_are_exact_over_a_hundred_killed_workers_and_a_restart(tmp_path: Path):
    """Four at a time; each takes over a slot that one before it had, and the number of files is that of four and one."""
    requests, labels = 0, 'kind="http",service="web",name="GET /questions/{id}"'
    for workers in (100, 4):
        argv = [sys.executable, "-m", "tests.runtime.counting_workers", str(tmp_path), str(loopback_port())]
        subprocess.run([*argv, str(workers), str(EACH)], check=True, timeout=300)
        text = exposition(tmp_path / "metrics")
        requests += (workers + 1) * EACH
        assert value(text, "dodai_requests_total", labels) == requests
        assert value(text, "dodai_request_errors_total", labels) == requests // 10
        assert value(text, "dodai_request_duration_seconds_count", labels) == requests
    assert len(list((tmp_path / "metrics").glob("*.counts"))) == 5


def test_a_hundred_thousand_paths_are_bounded_and_none_is_lost(tmp_path: Path):
    """What comes after the last series is `_OTHER`, in this process and in the next one."""
    for number in (0, 1):
        slot = SlotCounter.opened(tmp_path, "web")
        assert slot is not None
        for path in range(50_000):
            slot.count("http", f"GET /{number}-{path}", 0.001, failed=False, refused=False)
        slot.close()
    found = {one.name: one.count for one in counted(tmp_path, "web")}
    assert len(found) == SERIES + 1
    assert sum(found.values()) == 100_000
    assert found["GET /0-0"] == 1


def test_processes_are_scraped_on_a_port_of_their_own(tmp_path: Path, config: Config):
    """By the real Prometheus: routes, errors, refusals and latencies; the application's own port has no such page."""

    async def fail(_: Request) -> Response:
        raise RuntimeError("the fault")

    async def good(_: Request) -> Response:
        return PlainTextResponse("ok")

    routes = [Route("/ok/{id}", good), Route("/fail", fail), Route("/readyz", good)]
    port, engine = loopback_port(), loopback_port()
    app = dodai.asgi.wrap(Starlette(routes=routes), config=config(policy=measured(port)))
    scrape = {"job_name": "web", "metrics_path": PATH, "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
    settings = {"global": {"scrape_interval": "200ms"}, "scrape_configs": [scrape]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(settings))

    async def visit() -> None:
        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://testserver") as client:
            for path in ("/ok/1", "/ok/2", "/fail", "/readyz", "/nowhere"):
                await client.get(path)
            assert (await client.get(PATH)).status_code == 404

    asyncio.run(visit())
    words = ("--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{engine}", "--storage.tsdb.path=data")
    with running(tmp_path, "prometheus", *words):

        def scraped(query: str) -> dict[str, float]:
            found = ask(f"http://127.0.0.1:{engine}", "query", query=query)
            rows: list[Any] = found["data"]["result"] if found else []
            return {row["metric"].get("name", ""): float(row["value"][1]) for row in rows}

        told = until(lambda: scraped("dodai_requests_total"), (tmp_path / "prometheus.log").read_text)
        assert told == {"GET /ok/{id}": 2, "GET /fail": 1, "GET <unmatched>": 1}
        assert scraped("dodai_request_errors_total > 0") == {"GET /fail": 1}
        assert set(scraped("histogram_quantile(0.95, dodai_request_duration_seconds_bucket) > 0")) == set(told)
    assert httpx2.get(f"http://127.0.0.1:{port}/").status_code == 404
    app.runtime.metrics.close()


def test_another_process_serves_when_the_one_that_served_has_ended(tmp_path: Path):
    """Whoever asked goes on asking at the same address."""
    address = ("127.0.0.1", loopback_port())
    first = MetricServer(tmp_path, address)
    until(lambda: first.server)
    second = MetricServer(tmp_path, address)
    first.close()
    until(lambda: second.server)
    assert httpx2.get(f"http://127.0.0.1:{address[1]}{PATH}").text == exposition(tmp_path)
    second.close()


def test_what_cannot_be_counted_is_said_in_a_line_and_requests_go_on(
    tmp_path: Path, config: Config, lines: Callable[..., list[dict[str, Any]]]
):
    """A folder that cannot be made is not the visitor's fault."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "metrics").write_text("not a folder")
    app = dodai.asgi.wrap(Starlette(), config=config(policy=measured(loopback_port())))
    runtime = app.runtime
    runtime.write_served(runtime.fresh(), ("http", "ok", 200, "/", "GET"), 0.02, {})
    assert [line["name"] for line in lines("web", "event")] == ["metrics_unavailable"]
    assert len(lines("web", "http")) == 1


def test_nothing_is_counted_where_nobody_asked_for_it(tmp_path: Path, config: Config):
    """At rest it costs nothing in the request path."""
    runtime = dodai.asgi.wrap(Starlette(), config=config()).runtime
    runtime.write_served(runtime.fresh(), ("http", "ok", 200, "/", "GET"), 0.02, {})
    assert runtime.metrics is None
    assert not (tmp_path / "state" / "metrics").exists()


def test_slot_that_was_let_go_takes_no_descriptor_of_somebody_else(tmp_path):
    """A child that is forked later lets go again: the number may be that of a file which was opened since."""
    slot = SlotCounter.opened(tmp_path, "web")
    assert slot is not None
    slot.close()
    reader, writer = os.pipe()
    try:
        slot.close()
        assert os.write(writer, b"x") == 1
        assert os.read(reader, 1) == b"x"
    finally:
        os.close(reader)
        os.close(writer)
