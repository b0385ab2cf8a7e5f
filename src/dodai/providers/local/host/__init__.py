"""The host of a local environment: one process that owns everything else, and how to talk to it."""

from __future__ import annotations

from dodai.providers.local.host.host_client import HostClient, client, open_host

__all__ = ["HostClient", "client", "open_host"]
