"""What the manifest says about lines: where they go, how long they stay, what of a person they may carry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

UserIdMode = Literal["raw", "hmac"]
ClientIpMode = Literal["network", "none"]


@dataclass(frozen=True, slots=True)
class ObservabilityPolicy:
    """The `[observability]` section. Seconds and bytes; `sample` is the share of requests whose calls get lines."""

    user_id: UserIdMode = "raw"
    client_ip: ClientIpMode = "network"
    stdout: bool = True
    segment_bytes: int = 64 * 1024 * 1024
    segment_age_s: float = 600.0
    retention_age_s: float = 7 * 86400.0
    retention_bytes: int = 5 * 1024 * 1024 * 1024
    slow_call_s: float = 0.5
    sample: float = 0.01
    longest_request_s: float = 60.0

    @classmethod
    def from_manifest(cls, section: Mapping[str, Any]) -> ObservabilityPolicy:
        """The policy of a validated section; keys that are missing keep their defaults."""
        default = cls()
        return cls(
            user_id=section.get("user_id", default.user_id),
            client_ip=section.get("client_ip", default.client_ip),
            stdout=section.get("stdout", default.stdout),
            segment_bytes=section.get("segment_size", default.segment_bytes),
            segment_age_s=section.get("segment_age", default.segment_age_s),
            retention_age_s=section.get("retention", default.retention_age_s),
            retention_bytes=section.get("retention_size", default.retention_bytes),
            slow_call_s=section.get("slow_call", default.slow_call_s),
            sample=section.get("sample", default.sample),
            longest_request_s=section.get("longest_request", default.longest_request_s),
        )
