"""The page of `dodai watch`: what the environment does, at one address, without anything from elsewhere."""

from __future__ import annotations

from dodai.observability.run.watch_page.page_server import PageServer, address_of

__all__ = ["PageServer", "address_of"]
