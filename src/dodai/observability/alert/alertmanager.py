"""What Alertmanager has to know so that it tells one outage once as well: who explains whom, within one service.

Alertmanager cannot follow calls from service to service; only the embedded evaluator joins those.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from dodai.observability.alert.form import Alert
from dodai.observability.alert.join import ranks


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
