"""Litestar: controllers, routers and handlers, as the application has registered them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any

from .around import below
from .route import Enter, Kind, MatchedRoute, Reached, Route, let_through, looks_like_guard, looks_like_write, where

_EXAMPLES = {"int": "1", "float": "1.5", "Decimal": "1.5", "date": "2026-01-31", "datetime": "2026-01-31T00:00:00"}
_EXAMPLES |= {"UUID": "00000000-0000-4000-8000-000000000000", "time": "00:00:00", "timedelta": "1", "Path": "x"}

_NOWHERE = "/-/dodai/probe"


def routes(app: Any) -> list[Route]:
    """Every (method, path) of the application."""
    return [route for route, _ in _walk(app)]


def plant(app: Any, hit: Callable[[Route], None]) -> list[Route]:
    """The same, with what calls a handler replaced; middleware, guards and hooks in front of it stay."""
    found = list(_walk(app))
    http = {(id(owner), route.method): route for route, owner in found}

    async def answer(owner: Any, scope: Any, **_: Any) -> Any:
        hit(http[id(owner), scope["method"]])
        return _no_content

    for owner_type in {type(owner) for route, owner in found if hasattr(owner, "route_handler_map")}:
        owner_type._get_response_for_request = answer  # noqa: SLF001 - the one place through which every handler is called
    for route, owner in found:
        if not hasattr(owner, "route_handler_map"):
            owner.route_handler._fn = _tripwire(route, hit)  # noqa: SLF001 - `fn` has no setter
    return [route for route, _ in found]


def find(app: Any, scope: Mapping[str, Any]) -> MatchedRoute | None:
    """The route that the router will choose; what lies below a mount has none."""
    method, path, router = scope.get("method"), scope["path"], app.asgi_router
    if root_path := scope.get("root_path", ""):
        path = path.split(root_path, maxsplit=1)[-1]
    path = sys.modules["litestar.utils"].normalize_path(path)  # as the router does: `/hook/` is `/hook`
    _, handler, _, _, template = router.handle_routing(path=path, method=method)
    if hasattr(handler, "is_mount"):
        return None
    return MatchedRoute(f"{method or 'WEBSOCKET'} {template}", handler, is_watched(app))


def watch(app: Any, enter: Enter) -> bool:
    """Where a handler is called, behind middleware and guards.

    Of an HTTP route that is a method of the route. A WebSocket's or an ASGI handler's route is called by what was bound
    when it was registered, and asks its handler for the guards each time: the entrance is the last of them.
    """
    for kind, name in _places(app):
        enters = _stand(kind, name, enter.apart())
        known = enters.get(id(app))
        enters[id(app)] = (app, enter if known is None else known[1].joined(enter))
    return True


def watch_all(enter: Enter) -> None:
    """In every application of the process, found or not."""
    routes, handlers = sys.modules.get("litestar.routes"), sys.modules.get("litestar.handlers")
    if routes is not None and handlers is not None:
        _stand(routes.HTTPRoute, _RESPOND, enter)
        for kind in (handlers.ASGIRouteHandler, handlers.WebsocketRouteHandler):
            _stand(kind, _GUARDS, enter)


_RESPOND, _GUARDS = "_get_response_for_request", "resolve_guards"


def _places(app: Any) -> set[tuple[Any, str]]:
    """(class, method) through which the handlers of `app` are called."""
    return {
        (type(route), _RESPOND) if hasattr(route, "route_handler_map") else (type(route.route_handler), _GUARDS)
        for route in app.routes
    }


def _stand(kind: Any, name: str, others: Enter) -> dict[int, tuple[Any, Enter]]:
    """Put the entrance into a class; the `Enter` of each application by its id."""
    method = getattr(kind, name)
    if getattr(method, "dodai", None) is None:
        method = (_entered if name == _RESPOND else _guarded)(method, others)
        setattr(kind, name, method)
    found: dict[int, tuple[Any, Enter]] = method.dodai
    return found


def mounted(app: Any) -> Iterator[Any]:
    """The applications of `asgi` handlers, and the functions that may call one."""
    for route in app.routes:
        handler: Any = getattr(route, "route_handler", None)
        if hasattr(handler, "is_mount"):
            yield handler.fn


def is_watched(app: Any) -> bool:
    """Whether the entrances are where `watch` has put them, for routes that came since, too."""
    return all(id(app) in getattr(getattr(kind, name), "dodai", ()) for kind, name in _places(app))


def _entered(respond: Callable[..., Any], others: Enter) -> Any:
    """One for all applications of the process, because it stands in their class; each has an `Enter` of its own."""
    enters: dict[int, tuple[Any, Enter]] = {}

    def entered(route: Any, scope: Any, request: Any, route_handler: Any, parameter_model: Any) -> Any:
        _, chosen = enters.get(id(scope.get("litestar_app")), (None, others))
        chosen(scope, scope["method"], lambda: Reached(route_handler))
        return respond(
            route, scope=scope, request=request, route_handler=route_handler, parameter_model=parameter_model
        )

    entered.dodai = enters  # type: ignore[attr-defined]
    return entered


def _guarded(resolve: Callable[..., Any], others: Enter) -> Any:
    """The guards of a handler, and behind them, whatever they have changed, the entrance."""
    enters: dict[int, tuple[Any, Enter]] = {}

    def guards(handler: Any) -> list[Any]:
        async def entrance(connection: Any, _: Any) -> None:
            scope = connection.scope
            _, chosen = enters.get(id(scope.get("litestar_app")), (None, others))
            method = "WEBSOCKET" if scope["type"] == "websocket" else scope["method"]
            chosen(scope, method, lambda: _reached(handler))

        return [*resolve(handler), entrance]

    guards.dodai = enters  # type: ignore[attr-defined]
    return guards


def _reached(handler: Any) -> Reached:
    """An application of a framework that an ASGI handler leads to has entrances, and maybe a check, of its own."""
    return Reached(handler, behind=not hasattr(handler, "is_mount") or next(below(handler.fn), None) is None)


def route_label(scope: Mapping[str, Any]) -> str | None:
    """The template that Litestar leaves in the scope."""
    path = scope.get("path_template")
    return path if isinstance(path, str) and path else None


def own_check(app: Any) -> str:
    """Litestar's own double submit."""
    return "litestar.config.csrf.CSRFConfig" if getattr(app, "csrf_config", None) is not None else ""


