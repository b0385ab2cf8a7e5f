"""What a router of Starlette chooses for a request, and the entrances in front of what it chooses."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .around import beside, is_framework, kinds, unwrap
from .route import ANY_HANDLER, ENTERED, Enter, MatchedRoute, Reached

_FULL = 2
_ENTERED = "dodai.entered"
"""The key of a scope with the method that a router's entrance has let in, to whatever route takes it."""


def find(app: Any, scope: Mapping[str, Any]) -> MatchedRoute | None:
    """The route that the router will choose: the first full match, mounts entered, never left again."""
    own = _unrouted(scope)
    if root_path := getattr(app, "root_path", ""):
        own["root_path"] = root_path
    passed: list[Any] = []
    path, entry = _match(app.routes, own, "", "", passed)
    if path is None:
        return None
    method, watched = method_of(scope), _is_watched_through(getattr(app, "router", app), passed)
    return MatchedRoute(f"{method} {path}", entry, watched, lambda: _is_shared(app.routes, method, path, entry))


def watch(app: Any, enter: Enter) -> bool:
    """In every router, behind its middleware: what it is about to choose is what `_match` finds in the same scope.

    And behind the middleware of a single route, which may set the method that a class endpoint obeys.
    """
    return _watch_router(getattr(app, "router", app), enter, set())


def is_watched(app: Any) -> bool:
    """Whether the entrance of the outermost router is where `watch` has put it."""
    return isinstance(_choice(getattr(app, "router", app))[2], _StarletteEntrance)


def watch_all(enter: Enter) -> None:
    """In every router of the process, found or not: one that is called and has no entrance gets one.

    And where a route or a class endpoint is called without a router, or a route with another method than its router.
    """
    routing, endpoints = sys.modules.get("starlette.routing"), sys.modules.get("starlette.endpoints")
    if routing is not None:
        _stand(routing.BaseRoute, "__call__", enter)
        for kind in [each for each in kinds(routing.BaseRoute) if "handle" in vars(each)]:
            _stand_in_handle(kind, enter)
    if endpoints is not None:
        _stand(endpoints.HTTPEndpoint, "dispatch", enter)
    for kind in kinds(routing.Router) if routing is not None else ():
        called = vars(kind).get("__call__")
        watching = getattr(called, "dodai", None)
        if watching is not None:
            watching[0] = watching[0].joined(enter)
        elif called is not None:
            kind.__call__ = _watching(called, [enter])


def _stand(kind: Any, name: str, enter: Enter) -> None:
    called = vars(kind)[name]
    watching: list[Enter] = getattr(called, "dodai", [])
    watching[:] = [each.joined(enter) for each in watching] or [enter]
    if hasattr(called, "dodai"):
        return

    @functools.wraps(called)
    async def entered(self: Any, *arguments: Any) -> None:
        scope = arguments[0] if arguments else self.scope
        handler = ANY_HANDLER if is_mount(self) or hasattr(self, "host") else ENTERED
        watching[0](scope, scope.get("method", "WEBSOCKET"), lambda: Reached(handler, here=False))
        await called(self, *arguments)

    entered.dodai = watching  # type: ignore[attr-defined]
    setattr(kind, name, entered)


def _stand_in_handle(kind: Any, enter: Enter) -> None:
    handle = vars(kind)["handle"]
    watching: list[Enter] = getattr(handle, "dodai", [])
    watching[:] = [each.joined(enter) for each in watching] or [enter]
    if hasattr(handle, "dodai"):
        return

    @functools.wraps(handle)
    def entered(route: Any, scope: Any, receive: Any, send: Any) -> Any:
        # No coroutine of its own: every request passes.
        if scope.get(_ENTERED) != scope.get("method", "WEBSOCKET"):
            _enter_route(route, watching[0], scope)
        return handle(route, scope, receive, send)

    entered.dodai = watching  # type: ignore[attr-defined]
    kind.handle = entered


def _enter_route(route: Any, enter: Enter, scope: Any) -> None:
    """Where no router has let in whatever takes the method: it was passed by, or what came is one route's alone."""
    included = scope.get("fastapi", {}).get("effective_route_context")
    handler = route if hasattr(route, "endpoint") else ANY_HANDLER
    if included is not None and (included.original_route is route or included.starlette_route is route):
        handler = included.starlette_route or included
    app = scope.get("app")
    with contextlib.suppress(AttributeError):  # no application, or one whose router has no entrance
        enter = _choice(getattr(app, "router", app))[2].enter
    enter(scope, scope.get("method", "WEBSOCKET"), lambda: Reached(handler, here=handler is not ANY_HANDLER))


