"""What operations needs from outside, one module per port: the Protocol and the plain values it speaks in.

An environment is a value of these ports (`operations.environment`); a provider implements some of them.
"""

from __future__ import annotations

from dodai.operations.ports.artifacts import Artifacts
from dodai.operations.ports.compute import (
    Compute,
    ComputeStatus,
    FaultMode,
    Instance,
    InstanceState,
    Probe,
    ProbeState,
    ServiceSpec,
    ServiceStatus,
    Wire,
)
from dodai.operations.ports.edge import CacheRule, Edge, EdgeSpec, EdgeState
from dodai.operations.ports.host import Fault, Host, HostStatus, ProcessSpec, ProcessStatus

__all__ = [
    "Artifacts",
    "CacheRule",
    "Compute",
    "ComputeStatus",
    "Edge",
    "EdgeSpec",
    "EdgeState",
    "Fault",
    "FaultMode",
    "Host",
    "HostStatus",
    "Instance",
    "InstanceState",
    "Probe",
    "ProbeState",
    "ProcessSpec",
    "ProcessStatus",
    "ServiceSpec",
    "ServiceStatus",
    "Wire",
]
