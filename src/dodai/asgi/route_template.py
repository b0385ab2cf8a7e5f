"""The route template of a request, from the framework that routed it."""

from __future__ import annotations

from typing import Any

from dodai.core.asgi_types import Scope
from dodai.frameworks import match, recognise, route_label

_LEAVES_NO_ROUTE = frozenset({"django"})
"""Frameworks that do not write into the scope what they routed to; their resolver is asked once more."""


def router_of(app: Any) -> Any:
    """What `label` has to ask for the routes of `app`; None when the framework leaves them in the scope."""
    return app if recognise(app) in _LEAVES_NO_ROUTE else None


def label(scope: Scope, router: Any = None) -> str | None:
    """The template of the matched route with its mount prefixes, as `/api/users/{id}`; None when nothing matched.

    What is served below a mount without routes of its own (static files, say) is `/static/*`: one label for each mount.
    Never raises: a label is not worth a request.
    """
    try:
        return route_label(scope) or _mount(scope) or _asked(scope, router)
    except Exception:  # noqa: BLE001 - frameworks change under us; an unlabelled line is still a line
        return None


def _asked(scope: Scope, router: Any) -> str | None:
    found = match(router, scope) if router is not None else None
    return found.partition(" ")[2] or None if found else None


def _mount(scope: Scope) -> str | None:
    inner, outer = scope.get("root_path", ""), scope.get("app_root_path")
    if outer is None or len(inner) <= len(outer):
        return None
    prefix = inner[len(outer) :]
    routes = getattr(scope.get("router"), "routes", ())
    return f"{prefix}/*" if any(getattr(route, "path", None) == prefix for route in routes) else None
