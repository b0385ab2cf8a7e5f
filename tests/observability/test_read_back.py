"""Counters that were sent away and are read back: the same rows as from the rollups that they were made of."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest
from tests.observability.engines import ask
from tests.observability.shapes import Shape
from tests.observability.test_same_answers import prometheus, victoria
from tests.quiz.stack import QUIZ
from tests.support.command import dodai
from tests.support.wait import until

from dodai.observability.run import Row, overview
from dodai.observability.run.read_back import read_back
from dodai.providers.telemetry.prometheus_api import Prometheus

ENGINES = {"prometheus": prometheus, "victoria-metrics": victoria}


def rows(shape: Shape, found: tuple[Row, ...]) -> dict[str, Row]:
    """Those of the shape, without request ids, which no counter has."""
    return {row.name: replace(row, samples=()) for row in found if row.service == shape.service}


@pytest.mark.parametrize("engine", ENGINES)
def test_rows_read_back_are_those_of_the_rollups(engine: str, tmp_path: Path):
    """Requests, failures and p95 of every route and RPC, in every part of the curve."""
    shapes = [Shape(seed, tmp_path / str(seed)) for seed in range(3)]
    now_s = shapes[0].now - 5.0  # the open cell ends with the last scrape
    with ENGINES[engine](tmp_path, shapes) as url:
        until(lambda: ask(url, "query", query="1"), (tmp_path / f"{engine}.log").read_text)
        for shape in shapes:
            watched = shape.world.watched
            store = read_back(Prometheus(url), watched, now_s)
            seen, own = overview(watched, store, now_s), overview(watched, shape.world.watcher.store, now_s)
            store.close()
            assert rows(shape, seen.routes) == rows(shape, own.routes) != {}
            assert rows(shape, seen.rpcs) == rows(shape, own.rpcs) != {}


def test_watch_shows_what_an_engine_keeps_and_what_nobody_knows(tmp_path: Path):
    """Series of two environments are not added up; one that nobody evaluates is not called well; no answer is told."""
    with victoria(tmp_path, []) as url:
        at_ms, lines = int(time.time() // 30 * 30 * 1000), []
        for env, per_scrape in (("staging", 40), ("production", 7)):
            labels = f'{{env="{env}",kind="http",service="web",name="GET /next"}}'
            lines += [f"dodai_requests_total{labels} {per_scrape * n} {at_ms - 30_000 * (20 - n)}" for n in range(21)]
        lines.append(f'dodai_alert_firing{{env="staging",alert="http-latency",about="web"}} 1 {at_ms}')
        httpx2.post(f"{url}/api/v1/import/prometheus", content="\n".join(lines) + "\n", timeout=60).raise_for_status()
        httpx2.get(f"{url}/internal/force_flush", timeout=60)
        manifest = ("--manifest", str(QUIZ / "dodai.toml"))
        both = dodai("watch", "--once", "--state", url, *manifest)
        assert both.returncode == 1
        assert '`dodai_requests_total` of `web GET /next` is there twice, as `env="' in both.stderr
        known = dodai("watch", "--once", "--state", f'{url}?match=env="production"', "--json", *manifest)
        assert known.returncode == 1  # nobody evaluated
        body = json.loads(known.stdout)
        assert [(row["name"], row["count"] % 7) for row in body["routes"]] == [("GET /next", 0)]
        assert body["firing"] == []
        assert body["stale"] is True
        shown = dodai("watch", "--once", "--state", f'{url}?match=env="staging"', *manifest)
        assert "GET /next" in shown.stdout
        assert "FIRING http-latency: web" in shown.stdout
        assert "alerts are evaluated by nobody that is known there: whether one fires is unknown" in shown.stdout
    gone = dodai("watch", "--once", "--state", url, *manifest)
    assert gone.returncode == 1
    assert f"DOD487 not-read-back: `{url}` cannot be asked" in gone.stderr
    assert "add --once" in dodai("watch", "--state", url, *manifest).stderr
