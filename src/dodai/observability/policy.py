"""What the manifest says about lines: where they go, how long they stay, what of a person they may carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from dodai.core.section import bind, seconds, size

UserIdMode = Literal["raw", "hmac"]
ClientIpMode = Literal["network", "none"]


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

    @classmethod
    def from_manifest(cls, section: Mapping[str, Any]) -> ObservabilityPolicy:
        """The policy of a validated section; keys that are missing keep their defaults."""
        return bind(cls, section)
