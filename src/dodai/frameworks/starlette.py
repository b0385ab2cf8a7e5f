"""Starlette, and everything that routes like it: mounts, hosts, sub-applications, class endpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from .around import unwrap
from .route import UNSAFE, Kind, Route, looks_like_guard, looks_like_write, where
from .starlette_choice import find, flatten, is_watched, method_of, mounted, template_of, watch, watch_all

__all__ = ["find", "is_watched", "mounted", "plant", "route_label", "routes", "watch", "watch_all"]

_ENDPOINT_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY")
_EXAMPLES = ("x", "1", "1.5", "00000000-0000-4000-8000-000000000000", "2026-01-31", "en", "abcdefgh", "x.html")


def routes(app: Any, framework: str = "starlette") -> list[Route]:
    """Every (method, path) below `app`."""
    return [route for route, _ in _walk_app(app, framework)]


def plant(app: Any, hit: Callable[[Route], None], framework: str = "starlette") -> list[Route]:
    """The same, with every handler replaced; middleware around a single route or mount stays."""
    found = list(_walk_app(app, framework))
    replaced: set[int] = set()
    for route, holder in found:
        if id(holder) not in replaced:
            replaced.add(id(holder))
            _replace(holder, _tripwire(route, hit))
    return [route for route, _ in found]


def route_label(scope: Mapping[str, Any]) -> str | None:
    """The template of the route that served `scope`, with those of the mounts around it."""
    route = scope.get("route")
    context = scope.get("fastapi", {}).get("effective_route_context")
    if context is not None and context.original_route is route:
        route = context
    path = getattr(route, "path_format", None)
    if route is None and scope.get("endpoint") is not None:
        # FastAPI names its own routes (`/docs`, `/openapi.json`) by their endpoints only.
        return _find(getattr(scope.get("router"), "routes", ()), scope["endpoint"], "")
    if not isinstance(path, str):
        return None
    if scope.get("root_path", "") == scope.get("app_root_path", scope.get("root_path", "")):
        return path
    return _find(getattr(scope.get("router"), "routes", ()), route, "") or path


class _Default:
    """What a router calls when no route matches, where the application has replaced the framework's 404."""

    def __init__(self, router: Any) -> None:
        self._router = router

    @property
    def app(self) -> Any:
        return self._router.default

    @app.setter
    def app(self, value: Any) -> None:
        self._router.default = value


def _walk_app(app: Any, framework: str, prefix: str = "", host: str = "", at: str = "") -> Iterator[tuple[Route, Any]]:
    yield from _walk(app.routes, framework, prefix, host, at)
    router = getattr(app, "router", app)
    default = getattr(router, "default", None)
    if default is not None and getattr(default, "__self__", None) is not router:
        yield from _inside(_Default(router), framework, prefix, host, at)


def _walk(
    entries: Iterable[Any], framework: str, prefix: str = "", host: str = "", at: str = ""
) -> Iterator[tuple[Route, Any]]:
    for entry in flatten(entries):
        template, example = prefix + template_of(entry), at + _example(entry)
        if hasattr(entry, "methods") and hasattr(entry, "endpoint"):
            if entry.endpoint is not None:
                for route, holder in _handlers(entry, framework, template, example, host):
                    yield replace(route, pattern=f"{at}{getattr(entry, 'path', '')}"), holder
        elif hasattr(entry, "endpoint"):
            route = _route("WEBSOCKET", template, framework, "websocket", entry, host, example)
            yield replace(route, pattern=f"{at}{getattr(entry, 'path', '')}"), entry
        elif hasattr(entry, "host"):
            yield from _inside(entry, framework, prefix, entry.host, at)
        elif hasattr(entry, "app"):
            yield from _inside(entry, framework, template, host, example)
        elif hasattr(entry, "original_route") or _serves_files(entry):
            continue  # FastAPI's frontend routes: files, GET only
        else:
            yield _route("*", prefix + "/?", framework, "opaque", entry, host, at + "/"), entry


