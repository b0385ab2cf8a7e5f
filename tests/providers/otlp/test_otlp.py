"""OTLP as its own published messages read it: lines, spans, metrics, and what happens while nobody answers."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from tests.observability.traffic import request, rpc
from tests.support.wait import until

from dodai.observability.line_format import dump
from dodai.observability.policy import ExportSection, ObservabilityPolicy
from dodai.observability.run import Watched, Watcher
from dodai.observability.run.export import BATCH, Export
from dodai.providers.otlp import Otlp

MESSAGES = {"/v1/logs": ExportLogsServiceRequest, "/v1/traces": ExportTraceServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}  # fmt: skip
TRACE, SPAN, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "00f067aa0ba902b7"


class Collector:
    """What an OpenTelemetry collector takes: each request is read by the published messages. Answers `status`."""

    def __init__(self) -> None:
        self.status, self.got = 200, list[Any]()
        self.authorization = ""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = gzip.decompress(self.rfile.read(int(self.headers["content-length"])))
                assert self.headers["content-type"] == "application/x-protobuf"
                outer.authorization = self.headers.get("authorization", "")
                if outer.status < 300:
                    outer.got.append(MESSAGES[self.path].FromString(body))
                self.send_response(outer.status)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.got if isinstance(one, kind)]

    def bodies(self) -> list[str]:
        """The lines of every record."""
        scopes = [s for m in self.of(ExportLogsServiceRequest) for r in m.resource_logs for s in r.scope_logs]
        return [record.body.string_value for scope in scopes for record in scope.log_records]


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.server.shutdown()
    made.server.server_close()


def attributes(found: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in found}


def write(state: Path, *lines: dict[str, Any]) -> list[str]:
    (state / "lines").mkdir(parents=True, exist_ok=True)
    raw = [dump(line) for line in lines]
    with (state / "lines" / "web.jsonl").open("ab") as file:
        file.write(b"".join(raw))
    return [one.decode().rstrip("\n") for one in raw]


def export(state: Path, url: str) -> Export:
    section = ExportSection(url, name="collector", variable="OTLP")
    watched = Watched("quiz", "test", state, ObservabilityPolicy(), fast=True)
    return Export(watched, section, Otlp(section, {"OTLP": "Bearer x"}))


def deliver(one: Export, condition: Callable[[], object]) -> None:
    """How much one look reads has a bound in time."""
    until(lambda: (one.once(), condition())[1])


def test_line_leaves_as_a_record_and_as_a_span_of_its_trace(tmp_path: Path, collector: Collector):
    """Times, ids, names, status and OpenTelemetry's own attribute names; the body is the line itself."""
    at = round(time.time(), 3)
    ids = {"traceId": TRACE, "spanId": SPAN, "parentSpanId": PARENT}
    line = request(at, route="/answer", method="POST", outcome="server_error", latencyMs=250.0, userId="u1", **ids)
    (said,) = write(tmp_path, line)
    deliver(export(tmp_path, collector.url), lambda: collector.of(ExportTraceServiceRequest))
    (logs,), (traces,) = collector.of(ExportLogsServiceRequest), collector.of(ExportTraceServiceRequest)
    assert collector.authorization == "Bearer x"
    resource = {"service.name": "web", "service.version": "r1", "service.instance.id": "web-1"}
    assert attributes(logs.resource_logs[0].resource.attributes) == resource
    (record,) = logs.resource_logs[0].scope_logs[0].log_records
    assert record.body.string_value == said
    assert (record.severity_text, record.time_unix_nano) == ("ERROR", round(at * 1e9))
    assert (record.trace_id.hex(), record.span_id.hex()) == (TRACE, SPAN)
    known = attributes(record.attributes)
    assert (known["http.request.method"], known["http.route"], known["user.id"]) == ("POST", "/answer", "u1")
    assert known["http.response.status_code"] == 500
    assert known["dodai.requestId"] == line["requestId"]
    (span,) = traces.resource_spans[0].scope_spans[0].spans
    assert (span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()) == (TRACE, SPAN, PARENT)
    assert (span.name, span.kind, span.status.code) == ("POST /answer", 2, 2)
    assert span.end_time_unix_nano - span.start_time_unix_nano == 250_000_000


def test_counters_leave_as_cumulative_sums_and_histograms(tmp_path: Path, collector: Collector):
    """Those of the rollups, by service, kind and name."""
    now = time.time()
    write(tmp_path, *(request(now, latencyMs=20.0 + n) for n in range(40)), rpc(now, outcome="server_error"))
    one = export(tmp_path, collector.url)
    watcher = Watcher(one.watched, {})
    watcher.read()
    deliver(one, lambda: collector.of(ExportMetricsServiceRequest))
    (found,) = collector.of(ExportMetricsServiceRequest)
    by_service = {attributes(each.resource.attributes)["service.name"]: each for each in found.resource_metrics}
    web = {metric.name: metric for metric in by_service["web"].scope_metrics[0].metrics}
    (point,) = web["dodai.requests"].sum.data_points
    assert (point.as_double, attributes(point.attributes)) == (40, {"kind": "http", "name": "GET /"})
    assert web["dodai.requests"].sum.is_monotonic
    (spread,) = web["dodai.request.duration"].histogram.data_points
    assert spread.count == sum(spread.bucket_counts) == 40
    assert len(spread.bucket_counts) == len(spread.explicit_bounds) + 1
    assert spread.sum == pytest.approx(sum(20.0 + n for n in range(40)) / 1000)
    backend = {metric.name: metric for metric in by_service["backend"].scope_metrics[0].metrics}
    assert backend["dodai.request.errors"].sum.data_points[0].as_double == 1
    watcher.store.close()


def test_nothing_is_lost_while_nobody_takes_it_and_nothing_leaves_twice_after(tmp_path: Path, collector: Collector):
    """What was refused is delivered when it can be; what was delivered is not sent again by the next process."""
    collector.status = 503
    now = time.time()
    said = write(tmp_path, *(request(now + n / 1000) for n in range(BATCH + 50)))
    first = export(tmp_path, collector.url)
    deliver(first, lambda: first.failures == 2)
    assert first.problem is not None
    assert "answered 503" in first.problem.en
    assert "送信できていません" in first.problem.ja
    collector.status = 200
    deliver(first, lambda: len(collector.bodies()) >= len(said))
    assert first.problem is None
    assert collector.bodies() == said
    second = export(tmp_path, collector.url)
    later = write(tmp_path, request(now + 5))
    deliver(second, lambda: len(collector.bodies()) > len(said))
    assert collector.bodies() == [*said, *later]
    assert json.loads(second.path.read_text())


def test_place_that_cannot_be_kept_is_told_and_sends_nothing_again(tmp_path: Path, collector: Collector):
    """As on a full disk."""
    said = write(tmp_path, request(time.time()))
    (tmp_path / "watch").write_text("not a folder")
    one = export(tmp_path, collector.url)
    deliver(one, lambda: one.problem)
    assert one.problem is not None
    assert "cannot keep how far it delivered" in one.problem.en
    said += write(tmp_path, request(time.time()))
    deliver(one, lambda: len(collector.bodies()) > 1)
    assert collector.bodies() == said


def test_a_receiver_that_does_not_exist_stops_nobody(tmp_path: Path):
    """It is told, without the address, and tried again."""
    write(tmp_path, request(time.time()))
    one = export(tmp_path, "http://127.0.0.1:1")
    deliver(one, lambda: one.problem)
    assert one.problem is not None
    assert "no answer" in one.problem.en
