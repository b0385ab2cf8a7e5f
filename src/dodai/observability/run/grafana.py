"""The dashboard of the page as one of Grafana's, over the metrics that `dodai watch` exports to Prometheus."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from dodai.core.text import Lang, Text, say
from dodai.observability.run.overview import journey_shapes
from dodai.observability.run.watch_page.words import WORDS
from dodai.observability.run.watcher import Watched

SCHEMA_VERSION = 39
"""That of Grafana 10.3 and newer, which migrate from it."""
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_RATE = "[$__rate_interval]"
_WIDTH, _HEIGHT, _COLUMNS = 8, 8, 24
_TABLES = (("routes", "http"), ("rpcs", "rpc"), ("tasks", "task"))


def dashboard(watched: Watched, lang: Lang) -> dict[str, Any]:
    """The panels of the page in its order: alerts, journeys, routes, RPCs, tasks, dependencies, processes."""
    name = f"{watched.project}/{watched.env}"
    variable = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    releases = {
        "name": "releases",
        "enable": True,
        "iconColor": "blue",
        "datasource": _SOURCE,
        "expr": "dodai_release_heard_timestamp_seconds * 1000",
        "useValueForTime": "on",
        "titleFormat": "{{service}} {{version}}",
    }
    return {
        "uid": re.sub(r"[^a-z0-9-]", "-", f"dodai-{watched.project}-{watched.env}".lower())[:40],
        "title": f"dodai {name}",
        "tags": ["dodai"],
        "schemaVersion": SCHEMA_VERSION,
        "editable": True,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [variable]},
        "annotations": {"list": [releases]},
        "panels": [_placed(at, panel) for at, panel in enumerate(_panels(watched, lang))],
    }


def _panels(watched: Watched, lang: Lang) -> Iterator[dict[str, Any]]:
    alerts = "max by (alert, about) (dodai_alert_firing)"
    yield _panel(say(WORDS["alerts"], lang), [(alerts, "{{alert}}: {{about}}")], unit="none")
    yield from _journeys(watched, lang)
    for title, kind in _TABLES:
        yield from _three(say(WORDS[title], lang), _of_kind(kind), "{{service}} {{name}}", "service, name", lang)
    calls = _of_kind("dependency")
    title = say(WORDS["dependencies"], lang)
    shown = "{{service}} → {{name}}"
    yield _panel(f"{title}: {say(WORDS['calls'], lang)}", [(_rate("requests", calls), shown)], unit="reqps")
    yield _panel(
        f"{title}: {say(WORDS['errors'], lang)}", [(_share(calls, "service, name"), shown)], unit="percentunit"
    )
    lag = "max by (service) (dodai_loop_lag_seconds)"
    yield _panel(say(_LAG, lang), [(lag, "{{service}}")], unit="s")
    yield _panel(say(_IN_FLIGHT, lang), [("sum by (service) (dodai_in_flight)", "{{service}}")], unit="none")


_LAG = Text("Lag of the event loop", "イベントループの遅れ")
_IN_FLIGHT = Text("Requests being served", "処理中のリクエスト")


def _journeys(watched: Watched, lang: Lang) -> Iterator[dict[str, Any]]:
    """One line for each journey in each of the three panels."""
    chosen = {title: _of_routes(watched.public, shapes) for title, shapes in journey_shapes(watched).items()}
    if not chosen:
        return
    title = say(WORDS["journeys"], lang)
    counts = [(f"sum({_increase('requests', where)})", name) for name, where in chosen.items()]
    errors = [
        (f"sum({_increase('request_errors', where)}) / sum({_increase('requests', where)})", name)
        for name, where in chosen.items()
    ]
    slow = [(_p95(where, "le"), name) for name, where in chosen.items()]
    yield _panel(f"{title}: {say(WORDS['count'], lang)}", counts, unit="reqps")
    yield _panel(f"{title}: {say(WORDS['errors'], lang)}", errors, unit="percentunit")
    yield _panel(f"{title}: p95", slow, unit="s")


def _three(title: str, where: str, shown: str, by: str, lang: Lang) -> Iterator[dict[str, Any]]:
    yield _panel(f"{title}: {say(WORDS['count'], lang)}", [(_rate("requests", where), shown)], unit="reqps")
    yield _panel(f"{title}: {say(WORDS['errors'], lang)}", [(_share(where, by), shown)], unit="percentunit")
    yield _panel(f"{title}: p95", [(_p95(where, f"{by}, le"), shown)], unit="s")


def _of_kind(kind: str) -> str:
    return f'kind="{kind}"'


def _of_routes(service: str, shapes: set[str]) -> str:
    """The labels of the routes that have one of these shapes; a parameter is written in one of several ways."""
    pattern = "|".join(re.escape(one).replace(r"\*", "[^/]+").replace(r"\ ", " ") for one in sorted(shapes))
    return f'kind="http", service="{service}", name=~{json.dumps(pattern)}'


def _increase(counter: str, where: str) -> str:
    return f"rate(dodai_{counter}_total{{{where}}}{_RATE})"


def _rate(counter: str, where: str) -> str:
    return f"sum by (service, name) ({_increase(counter, where)})"


def _share(where: str, by: str) -> str:
    return f"sum by ({by}) ({_increase('request_errors', where)}) / sum by ({by}) ({_increase('requests', where)})"


def _p95(where: str, by: str) -> str:
    buckets = f"rate(dodai_request_duration_seconds_bucket{{{where}}}{_RATE})"
    return f"histogram_quantile(0.95, sum by ({by}) ({buckets}))"


def _panel(title: str, queries: list[tuple[str, str]], *, unit: str) -> dict[str, Any]:
    targets = [
        {"refId": f"Q{at}", "expr": expression, "legendFormat": shown, "datasource": _SOURCE, "range": True}
        for at, (expression, shown) in enumerate(queries)
    ]
    return {
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "targets": targets,
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
    }


def _placed(at: int, panel: dict[str, Any]) -> dict[str, Any]:
    """The first panel takes a row of its own, the others three a row."""
    if at == 0:
        return {"id": 1, "gridPos": {"h": _HEIGHT, "w": _COLUMNS, "x": 0, "y": 0}, **panel}
    row, column = divmod(at - 1, _COLUMNS // _WIDTH)
    where = {"h": _HEIGHT, "w": _WIDTH, "x": column * _WIDTH, "y": _HEIGHT * (row + 1)}
    return {"id": at + 1, "gridPos": where, **panel}