def _watching(called: Any, enter: list[Enter]) -> Any:
    @functools.wraps(called)
    async def entered(router: Any, scope: Any, receive: Any, send: Any) -> None:
        stack = getattr(router, "middleware_stack", None)
        if stack.__class__ is not _StarletteEntrance and scope["type"] != "lifespan":
            _enter_unwatched(router, enter[0], scope)
        await called(router, scope, receive, send)

    entered.dodai = enter  # type: ignore[attr-defined]
    return entered


def _enter_unwatched(router: Any, enter: Enter, scope: Any) -> None:
    """Give `router` its entrance; where it has no place for one, it is entered here."""
    try:
        if not isinstance(_choice(router)[2], _StarletteEntrance):
            _watch_router(router, enter, set())
    except (AttributeError, TypeError):
        enter(scope, scope.get("method", "WEBSOCKET"), lambda: Reached(router))


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
            method = scope.get("method", "WEBSOCKET")
            scope[_ENTERED] = method if self.enter(scope, method, lambda: self._reached(scope)) else None
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
        if _children(inner) is not None:
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


def _children(app: Any) -> Any:
    """The routes of what chooses as Starlette does; Litestar has a list of that name, too."""
    routes = getattr(app, "routes", None)
    is_ours = isinstance(routes, (list, tuple)) and (not routes or hasattr(routes[0], "matches"))
    return routes if is_ours else None


def mounted(app: Any) -> Iterator[Any]:
    """What stands below `app` and is no handler: mounts, hosts, applications that are endpoints or the default."""
    for entry in flatten(app.routes):
        if not hasattr(entry, "endpoint"):
            yield getattr(entry, "app", None)
        elif is_framework(unwrap(entry.endpoint)):
            yield entry.endpoint
    yield getattr(getattr(app, "router", app), "default", None)


def flatten(entries: Iterable[Any]) -> Iterator[Any]:
    """Route-like objects; FastAPI >= 0.137 keeps included routers, which yield one context for each route."""
    for entry in entries:
        contexts = getattr(entry, "effective_route_contexts", None)
        if callable(contexts):
            yield from (context.starlette_route or context for context in contexts())
        else:
            yield entry


def template_of(entry: Any) -> str:
    path = getattr(entry, "path_format", None)
    if not isinstance(path, str):
        return ""
    return path.removesuffix("/{path}") if is_mount(entry) else path


def is_mount(entry: Any) -> bool:
    return hasattr(entry, "app") and not hasattr(entry, "endpoint") and not hasattr(entry, "host")


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
            return (host + prefix + template_of(entry), entry) if known else (None, None)
        inner = unwrap(entry.app) if hasattr(entry, "app") else None
        children = _children(inner)
        if children is None:
            return None, None
        passed.append(entry.app)
        return _match(children, {**scope, **child}, prefix + template_of(entry), getattr(entry, "host", host), passed)
    return None, None


def _is_shared(entries: Iterable[Any], method: str, path: str, entry: Any) -> bool:
    """Whether another handler has the id too: `/p/{x}` and `/p/{x:path}` are called alike."""
    return any(path == name and other != entry and _answers(other, method) for name, other in _named(entries, "", ""))


def _named(entries: Iterable[Any], prefix: str, host: str) -> Iterator[tuple[str, Any]]:
    """The path of every route, as `_match` tells it."""
    for entry in flatten(entries):
        if hasattr(entry, "endpoint"):
            yield host + prefix + template_of(entry), entry
        elif (children := _children(unwrap(getattr(entry, "app", None)))) is not None:
            yield from _named(children, prefix + template_of(entry), getattr(entry, "host", host))


def _answers(entry: Any, method: str) -> bool:
    methods = getattr(entry, "methods", ())
    return methods == () if method == "WEBSOCKET" else methods is None or method in methods


def _unrouted(scope: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in scope.items() if key not in ("app", "router", "route", "endpoint", "fastapi")}


def method_of(scope: Mapping[str, Any]) -> str:
    return "WEBSOCKET" if scope["type"] == "websocket" else str(scope["method"])
