"""What operations needs from outside, one module per port: the Protocol and the plain values it speaks in.

An environment is a value of these ports (`operations.environment`); a provider implements some of them.
"""

from __future__ import annotations

from dodai.operations.ports.artifacts import Artifacts, ReleaseFile
from dodai.operations.ports.compute import (
    CanaryCompute,
    Compute,
    ComputeStatus,
    FaultMode,
    Instance,
    InstanceState,
    Limits,
    Liveness,
    ProbeState,
    Readiness,
    ServiceProbe,
    ServiceSpec,
    ServiceStatus,
    StagedCompute,
    Wire,
)
from dodai.operations.ports.control import Control, ControlSeen, Fence, LockHolder
from dodai.operations.ports.database import (
    DatabaseSeen,
    DatabaseService,
    KeepsReplacedData,
    Login,
    Logins,
    MigrationsService,
    ReplacedData,
    ReplacedRow,
    ReplacedTable,
    RestorePoint,
    RestorePoints,
    ServiceRole,
)
from dodai.operations.ports.doctor_row import DoctorRow, RowState, row_of_error
from dodai.operations.ports.edge import CacheRule, Edge, EdgeSpec, EdgeState, KeptEdge, RateLimit
from dodai.operations.ports.host import Fault, Host, HostStatus, ProcessSpec, ProcessStatus
from dodai.operations.ports.identity import IdentityService, IdentityState
from dodai.operations.ports.logs import LogLine, Logs
from dodai.operations.ports.network import REFUSED, DirectSeen, OriginSeen, PortSeen
from dodai.operations.ports.secret import SecretStore

__all__ = [
    "REFUSED",
    "Artifacts",
    "CacheRule",
    "CanaryCompute",
    "Compute",
    "ComputeStatus",
    "Control",
    "ControlSeen",
    "DatabaseSeen",
    "DatabaseService",
    "DirectSeen",
    "DoctorRow",
    "Edge",
    "EdgeSpec",
    "EdgeState",
    "Fault",
    "FaultMode",
    "Fence",
    "Host",
    "HostStatus",
    "IdentityService",
    "IdentityState",
    "Instance",
    "InstanceState",
    "KeepsReplacedData",
    "KeptEdge",
    "Limits",
    "Liveness",
    "LockHolder",
    "LogLine",
    "Login",
    "Logins",
    "Logs",
    "MigrationsService",
    "OriginSeen",
    "PortSeen",
    "ProbeState",
    "ProcessSpec",
    "ProcessStatus",
    "RateLimit",
    "Readiness",
    "ReleaseFile",
    "ReplacedData",
    "ReplacedRow",
    "ReplacedTable",
    "RestorePoint",
    "RestorePoints",
    "RowState",
    "SecretStore",
    "ServiceProbe",
    "ServiceRole",
    "ServiceSpec",
    "ServiceStatus",
    "StagedCompute",
    "Wire",
    "row_of_error",
]
