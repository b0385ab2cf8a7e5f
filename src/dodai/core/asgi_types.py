"""ASGI in types (asgi.readthedocs.io, version 3), for every layer that speaks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Served = Callable[..., Awaitable[None]]
"""An `App` that may be given the open `RequestContext` as a fourth argument."""
