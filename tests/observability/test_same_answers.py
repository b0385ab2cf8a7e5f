"""The same past in the real Prometheus and the real VictoriaMetrics: both answer as the embedded evaluator judges."""

from __future__ import annotations

import json
import math
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from tests.observability.engines import ask, real, running
from tests.observability.shapes import DIFFERENTIAL, STEP_S, Shape
from tests.support.wait import until

from dodai.engine.loopback_port import loopback_port
from dodai.observability.alert import Alert
from dodai.observability.alert.prometheus import expression
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.run import Watched
from dodai.observability.run.grafana import dashboard

FOREVER = "100y"


def samples(shapes: Sequence[Shape], unit: int) -> Iterator[str]:
    """Every counter at every step as OpenMetrics text; `unit` is how many of its time there are in a second."""
    for shape in shapes:
        for series, values in shape.totals():
            yield from (
                f"{series} {value} {int(shape.base + STEP_S * step) * unit}" for step, value in enumerate(values)
            )


@contextmanager
def prometheus(folder: Path, shapes: Sequence[Shape]) -> Iterator[str]:
    """With that past as blocks of its store, and nothing to scrape."""
    port, text = loopback_port(), "\n".join([*samples(shapes, 1), "# EOF\n"])
    (folder / "past.txt").write_text(text)
    (folder / "prometheus.yml").write_text("{}")
    argv = [real("promtool"), "tsdb", "create-blocks-from", "openmetrics", "past.txt", "data"]
    made = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    words = ("--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data")
    with running(folder, "prometheus", *words, f"--storage.tsdb.retention.time={FOREVER}"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def victoria(folder: Path, shapes: Sequence[Shape]) -> Iterator[str]:
    """With that past sent to it."""
    port = loopback_port()
    url = f"http://127.0.0.1:{port}"
    words = ("-storageDataPath=victoria", f"-httpListenAddr=127.0.0.1:{port}", f"-retentionPeriod={FOREVER}")
    with running(folder, "victoria-metrics", *words, "-search.latencyOffset=0s", "-search.disableCache"):
        until(lambda: ask(url, "query", query="1"), (folder / "victoria-metrics.log").read_text)
        body = "\n".join(samples(shapes, 1000)) + "\n"
        assert httpx2.post(f"{url}/api/v1/import/prometheus", content=body, timeout=60).status_code == 204
        httpx2.get(f"{url}/internal/force_flush", timeout=60)
        yield url


def values(url: str, query: str, at_s: float) -> dict[str, float]:
    """The value of each series by its labels. Where there is nothing to divide by, one says NaN and the other nothing."""
    found = ask(url, "query", query=query, time=f"{at_s:.0f}")
    assert found is not None, (url, query)
    assert found["status"] == "success", (query, found)
    rows: list[dict[str, Any]] = found["data"]["result"]
    known = {json.dumps(row["metric"], sort_keys=True): float(row["value"][1]) for row in rows}
    return {labels: value for labels, value in known.items() if not math.isnan(value)}


def fires(url: str, alert: Alert, at_s: float) -> set[tuple[str, str]]:
    """(service, name) of everything that the expression of `alert` has an answer for."""
    labels = [json.loads(each) for each in values(url, expression(alert), at_s)]
    return {(each.get("service", ""), each.get("name", "")) for each in labels}


def test_prometheus_and_victoriametrics_answer_alerts_and_dashboard_alike(tmp_path: Path):
    """A dozen shapes of traffic in one store each: what fires is what the evaluator says, every panel has its numbers."""
    base = float((int(time.time()) // 3600 - 2) * 3600)  # neither takes what is far from now
    shapes = [Shape(seed, tmp_path / f"shape{seed}", base) for seed in range(12)]
    at_s, fired = shapes[0].now, set[str]()
    with ExitStack() as stack:
        urls = [stack.enter_context(one(tmp_path, shapes)) for one in (prometheus, victoria)]
        logs = [tmp_path / "prometheus.log", tmp_path / "victoria-metrics.log"]
        for url in urls:
            until(lambda url=url: ask(url, "query", query="1"), lambda: "".join(log.read_text() for log in logs))
            until(lambda url=url: values(url, "count(dodai_requests_total)", at_s), "the past can be asked for")
        for alert in DIFFERENTIAL:
            judged = {about for shape in shapes for about in shape.breached(alert)}
            assert [fires(url, alert, at_s) for url in urls] == [judged, judged], alert.name
            assert len({service for service, _ in judged}) < len(shapes)
            fired |= {alert.name} if judged else set()
        failing = next(service for shape in shapes for service, _ in shape.breached(DIFFERENTIAL[0]))
        journeys = {"Front page": ("GET /",)}
        watched = Watched("quiz", "test", tmp_path, ObservabilityPolicy(), journeys=journeys, public=failing)
        panels = dashboard(watched, "en")["panels"]
        queries = [target["expr"].replace("$__rate_interval", "5m") for one in panels for target in one["targets"]]
        drawn = 0
        for query in queries:
            ours, theirs = (values(url, query, at_s) for url in urls)
            assert ours == pytest.approx(theirs, rel=1e-6), query
            drawn += bool(ours)
    assert drawn >= 9  # three of journeys, of routes and of RPCs each
    assert {"http-error-surge", "http-latency", "rpc-error-surge", "route-errors"} <= fired