def _handlers(entry: Any, framework: str, path: str, example: str, host: str) -> Iterator[tuple[Route, Any]]:
    kind: Kind = "handler"
    methods = entry.methods
    if methods is None and _is_own(getattr(entry.endpoint, "dispatch", None)):
        methods = [name for name in _ENDPOINT_METHODS if hasattr(entry.endpoint, name.lower())]
    elif methods is None:
        kind, methods = "any", ("GET", *UNSAFE)
    for method in sorted(methods):
        yield _route(method, path, framework, kind, entry, host, example), entry


def _inside(entry: Any, framework: str, prefix: str, host: str, at: str) -> Iterator[tuple[Route, Any]]:
    inner = unwrap(entry.app)
    children = getattr(inner, "routes", None)
    if isinstance(children, (list, tuple)):
        yield from _walk_app(inner, framework, prefix, host, at)
    elif not _serves_files(inner):
        # A file server that answers in its own way is one handler for all below it, so that it can be probed.
        kind: Kind = "any" if _file_server(inner) else "opaque"
        yield _route("*", prefix + "/{path}", framework, kind, inner, host, at + "/x"), entry


def _route(method: str, path: str, framework: str, kind: Kind, entry: Any, host: str, example: str) -> Route:
    endpoint = getattr(entry, "endpoint", None) or entry
    name, source, line = where(endpoint)
    dependant = getattr(entry, "dependant", None)
    guard = looks_like_guard(endpoint, *_dependencies(dependant)) if dependant else looks_like_guard(endpoint)
    example_host = host if host and "{" not in host else ""
    writes = looks_like_write(endpoint, method)
    return Route(method, path, framework, kind, name, source, line, example_host or host, example, guard, "", writes)


def _dependencies(dependant: Any, depth: int = 10) -> Iterator[Any]:
    for child in getattr(dependant, "dependencies", ()) if depth else ():
        yield child.call
        yield from _dependencies(child, depth - 1)


def _example(entry: Any) -> str:
    path = template_of(entry)
    for name, convertor in getattr(entry, "param_convertors", {}).items():
        fitting = (text for text in _EXAMPLES if re.fullmatch(getattr(convertor, "regex", ".*"), text))
        path = path.replace(f"{{{name}}}", next(fitting, "x"))
    return path


def _serves_files(value: Any) -> bool:
    """True for the framework's own file servers, which answer GET and HEAD only; a name alone proves nothing."""
    server = _file_server(value)
    if server is None:
        return False
    own = type(value).__mro__[: type(value).__mro__.index(server)]
    return not any(name in vars(base) for base in own for name in ("__call__", "get_response"))


def _file_server(value: Any) -> type | None:
    named = (base for base in type(value).__mro__ if "StaticFiles" in base.__name__ or "Frontend" in base.__name__)
    return next((base for base in named if _is_own(base)), None)


def _is_own(value: Any) -> bool:
    """True for what the framework itself defines."""
    return str(getattr(value, "__module__", "")).partition(".")[0] in ("starlette", "fastapi")


def _find(entries: Iterable[Any], wanted: Any, prefix: str) -> str | None:
    for entry in flatten(entries):
        if entry is wanted or getattr(entry, "endpoint", None) is wanted:
            return prefix + template_of(entry)
        if hasattr(entry, "app") and not hasattr(entry, "endpoint"):
            children = getattr(unwrap(entry.app), "routes", ())
            if found := _find(children, wanted, prefix + template_of(entry)):
                return found
    return None


def _tripwire(route: Route, hit: Callable[[Route], None]) -> Any:
    async def tripwire(scope: Any, receive: Any, send: Any) -> None:
        del receive
        hit(route.served(method_of(scope)))
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
            await send({"type": "websocket.close", "code": 1000})
            return
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return tripwire


def _replace(holder: Any, tripwire: Any) -> None:
    """Put `tripwire` in place of the innermost application, so that middleware of one route still runs."""
    if not hasattr(holder, "app"):
        holder.handle = tripwire  # a route class of the application's own, which the router calls like this
    current = getattr(holder, "app", None)
    while current is not None and not isinstance(current, type) and hasattr(current, "app"):
        holder, current = current, current.app
    holder.app = tripwire
