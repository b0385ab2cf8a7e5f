"""What the manifest says about lines, and about the alerts that are made of them."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Literal

from dodai.core.dataclass import dataclass
from dodai.core.section import bind, seconds, size, tables, unwritten

UserIdMode = Literal["raw", "hmac"]
ClientIpMode = Literal["network", "none"]
Severity = Literal["", "page", "ticket"]
NotifierKind = Literal["webhook", "slack", "pagerduty", "command", "email", "deadman"]


def address_of(text: str) -> tuple[str, int] | None:
    """Host and port of `host:port`; None for anything else."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    return (host, int(port)) if host and port.isdigit() and 0 < int(port) < 65536 else None


def is_loopback(host: str) -> bool:
    """Whether nobody but this machine reaches an address; a name is not one."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


STOPPING = "stopping"
"""The event of a process that was asked to end: one that ends without it has crashed."""


def loop_patience_s(heartbeat_s: float) -> float:
    """How long a heartbeat waits for the event loop that it asks, so that those of a hung process are hardly late."""
    return min(heartbeat_s / 2.0, 2.5)


@dataclass(frozen=True, slots=True)
class AlertSection:
    """`[observability.alert.NAME]`: what differs from the alert of that name; 0 and "" keep what it has."""

    name: str = unwritten("")
    enabled: bool = True
    threshold: float = 0.0
    window_s: float = seconds("0s")
    min_count: int = 0
    for_s: float = seconds("0s", name="for")
    severity: Severity = ""


@dataclass(frozen=True, slots=True)
class NotifierSection:
    """`[observability.notifier.NAME]`. A second notifier hears of an alert once it has fired for `after_s`.

    `variable` is the environment variable with the URL, which is a secret for Slack and for many webhooks; for
    PagerDuty it has the routing key. A `deadman` is asked for every `every_s` while alerts are evaluated, and whoever
    is behind it tells people when that stops.
    """

    kind: NotifierKind
    name: str = unwritten("")
    url: str = ""
    variable: str = ""
    command: tuple[str, ...] = ()
    smtp: str = "127.0.0.1:25"
    sender: str = ""
    to: tuple[str, ...] = ()
    severity: Severity = ""
    after_s: float = seconds("0s")
    every_s: float = seconds("1m")


@dataclass(frozen=True, slots=True)
class ExportSection:
    """`[observability.export.NAME]`: an OTLP receiver at `url`; `variable` has the `Authorization` of requests to it.

    `logs`, `traces` and `metrics` are its paths, `remote_write` that of Prometheus' own protocol; "" for what is not
    sent there.
    """

    url: str
    name: str = unwritten("")
    variable: str = ""
    logs: str = "/v1/logs"
    traces: str = "/v1/traces"
    metrics: str = "/v1/metrics"
    remote_write: str = ""


@dataclass(frozen=True, slots=True)
class ObservabilityPolicy:
    """The `[observability]` section. Seconds and bytes; `sample` is the share of requests whose calls get lines."""

    user_id: UserIdMode = "raw"
    client_ip: ClientIpMode = "network"
    stdout: bool = True
    segment_bytes: int = size("64MiB", name="segment_size")
    segment_age_s: float = seconds("10m")
    retention_age_s: float = seconds("7d", name="retention")
    retention_bytes: int = size("5GiB", name="retention_size")
    slow_call_s: float = seconds("500ms")
    sample: float = 0.01
    heartbeat_s: float = seconds("5s")
    longest_request_s: float = seconds("60s")
    cell_s: float = seconds("10s")
    slo: float = 0.995
    runbook: str = ""
    incidents: str = "docs/incidents"
    metrics: str = ""
    alerts: Mapping[str, AlertSection] = tables(AlertSection, name="alert")
    notifiers: Mapping[str, NotifierSection] = tables(NotifierSection, name="notifier")
    exports: Mapping[str, ExportSection] = tables(ExportSection, name="export")

    @classmethod
    def from_manifest(cls, section: Mapping[str, Any]) -> ObservabilityPolicy:
        """The policy of a validated section; keys that are missing keep their defaults."""
        return bind(cls, section)
