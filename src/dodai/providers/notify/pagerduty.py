"""PagerDuty, by its Events API v2: one event for each thing that an alert is about, deduplicated by its key."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.observability.ports import Message, Told
from dodai.providers.notify.webhook import send

ENQUEUE = "https://events.pagerduty.com/v2/enqueue"
_SUMMARY_CHARS = 1024
"""The longest summary that PagerDuty takes (developer.pagerduty.com, "Send an alert event")."""


@dataclass(frozen=True, slots=True)
class PagerDuty:
    """`variable` holds the routing key of an integration. What was sent before a failure is sent again with its key."""

    url: str
    variable: str
    environ: Mapping[str, str]

    def send(self, message: Message) -> None:
        key = self.environ.get(self.variable, "")
        if not key:
            raise ValueError(f"`{self.variable}` is not set to a routing key")
        for thing in message.things:
            send("POST", self.url or ENQUEUE, _event(key, message, thing))


def _event(key: str, message: Message, thing: Told) -> dict[str, Any]:
    """The body of one event; that of an end needs no payload."""
    base = {"routing_key": key, "dedup_key": f"dodai/{thing.fingerprint}"}
    if message.status == "resolved":
        return {**base, "event_action": "resolve"}
    where = f"{message.project}/{message.env}"
    details = {
        "alert": message.alert,
        "code": message.code,
        "value": thing.value,
        "threshold": thing.threshold,
        "failed": f"{thing.bad} of {thing.count}",
        "trace": [proposal.TRACE(request=sample) for sample in thing.samples],
        "also": list(message.also),
        "runbook": message.runbook,
    }
    said = f"{where} {message.alert}: {thing.about}, {message.summary}"
    payload = {
        "summary": "".join(char if char.isprintable() else " " for char in said)[:_SUMMARY_CHARS],
        "source": where,
        "severity": "critical" if message.severity == "page" else "warning",
        "timestamp": datetime.fromtimestamp(thing.began_s, UTC).isoformat(timespec="milliseconds"),
        "component": thing.about,
        "class": message.alert,
        "custom_details": details,
    }
    links = [{"href": message.runbook, "text": "First response"}] if message.runbook.startswith("http") else []
    return {**base, "event_action": "trigger", "client": "dodai", "payload": payload, "links": links}
