"""Bodies that the Machines API takes, as far as the stand-in looks at them; a config is kept as it was sent."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import field
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.vendor_api.contract import OffContractError, read


@dataclass(frozen=True, slots=True)
class _AskedHeader:
    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _AskedCheck:
    type: str = "tcp"
    path: str = "/"
    method: str = "GET"
    interval: Any = "15s"
    timeout: Any = "2s"
    headers: tuple[_AskedHeader, ...] = ()

    def __post_init__(self) -> None:
        for name, span in (("interval", self.interval), ("timeout", self.timeout)):
            if not isinstance(span, str | int) or isinstance(span, bool):
                raise OffContractError(f"$.{name}", "a duration, or a number of nanoseconds", span)


@dataclass(frozen=True, slots=True)
class _AskedService:
    checks: tuple[_AskedCheck, ...] = ()


@dataclass(frozen=True, slots=True)
class _AskedRestart:
    policy: str = "on-failure"
    max_retries: int = 10


@dataclass(frozen=True, slots=True)
class _AskedConfig:
    image: str
    env: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    services: tuple[_AskedService, ...] = ()
    checks: Mapping[str, _AskedCheck] = field(default_factory=dict)
    restart: _AskedRestart = _AskedRestart()


@dataclass(frozen=True, slots=True)
class MachineRequest:
    """Creates or updates a machine."""

    name: str = ""
    region: str = "nrt"
    config: Mapping[str, Any] = field(default_factory=dict)
    current_version: str = ""
    min_secrets_version: int = 0
    skip_service_registration: bool = False
    skip_launch: bool = False

    def __post_init__(self) -> None:
        if self.config:
            read(_AskedConfig, self.config, "$.config")


@dataclass(frozen=True, slots=True)
class StopRequest:
    """Ends a machine with a signal, after `timeout` by force."""

    signal: str = "SIGINT"
    timeout: str = "5s"

    def __post_init__(self) -> None:
        if self.signal not in signal.Signals.__members__:
            raise OffContractError("$.signal", "the name of a signal", self.signal)


@dataclass(frozen=True, slots=True)
class LeaseRequest:
    """`ttl` in seconds."""

    ttl: int = 13
    description: str = ""


@dataclass(frozen=True, slots=True)
class MetadataRequest:
    """An empty value removes its key."""

    metadata: Mapping[str, Any] = field(default_factory=dict)
    machine_version: str = ""


@dataclass(frozen=True, slots=True)
class SecretsRequest:
    """An empty value removes its secret."""

    values: Mapping[str, Any] = field(default_factory=dict)
