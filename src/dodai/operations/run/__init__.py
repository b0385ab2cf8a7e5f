"""The procedures and drills of operations, built as values; nothing here executes one."""

from __future__ import annotations

from dodai.operations.run.deploy import DeployPorts, Settings, deploy, service_spec
from dodai.operations.run.drills import drills

__all__ = ["DeployPorts", "Settings", "deploy", "drills", "service_spec"]
