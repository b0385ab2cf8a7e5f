"""The route template of a request, from the framework that routed it."""

from __future__ import annotations

from dodai.asgi.types import Scope


def label(scope: Scope) -> str | None:
    """The template of the matched route with its mount prefixes, as `/users/{id}`; None when nothing matched."""
    route = scope.get("route")
    path = getattr(route, "path_format", None) or getattr(route, "path", None)
    return path if isinstance(path, str) else None
