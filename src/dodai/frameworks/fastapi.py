"""FastAPI: a Starlette whose included routers are kept as objects since 0.137."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from . import starlette
from .route import Enter, MatchedRoute, Route


def routes(app: Any) -> list[Route]:
    """Every (method, path) below `app`, included routers and sub-applications too."""
    return starlette.routes(app, "fastapi")


def plant(app: Any, hit: Callable[[Route], None]) -> list[Route]:
    """The same, with every handler, and the dependencies in front of it, replaced."""
    return starlette.plant(app, hit, "fastapi")


def find(app: Any, scope: Mapping[str, Any]) -> MatchedRoute | None:
    """The route that the router will choose."""
    return starlette.find(app, scope)


def watch(app: Any, enter: Enter) -> bool:
    """In every router, behind its middleware; included routers are part of the one that includes them."""
    return starlette.watch(app, enter)


def is_watched(app: Any) -> bool:
    """Whether the entrance of the outermost router is where `watch` has put it."""
    return starlette.is_watched(app)


def mounted(app: Any) -> Iterator[Any]:
    """What stands below `app` and is no handler of it."""
    return starlette.mounted(app)


def route_label(scope: Mapping[str, Any]) -> str | None:
    """The template of the route that served `scope`, prefixes of included routers and mounts included."""
    return starlette.route_label(scope)
