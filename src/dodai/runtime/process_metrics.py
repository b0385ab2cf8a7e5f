"""What a process counts itself, for whoever scrapes it: off unless `[observability] metrics` says where."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from dodai.core.line import Outcome
from dodai.observability.policy import address_of
from dodai.runtime.config import RuntimeConfig
from dodai.runtime.metric_server import MetricServer
from dodai.runtime.metric_slots import SlotCounter

_FAILED = frozenset({"server_error", "timeout", "aborted"})
_PROBES = ("/healthz", "/readyz")
_NEVER_TRAFFIC = ("/-/dodai/", "grpc.health.")
"""As in the rollups of `dodai watch`, so that both say the same."""


class Metrics:
    """Of one process. The slot is taken with the first request, so that a parent that only forks has none."""

    def __init__(self, config: RuntimeConfig, event: Callable[..., None]) -> None:
        self._config, self._event = config, event
        self._began = False
        self.slot: SlotCounter | None = None
        self.server: MetricServer | None = None
        told = config.sections.get("service") or {}
        asked = (str((one.get("health") or {}).get("path") or "") for one in told.values())
        self._probes = frozenset({*_PROBES, *filter(None, asked)})

    def count(
        self, kind: str, outcome: Outcome, place: str, method: str, waited_s: float, fields: Mapping[str, Any]
    ) -> None:
        """Count a request, call or task; `fields` are those of its line."""
        if place in self._probes or place.startswith(_NEVER_TRAFFIC):
            return
        if not self._began:
            self._begin()
        if self.slot is None:
            return
        name = f"{method} {place}" if kind == "http" else place
        first_byte_ms = fields.get("ttfbMs")
        waited_s = waited_s if first_byte_ms is None else first_byte_ms / 1000.0
        refused = str(fields.get("code") or "").startswith("DOD1")
        self.slot.count(kind, name, waited_s, failed=outcome in _FAILED, refused=refused)

    def count_line(self, line: Mapping[str, Any]) -> None:
        """Count what its own line says."""
        kind = line["type"]
        if kind not in ("http", "rpc", "ws", "task"):
            return
        place = line.get("name" if kind == "task" else "rpc" if kind == "rpc" else "route", "")
        self.count(kind, line["outcome"], place, line.get("method", ""), line["latencyMs"] / 1000.0, line)

    def forget(self) -> None:
        """In a child that was forked: what its parent holds is its parent's."""
        if self.slot is not None:
            self.slot.close()
        if self.server is not None:
            self.server.forget()

    def close(self) -> None:
        """For tests; the end of a process needs none of it."""
        if self.slot is not None:
            self.slot.close()
        if self.server is not None:
            self.server.close()

    def _begin(self) -> None:
        self._began = True
        address, folder = address_of(self._config.policy.metrics), _folder(self._config)
        if address is None or folder is None:
            self._event("metrics_unavailable", error="`[observability] metrics` is not host:port, or has no folder")
            return
        try:
            self.slot = SlotCounter.opened(folder, self._config.service)
        except OSError as error:
            self._event("metrics_unavailable", error=str(error)[:128])
            return
        if self.slot is None:
            self._event("metrics_unavailable", error="no slot is free, or the disk has no room")
        self.server = MetricServer(folder, address)


def _folder(config: RuntimeConfig) -> Path | None:
    """Where the counters are; None where somebody else has a place that only we should write to."""
    if config.state is not None:
        return config.state / "metrics"
    folder = Path(tempfile.gettempdir(), f"dodai-metrics-{os.getuid()}-{config.env or 'app'}")
    folder.mkdir(mode=0o700, exist_ok=True)
    found = folder.lstat()
    return folder if found.st_uid == os.getuid() and not folder.is_symlink() and not found.st_mode & 0o022 else None
