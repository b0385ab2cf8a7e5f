"""Which engine is behind an address that lines or counters are read back from."""

from __future__ import annotations

from dodai.observability.ports import KeptCounters, KeptLines


def lines_at(address: str) -> KeptLines:
    """Who keeps lines there."""
    from dodai.providers.telemetry.victorialogs import VictoriaLogs

    return VictoriaLogs(address)


def counters_at(address: str) -> KeptCounters:
    """Who keeps counters there."""
    from dodai.providers.telemetry.prometheus_api import Prometheus

    return Prometheus(address)
