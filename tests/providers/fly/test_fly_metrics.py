"""Counters that Fly scrapes from the machines of an app, read back for all of them together."""

from __future__ import annotations

import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from tests.support.fly_world import fly_world, served
from tests.support.quick_vendor import quick
from tests.support.wait import until

from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.run import Watched, overview
from dodai.observability.run.read_back import read_back
from dodai.providers.fly.fly_logs import fly_logs
from dodai.providers.fly.fly_metrics import FlyCounters
from dodai.providers.fly.machines_api import fly, fly_token
from dodai.standins import ApiFault
from dodai.vendor_api import Api

PROGRAM = """
import http.server, os
class Page(http.server.BaseHTTPRequestHandler):
    count = failed = 0
    def do_GET(self):
        Page.count += self.path.startswith("/pay")
        Page.failed += self.path == "/pay?broken"
        labels = 'kind="http",service="web",name="GET /pay"'
        body = (
            f"dodai_requests_total{{{labels}}} {Page.count}\\n"
            f"dodai_request_errors_total{{{labels}}} {Page.failed}\\n"
            f'dodai_request_duration_seconds_bucket{{{labels},le="0.1"}} {Page.count}\\n'
            f'dodai_request_duration_seconds_bucket{{{labels},le="+Inf"}} {Page.count}\\n'
            f"dodai_request_duration_seconds_sum{{{labels}}} {Page.count * 0.05}\\n# EOF\\n"
        ).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Page).serve_forever()
"""


@pytest.fixture
def world(tmp_path: Path):
    """The app `quiz-web` in two regions with `[metrics]`."""
    (tmp_path / "web.py").write_text(PROGRAM)
    with fly_world() as world:
        world.fly.metrics.every_s = 0.2
        config = {**served(), "metrics": {"port": 8080, "path": "/-/dodai/metrics"}}
        world.fly.launch("quiz-web", world.image(tmp_path, sys.executable, "web.py"), config, ("nrt", "ams"))
        world.settle("quiz-web")
        yield world


@pytest.fixture
def counters(world):
    token = fly_token(world.variables)
    machines, platform = (Api(quick(vendor()), world.fly.url, token) for vendor in (fly, fly_logs))
    with closing(machines), closing(platform):
        yield FlyCounters(lambda: machines, lambda: platform, {"web": "quiz-web"})


def pay(machine, times: int, path: str = "/pay") -> None:
    for _ in range(times):
        urllib.request.urlopen(f"http://127.0.0.1:{machine.port}{path}", timeout=5).close()


def total(counters: FlyCounters, counter="requests") -> float:
    start = int(time.time()) - 120
    return sum(each.value for each in counters.added(counter, "http", start, 10, 14))


def test_machines_are_counted_together_and_one_that_began_again_loses_and_doubles_nothing(world, counters):
    """Two machines of one service are two series at Fly, and one row for who looks."""
    first, second = world.fly.machines("quiz-web")
    pay(first, 3)
    pay(second, 2)
    pay(second, 1, "/pay?broken")
    until(lambda: total(counters) == 6)
    assert total(counters, "errors") == 1
    first.kill()
    world.fly.restart(first)
    world.settle("quiz-web")
    pay(first, 2)
    until(lambda: total(counters) == 8)


def test_rows_of_watch_are_made_of_them_and_nothing_is_said_about_alerts(world, counters, tmp_path):
    """Machines judge nothing: that nobody evaluates alerts there is told as unknown."""
    first, second = world.fly.machines("quiz-web")
    pay(first, 4)
    pay(second, 1, "/pay?broken")
    until(lambda: total(counters) == 5)
    watched = Watched("quiz", "production", tmp_path, ObservabilityPolicy())

    def row():
        store = read_back(counters, watched, time.time() + watched.cell_s)
        seen = overview(watched, store, time.time())
        store.close()
        return [(one.service, one.name, one.count, one.errors) for one in seen.routes], seen.stale

    until(lambda: row() == ([("web", "GET /pay", 5, 1)], True))


def test_what_cannot_be_asked_is_no_zero(world, counters):
    """The token may not read there: the command ends with what was answered."""
    world.fly.faults.add(ApiFault(kind="status", status=403, where="/prometheus/", times=10))
    with pytest.raises(OSError, match="403"):
        total(counters)
