"""Stand-in of Fly.io: the Machines API with a process behind each machine, its proxy, and the image registry."""

from __future__ import annotations

from dodai.standins.fly.fly_api import FlyStandIn
from dodai.standins.fly.image_registry import MachineImage, RegistryStandIn

__all__ = ["FlyStandIn", "MachineImage", "RegistryStandIn"]
