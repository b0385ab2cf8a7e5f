"""Alerts compiled for Prometheus (and vmalert): rules over what `dodai watch` exports, and promtool tests of them.

JSON is YAML, so nothing here needs a library. What follows single processes over time (`process-silent`, `crash-loop`)
and the disk of the machine stay with the embedded evaluator, whose verdict is exported as `dodai_alert_firing`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from dodai.observability.alert.form import Alert
from dodai.observability.alert.join import ranks

COMPILED = frozenset(
    {"error-ratio", "refusal-ratio", "p95-ms", "pool-wait-ms", "loop-lag-ms", "dropped", "requests", "unwatched-s"}
)
_STEP_S = 30
_SCRAPED_S = 60.0
"""How long a Prometheus that was just started may take until it has seen the watch."""
_ABOUT = "{{ $labels.service }}{{ with $labels.name }} {{ . }}{{ end }}"


def rules(alerts: Iterable[Alert], runbook: str) -> dict[str, Any]:
    """A rule file with one rule for each alert."""
    return {"groups": [{"name": "dodai", "rules": [_rule(alert, runbook) for alert in alerts]}]}


def _rule(alert: Alert, runbook: str) -> dict[str, Any]:
    held_s = max(alert.for_s, _SCRAPED_S) if alert.measure == "unwatched-s" else alert.for_s
    held = {"for": f"{held_s:g}s"} if held_s else {}
    return {
        "alert": alert.name,
        "expr": expression(alert),
        **held,
        "labels": {"severity": alert.severity, "code": alert.code.id},
        "annotations": {
            "summary": f"{_about(alert)}: {alert.code.page.what.en}",
            "runbook_url": f"{runbook}#{alert.name}",
        },
    }


def _about(alert: Alert) -> str:
    """What an alert is about, by the labels that its expression leaves."""
    if alert.measure == "unwatched-s":
        return "watch"
    return _ABOUT if alert.measure in COMPILED else "{{ $labels.about }}"


def expression(alert: Alert) -> str:
    """The PromQL of an alert."""
    if alert.measure not in COMPILED:
        return f'max by (about) (dodai_alert_firing{{alert="{alert.name}"}}) > 0'
    if alert.measure == "loop-lag-ms":
        lag = f"max_over_time(dodai_loop_lag_seconds[{_span(alert.windows_s[0])}])"
        return f"max by (service) ({lag}) > {alert.threshold / 1000:g}"
    if alert.measure == "unwatched-s":
        judged = "dodai_judged_timestamp_seconds"
        gone = f"absent_over_time({judged}[{_span(alert.threshold)}])"
        return f"time() - max({judged}) > {alert.threshold:g} or {gone}"
    if alert.measure == "dropped":
        return f"sum by (service) ({_increase('dodai_events_total', 'event', 'lines_dropped', alert.windows_s[0])}) > 0"
    if alert.measure == "requests":
        short, long = (_sum(alert, "dodai_requests_total", window) for window in alert.windows_s)
        return f"({short} < {alert.threshold:g}) and ({long} >= {alert.min_count})"
    return " and ".join(_windowed(alert, window) for window in alert.windows_s)


def _windowed(alert: Alert, window_s: float) -> str:
    count = _sum(alert, "dodai_requests_total", window_s)
    parts = [f"({_value(alert, window_s, count)} > {_threshold(alert)})"]
    if alert.min_count:
        parts.append(f"({count} >= {alert.min_count})")
    if alert.min_bad:
        parts.append(f"({_sum(alert, _bad(alert), window_s)} >= {alert.min_bad})")
    return " and ".join(parts)


def _value(alert: Alert, window_s: float, count: str) -> str:
    if alert.measure == "p95-ms":
        buckets = _increase("dodai_request_duration_seconds_bucket", "kind", alert.kind, window_s)
        return f"histogram_quantile(0.95, sum by ({_by(alert)}, le) ({buckets}))"
    name = "dodai_pool_wait_seconds_total" if alert.measure == "pool-wait-ms" else _bad(alert)
    return f"{_sum(alert, name, window_s)} / {count}"


def _bad(alert: Alert) -> str:
    return "dodai_requests_refused_total" if alert.measure == "refusal-ratio" else "dodai_request_errors_total"


def _threshold(alert: Alert) -> str:
    return f"{alert.threshold / 1000:g}" if alert.measure.endswith("-ms") else f"{alert.threshold:.10g}"


def _sum(alert: Alert, name: str, window_s: float) -> str:
    return f"sum by ({_by(alert)}) ({_increase(name, 'kind', alert.kind, window_s)})"


def _by(alert: Alert) -> str:
    return "service, name" if alert.by == "name" else "service"


def _increase(name: str, label: str, value: str, window_s: float) -> str:
    return f'increase({name}{{{label}="{value}"}}[{_span(window_s)}])'


def _span(seconds: float) -> str:
    return f"{seconds:g}s"


# --- promtool tests ---


def promtool_tests(alerts: Iterable[Alert], rule_file: str, runbook: str) -> dict[str, Any]:
    """A test file: each error ratio fires in an outage, is resolved after it, and is quiet with little traffic."""
    known = tuple(alerts)
    chosen = [alert for alert in known if alert.measure == "error-ratio"]
    tests = [test for alert in chosen for test in (_outage(alert, runbook), _quiet(alert))]
    tests += [_unwatched(alert, runbook) for alert in known if alert.measure == "unwatched-s"]
    return {"rule_files": [rule_file], "evaluation_interval": f"{_STEP_S}s", "tests": tests}


def _outage(alert: Alert, runbook: str) -> dict[str, Any]:
    """Ten requests a step: all fail for as long as the shortest window, then none for as long again and a bit."""
    steps = int(min(alert.windows_s) / _STEP_S) + 2
    series = [
        _series("dodai_requests_total", alert, f"0+10x{2 * steps + 12}"),
        _series("dodai_request_errors_total", alert, f"0+10x{steps} {10 * steps}+0x{steps + 12}"),
    ]
    fires = {
        "eval_time": f"{steps * _STEP_S}s",
        "alertname": alert.name,
        "exp_alerts": [expected(alert, "web", "GET /", runbook)],
    }
    over = {"eval_time": f"{(2 * steps + 10) * _STEP_S}s", "alertname": alert.name, "exp_alerts": []}
    return {"name": f"{alert.name} fires and is resolved", "interval": f"{_STEP_S}s", "input_series": series,
            "alert_rule_test": [fires, over]}  # fmt: skip


def _quiet(alert: Alert) -> dict[str, Any]:
    """Fewer requests than it asks for, all failing; and healthy ones beside them."""
    steps = int(min(alert.windows_s) / _STEP_S) + 2
    few = max(1, min(alert.min_bad or 1, alert.min_count) - 1)
    series = [
        _series("dodai_requests_total", alert, f"0 {few}+0x{steps}"),
        _series("dodai_request_errors_total", alert, f"0 {few}+0x{steps}"),
        _series("dodai_requests_total", alert, f"0+10x{steps}", service="healthy"),
        _series("dodai_request_errors_total", alert, f"0+0x{steps}", service="healthy"),
    ]
    quiet = {"eval_time": f"{steps * _STEP_S}s", "alertname": alert.name, "exp_alerts": []}
    return {"name": f"{alert.name} stays quiet", "interval": f"{_STEP_S}s", "input_series": series,
            "alert_rule_test": [quiet]}  # fmt: skip


def _unwatched(alert: Alert, runbook: str) -> dict[str, Any]:
    """A watch that is scraped for ten minutes, and then is no more."""
    steps, threshold = 20, int(alert.threshold / _STEP_S)
    values = f"0+{_STEP_S}x{steps} _x{2 * threshold + 10}"
    gone_s = (steps + threshold + 6) * _STEP_S
    fires = {
        "exp_labels": {"severity": alert.severity, "code": alert.code.id},
        "exp_annotations": {
            "summary": f"watch: {alert.code.page.what.en}",
            "runbook_url": f"{runbook}#{alert.name}",
        },
    }
    checks = [
        {"eval_time": f"{steps * _STEP_S}s", "alertname": alert.name, "exp_alerts": []},
        {"eval_time": f"{gone_s}s", "alertname": alert.name, "exp_alerts": [fires]},
    ]
    series = [{"series": "dodai_judged_timestamp_seconds", "values": values}]
    return {"name": f"{alert.name} fires when the watch is gone", "interval": f"{_STEP_S}s", "input_series": series,
            "alert_rule_test": checks}  # fmt: skip


def _series(name: str, alert: Alert, values: str, service: str = "web") -> Mapping[str, str]:
    return {"series": f'{name}{{kind="{alert.kind}",service="{service}",name="GET /"}}', "values": values}


def expected(alert: Alert, service: str, name: str, runbook: str) -> dict[str, Any]:
    """What promtool must see of a compiled alert that fires about `name` of `service`."""
    labels = {"service": service, "name": name} if alert.by == "name" else {"service": service}
    notes = {
        "summary": f"{' '.join(labels.values())}: {alert.code.page.what.en}",
        "runbook_url": f"{runbook}#{alert.name}",
    }
    return {"exp_labels": {**labels, "severity": alert.severity, "code": alert.code.id}, "exp_annotations": notes}


def configuration(alerts: Iterable[Alert], webhooks: Iterable[str]) -> dict[str, Any]:
    """A whole configuration: alerts of one name and service in one message, after a second, to every webhook."""
    known = {alert.name for alert in alerts}
    by_rank: dict[int, list[str]] = {}
    for name, rank in ranks().items():
        if name in known:
            by_rank.setdefault(rank, []).append(name)
    found = sorted(by_rank)
    inhibitions = [
        {
            "source_matchers": [f'alertname =~ "{"|".join(by_rank[low])}"', 'severity = "page"'],
            "target_matchers": [f'alertname =~ "{"|".join(by_rank[high])}"'],
            "equal": ["service"],
        }
        for at, low in enumerate(found)
        for high in found[at + 1 :]
    ]
    return {
        "route": {
            "receiver": "team",
            "group_by": ["alertname", "service"],
            "group_wait": "1s",
            "group_interval": "1m",
            "repeat_interval": "12h",
        },
        "receivers": [{"name": "team", "webhook_configs": [{"url": url} for url in webhooks]}],
        "inhibit_rules": inhibitions,
    }
