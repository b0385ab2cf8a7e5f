"""The local edge: one reverse proxy in front of the public services, as careful as the real one has to be."""

from __future__ import annotations

from dodai.providers.local.edge.listener import EdgeServer

__all__ = ["EdgeServer"]