def lets_through(app: Any) -> str:
    """The forged request that the middleware does not refuse, as the application configures it; empty for none."""
    tokens = native_tokens(app, "")
    if tokens is None:
        return "`litestar.middleware.csrf` is not there to be asked"
    cookie = {"cookie": tokens["cookie"]}
    cases = {
        "without a token": {},
        "without a token and with cookies": cookie,
        "with a wrong token": {**cookie, tokens["header"]: tokens["other"]},
    }
    return let_through("litestar.config.csrf.CSRFConfig", cases, functools.partial(_is_refused, app))


def _is_refused(app: Any, method: str, sent: Mapping[str, str]) -> bool:
    reached: list[str] = []

    async def inside(*_: Any) -> None:
        reached.append(method)

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(name.encode(), value.encode()) for name, value in sent.items()]
    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": _NOWHERE,
        "raw_path": b"",
        "query_string": b"",
        "root_path": "",
    }
    scope |= {"headers": headers, "scheme": "http", "server": None, "client": None, "http_version": "1.1"}
    scope |= {"state": {}, "app": app, "litestar_app": app, "route_handler": SimpleNamespace(opt={}), "path_params": {}}
    middleware = sys.modules["litestar.middleware.csrf"].CSRFMiddleware(inside, app.csrf_config)
    refusal = sys.modules["litestar.exceptions"].HTTPException
    asked = middleware(scope, receive, inside)
    try:
        asked.send(None)  # it waits for nothing here: there is no form to read, and a server's loop may be running
    except refusal:
        return True
    except StopIteration:
        return not reached
    finally:
        asked.close()
    return False


def watch_own_check(app: Any, seen: Callable[[], None]) -> bool:
    """Have `seen` called when Litestar's middleware has found the token of a request to be right."""
    del app
    middleware = sys.modules["litestar.middleware.csrf"].CSRFMiddleware
    check = middleware._csrf_tokens_match  # noqa: SLF001 - the one place that compares the token
    if getattr(check, "dodai", None) is None:

        @functools.wraps(check)
        def checked(self: Any, *tokens: Any) -> bool:
            right = bool(check(self, *tokens))
            if right:
                seen()
            return right

        checked.dodai = seen  # type: ignore[attr-defined]
        middleware._csrf_tokens_match = checked  # noqa: SLF001
    return True


def native_tokens(app: Any, origin: str) -> dict[str, str] | None:
    """A cookie and token of Litestar's own double submit; None when it is off."""
    del origin
    config = getattr(app, "csrf_config", None)
    module = sys.modules.get("litestar.middleware.csrf")
    if config is None or module is None:
        return None
    token = str(module.generate_csrf_token(secret=config.secret))
    return {
        "token": token,
        "cookie": f"{config.cookie_name}={token}",
        "field": "_csrf_token",
        "header": str(config.header_name).lower(),
        "other": str(module.generate_csrf_token(secret=config.secret)),
    }


def _walk(app: Any) -> Iterator[tuple[Route, Any]]:
    for owner in app.routes:
        path, example = owner.path_format, _example(owner)
        if hasattr(owner, "route_handlers"):
            for handler in owner.route_handlers:
                for method in sorted(str(getattr(name, "value", name)) for name in handler.http_methods):
                    yield _route(method, path, "handler", handler, example), owner
        elif _kind(owner) == "websocket":
            yield _route("WEBSOCKET", path, "websocket", owner.route_handler, example), owner
        elif not getattr(owner.route_handler, "is_static", False):
            yield _route("*", f"{path.rstrip('/')}/{{path}}", "opaque", owner.route_handler, example), owner


def _route(method: str, path: str, kind: Kind, handler: Any, example: str) -> Route:
    fn = getattr(handler, "fn", handler)
    name, source, line = where(getattr(fn, "value", fn))
    guards = [getattr(guard, "value", guard) for guard in getattr(handler, "guards", None) or ()]
    exempt_by = "exclude_from_csrf" if getattr(handler, "opt", {}).get("exclude_from_csrf") else ""
    guard, writes = looks_like_guard(*guards), looks_like_write(getattr(fn, "value", fn), method)
    return Route(method, path, "litestar", kind, name, source, line, "", example, guard, exempt_by, writes)


def _example(owner: Any) -> str:
    parts = []
    for part in owner.path_components:
        kind = getattr(getattr(part, "type", None), "__name__", "")
        parts.append(part if isinstance(part, str) else _EXAMPLES.get(kind, "x"))
    return "/" + "/".join(parts)


def _kind(owner: Any) -> str:
    return str(getattr(owner.scope_type, "value", owner.scope_type)).lower()


def _tripwire(route: Route, hit: Callable[[Route], None]) -> Any:
    async def tripwire(*_: Any, **__: Any) -> None:
        hit(route)

    return tripwire


async def _no_content(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})
