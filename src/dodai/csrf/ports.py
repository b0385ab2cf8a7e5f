"""What csrf needs from outside: a client that sends requests to a whole environment."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol


class Response(Protocol):
    """An answer over HTTP, as httpx names its parts."""

    @property
    def status_code(self) -> int: ...
    @property
    def headers(self) -> Mapping[str, str]: ...
    @property
    def content(self) -> bytes: ...
    @property
    def text(self) -> str: ...


Request = Callable[..., Awaitable[Response]]
"""`await request(method, path, headers=…)` through the edge, by a client that keeps cookies."""
