"""The procedures of operations, built as values; nothing here executes one."""

from __future__ import annotations

from dodai.operations.run.deploy import DeployPorts, deploy
from dodai.operations.run.preflight import previous_releases
from dodai.operations.run.restore import RESTORE, fitting
from dodai.operations.run.schema_steps import refusal, rollback_compatibility
from dodai.operations.run.service_steps import Settings, service_spec

__all__ = [
    "RESTORE",
    "DeployPorts",
    "Settings",
    "deploy",
    "fitting",
    "previous_releases",
    "refusal",
    "rollback_compatibility",
    "service_spec",
]
