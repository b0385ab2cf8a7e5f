"""FastAPI: a Starlette whose included routers are kept as objects since 0.137."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from . import starlette
from .route import Route


def routes(app: Any) -> list[Route]:
    """Every (method, path) below `app`, included routers and sub-applications too."""
    return starlette.routes(app, "fastapi")


def plant(app: Any, hit: Callable[[Route], None]) -> list[Route]:
    """The same, with every handler, and the dependencies in front of it, replaced."""
    return starlette.plant(app, hit, "fastapi")


def match(app: Any, scope: Mapping[str, Any]) -> str | None:
    """The id of the route that the router will choose."""
    return starlette.match(app, scope)


def route_label(scope: Mapping[str, Any]) -> str | None:
    """The template of the route that served `scope`, prefixes of included routers and mounts included."""
    return starlette.route_label(scope)
