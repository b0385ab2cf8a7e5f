"""Starlette, and everything that routes like it: mounts, hosts, sub-applications, class endpoints."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from .route import (
    UNSAFE,
    Enter,
    Kind,
    MatchedRoute,
    Reached,
    Route,
    beside,
    looks_like_guard,
    looks_like_write,
    unwrap,
    where,
)

_FULL = 2
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


def find(app: Any, scope: Mapping[str, Any]) -> MatchedRoute | None:
    """The route that the router will choose: the first full match, mounts entered, never left again."""
    own = _unrouted(scope)
    if root_path := getattr(app, "root_path", ""):
        own["root_path"] = root_path
    passed: list[Any] = []
    path, entry = _match(app.routes, own, "", "", passed)
    if path is None:
        return None
    method, watched = _method(scope), _is_watched_through(getattr(app, "router", app), passed)
    return MatchedRoute(f"{method} {path}", entry, watched, lambda: _is_shared(app.routes, method, path, entry))


def watch(app: Any, enter: Enter) -> bool:
    """In every router, behind its middleware: what it is about to choose is what `_match` finds in the same scope.

    And behind the middleware of a single route, which may set the method that a class endpoint obeys.
    """
    return _watch_router(getattr(app, "router", app), enter, set())


def is_watched(app: Any) -> bool:
    """Whether the entrance of the outermost router is where `watch` has put it."""
    return isinstance(_choice(getattr(app, "router", app))[2], _StarletteEntrance)


class _StarletteEntrance:
    """Stands where a router begins to choose; a plain call, because every request passes."""

    __slots__ = ("_choose", "_router", "_seen", "enter")

    def __init__(self, router: Any, choose: Any, enter: Enter) -> None:
        self._router = router
        self._choose = choose
        self._seen = list(router.routes)
        self.enter = enter

    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] != "lifespan":
            routes = self._router.routes
            if routes != self._seen:  # the same objects are compared without a call: 0.3 us for 40
                self._seen = list(routes)
                _watch_router(self._router, self.enter, set())
            self.enter(scope, scope.get("method", "WEBSOCKET"), lambda: self._reached(scope))
        return self._choose(scope, receive, send)

    def _reached(self, scope: Any) -> Reached:
        passed: list[Any] = []
        handler = _match(self._router.routes, _unrouted(scope), "", "", passed)[1]
        return Reached(handler, not passed)


class _RouteEntrance:
    """Stands where a route calls its endpoint, behind middleware of its own."""

    __slots__ = ("_endpoint", "_enter", "_entry")

    def __init__(self, entry: Any, endpoint: Any, enter: Enter) -> None:
        self._entry = entry
        self._endpoint = endpoint
        self._enter = enter

    def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
        self._enter(scope, scope.get("method", "WEBSOCKET"), lambda: Reached(self._entry))
        return self._endpoint(scope, receive, send)


def _watch_router(router: Any, enter: Enter, seen: set[int]) -> bool:
    if id(router) in seen:
        return True
    seen.add(id(router))
    holder, name, choose = _choice(router)
    if not isinstance(choose, _StarletteEntrance):
        setattr(holder, name, _StarletteEntrance(router, choose, enter))
    else:
        choose.enter = choose.enter.joined(enter)
    for entry in router.routes:
        if hasattr(entry, "endpoint") and hasattr(getattr(entry, "app", None), "app"):
            _watch_route(entry, enter)
    for entry in flatten(router.routes):
        inner = unwrap(entry.app) if hasattr(entry, "app") and not hasattr(entry, "endpoint") else None
        if isinstance(getattr(inner, "routes", None), (list, tuple)):
            _watch_router(getattr(inner, "router", inner), enter, seen)
    return True


def _choice(router: Any) -> tuple[Any, str, Any]:
    """(what holds it, under which name, it): what `router` calls behind its middleware in order to choose."""
    holder, name = router, "middleware_stack"
    choose = getattr(holder, name)
    while not isinstance(choose, _StarletteEntrance) and getattr(choose, "__self__", None) is not router:
        holder, name = choose, "app"
        choose = getattr(holder, name)
    return holder, name, choose


def _watch_route(entry: Any, enter: Enter) -> None:
    holder = entry
    while hasattr(holder.app, "app") and not isinstance(holder.app, type):
        holder = holder.app
    if not isinstance(holder.app, _RouteEntrance):
        holder.app = _RouteEntrance(entry, holder.app, enter)


def _is_watched_through(router: Any, passed: list[Any]) -> bool:
    """Whether `router` has its entrance, and every application of a mount on the way, which gets one if it is new.

    Not where something in front of one can call another application.
    """
    choose = _choice(router)[2]
    if not isinstance(choose, _StarletteEntrance):
        return False
    for app in passed:
        inner = unwrap(app)
        if inner is not app and beside(app):
            return False
        _watch_router(getattr(inner, "router", inner), choose.enter, set())
    return True


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


def flatten(entries: Iterable[Any]) -> Iterator[Any]:
    """Route-like objects; FastAPI >= 0.137 keeps included routers, which yield one context for each route."""
    for entry in entries:
        contexts = getattr(entry, "effective_route_contexts", None)
        if callable(contexts):
            yield from (context.starlette_route or context for context in contexts())
        else:
            yield entry


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
        template, example = prefix + _template(entry), at + _example(entry)
        if hasattr(entry, "methods") and hasattr(entry, "endpoint"):
            if entry.endpoint is not None:
                yield from _handlers(entry, framework, template, example, host)
        elif hasattr(entry, "endpoint"):
            yield _route("WEBSOCKET", template, framework, "websocket", entry, host, example), entry
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


def _template(entry: Any) -> str:
    path = getattr(entry, "path_format", None)
    if not isinstance(path, str):
        return ""
    return path.removesuffix("/{path}") if _is_mount(entry) else path


def _example(entry: Any) -> str:
    path = _template(entry)
    for name, convertor in getattr(entry, "param_convertors", {}).items():
        fitting = (text for text in _EXAMPLES if re.fullmatch(getattr(convertor, "regex", ".*"), text))
        path = path.replace(f"{{{name}}}", next(fitting, "x"))
    return path


def _is_mount(entry: Any) -> bool:
    return hasattr(entry, "app") and not hasattr(entry, "endpoint") and not hasattr(entry, "host")


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


def _match(
    entries: Iterable[Any], scope: dict[str, Any], prefix: str, host: str, passed: list[Any]
) -> tuple[str | None, Any]:
    """(path of the route, what holds its handler); (None, None) when none matches or it cannot be looked into.

    `passed` is given the applications of the mounts on the way there.
    """
    for entry in flatten(entries):
        found, child = entry.matches(scope)
        if found.value != _FULL:
            continue
        if hasattr(entry, "endpoint"):
            known = getattr(entry, "path_format", None) is not None
            return (host + prefix + _template(entry), entry) if known else (None, None)
        inner = unwrap(entry.app) if hasattr(entry, "app") else None
        children = getattr(inner, "routes", None)
        if not isinstance(children, (list, tuple)):
            return None, None
        passed.append(entry.app)
        return _match(children, {**scope, **child}, prefix + _template(entry), getattr(entry, "host", host), passed)
    return None, None


def _is_shared(entries: Iterable[Any], method: str, path: str, entry: Any) -> bool:
    """Whether another handler has the id too: `/p/{x}` and `/p/{x:path}` are called alike."""
    return any(path == name and other != entry and _answers(other, method) for name, other in _named(entries, "", ""))


def _named(entries: Iterable[Any], prefix: str, host: str) -> Iterator[tuple[str, Any]]:
    """The path of every route, as `_match` tells it."""
    for entry in flatten(entries):
        if hasattr(entry, "endpoint"):
            yield host + prefix + _template(entry), entry
        elif isinstance(children := getattr(unwrap(getattr(entry, "app", None)), "routes", None), (list, tuple)):
            yield from _named(children, prefix + _template(entry), getattr(entry, "host", host))


def _answers(entry: Any, method: str) -> bool:
    methods = getattr(entry, "methods", ())
    return methods == () if method == "WEBSOCKET" else methods is None or method in methods


def _unrouted(scope: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in scope.items() if key not in ("app", "router", "route", "endpoint", "fastapi")}


def _find(entries: Iterable[Any], wanted: Any, prefix: str) -> str | None:
    for entry in flatten(entries):
        if entry is wanted or getattr(entry, "endpoint", None) is wanted:
            return prefix + _template(entry)
        if hasattr(entry, "app") and not hasattr(entry, "endpoint"):
            children = getattr(unwrap(entry.app), "routes", ())
            if found := _find(children, wanted, prefix + _template(entry)):
                return found
    return None


def _tripwire(route: Route, hit: Callable[[Route], None]) -> Any:
    async def tripwire(scope: Any, receive: Any, send: Any) -> None:
        del receive
        hit(route.served(_method(scope)))
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


def _method(scope: Mapping[str, Any]) -> str:
    return "WEBSOCKET" if scope["type"] == "websocket" else str(scope["method"])
