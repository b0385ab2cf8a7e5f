"""The routes of an application, asked of the framework that it was written with.

Frameworks are recognised by the modules of their classes and never imported. Nothing here imports the rest of dodai:
the agent loads this folder by path into the user's interpreter.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import Any

from .around import below, beside, layers, others, sought, top_modules, unwrap
from .route import ENTERED, Enter, MatchedRoute, Reached, Route, where

__all__ = [
    "ENTERED",
    "NAMES",
    "Enter",
    "MatchedRoute",
    "Reached",
    "Route",
    "find",
    "lets_through",
    "match",
    "native_tokens",
    "own_check",
    "plant",
    "recognise",
    "report_errors",
    "route_label",
    "routes",
    "watch",
    "watch_own_check",
]

NAMES = ("fastapi", "starlette", "litestar", "django", "flask")
"""In the order in which they are tried: FastAPI is a Starlette."""
_BASES = ("starlette", "litestar", "django", "flask")


def recognise(app: Any) -> str | None:
    """The name of the framework that `app`, or what it wraps, is written with; None when it is none of `NAMES`."""
    modules = top_modules(unwrap(app))
    return next((name for name in NAMES if name in modules), None)


def routes(app: Any) -> tuple[Route, ...]:
    """Every (method, path) of `app`, safe ones too; raises `LookupError` when the framework is not known."""
    known = _app_of(app)
    return (*_module(known).routes(unwrap(known)), *(row for pair in others(app) for row in _beside_rows(*pair)))


def plant(app: Any, hit: Callable[[Route], None]) -> tuple[Route, ...]:
    """The routes of `app` after each handler was replaced by one that calls `hit` and answers 204.

    Middleware and hooks of the framework stay. For the agent only: the app cannot be used for anything else afterwards.
    """
    known = _app_of(app)
    more = [row for pair in others(app) for row in _beside_rows(*pair, hit)]
    return (*_module(known).plant(unwrap(known), hit), *more)


def native_tokens(app: Any, origin: str) -> dict[str, str] | None:
    """A valid token of the framework's own CSRF protection, for the agent: `token cookie field header other`.

    None when the framework has none, or when a token cannot be made without running a handler.
    """
    known = _app_of(app)
    native = getattr(_module(known), "native_tokens", None)
    found: dict[str, str] | None = native(unwrap(known), origin) if native is not None else None
    return found


def own_check(app: Any) -> str:
    """The framework's own CSRF check that is on for every view of `app`; empty when there is none."""
    name = recognise(app)
    named = getattr(_module(app), "own_check", None) if name is not None else None
    return str(named(unwrap(app))) if named is not None else ""


def lets_through(app: Any) -> str:
    """What the check of `own_check` did with forged requests if it let one pass, in words; empty if it refused all.

    It is asked itself, as the application configures it: neither its name nor its settings prove anything.
    """
    try:
        return str(_module(app).lets_through(unwrap(app)))
    except Exception as error:  # noqa: BLE001 - the application's own class may raise anything; that proves nothing
        return f"`{own_check(app)}`, asked with a forged request, raised `{type(error).__name__}: {error}`"


def watch_own_check(app: Any, seen: Callable[[], None]) -> bool:
    """Have `seen` called, in the request's own context, when the framework's own check has accepted a token.

    False where that cannot be seen.
    """
    try:
        return bool(_module(app).watch_own_check(unwrap(app), seen))
    except (AttributeError, KeyError, LookupError):  # a version of the framework that has no such place
        return False


def match(app: Any, scope: Mapping[str, Any]) -> str | None:
    """The id (`POST /quiz/{id}`) of the route that `find` finds."""
    found = find(app, scope)
    return found.id if found is not None else None


def find(app: Any, scope: Mapping[str, Any]) -> MatchedRoute | None:
    """The route that the framework's own router will choose for `scope`, as far as can be said from outside.

    None when no route matches, when the path leads into something that cannot be looked into, or when in doubt. What is
    between may still change the request: what runs in the end is known to `watch` alone.
    """
    name = recognise(app)
    if name is None:
        return None
    try:
        found = import_module(f"{__name__}.{name}").find(unwrap(app), scope)
    except Exception:  # noqa: BLE001 - a converter of the application's own may raise anything; that is no match
        return None
    if not isinstance(found, MatchedRoute):
        return None
    return found if all(_is_watched(other) for _, other in beside(app)) else replace(found, watched=False)


def watch(app: Any, enter: Enter, *, again: bool = False) -> bool:
    """Have `enter` called wherever a handler of `app` is about to run, behind all middleware; once for each app.

    And of every application that is found around it or mounted below it, and in front of a dispatcher among them; what
    is new `again`, later, may stand around the layer instead (`app.wsgi_app = Dispatcher(layer, ...)`), and is `apart`.
    `apart`, wherever one of any other application is, in the whole process: code may hold an application where nobody
    finds it, and lead requests there. A framework that is first imported later is left out, and so is who has lost
    both the scope and the context of its request on the way: such a one may well be served by itself.

    False when that place cannot be had: the framework is not known, or too old, or something that is not known stands
    beside it (a dispatcher's mount, say) and can be reached without passing there. One that middleware hides in a
    closure is watched as well, and false all the same: where its requests may lead is not known from outside.
    """
    for name in _BASES:
        if name in sys.modules:
            _on_all(name, enter.apart())
    hidden = sought(app) if recognise(app) is None else app
    found, around = [other for _, other in others(app)], enter.apart() if again else enter
    watched = [_watch(hidden, enter), *(_watch(each, around) for each in found)]
    _watch_mounted([hidden, *found], around)
    for layer in layers(app):
        import_module(f"{__name__}.flask").watch_dispatcher(layer, around)
    return hidden is app and all(watched)


def _watch_mounted(apps: list[Any], enter: Enter) -> None:
    """What a framework mounts of another one: its own sub-applications its own module has watched."""
    waiting, seen = list(apps), {id(each) for each in apps}
    while waiting:
        app = waiting.pop()
        for mount in _mounts(app):
            for each in below(mount):
                if id(each) not in seen:
                    seen.add(id(each))
                    waiting.append(each)
                    _watch(each, enter)


def _mounts(app: Any) -> list[Any]:
    mounted = getattr(_module(app), "mounted", None) if recognise(app) is not None else None
    with contextlib.suppress(AttributeError, TypeError):  # an internal that another version does not have
        return list(mounted(unwrap(app))) if mounted is not None else []
    return []


def _on_all(name: str, enter: Enter) -> None:
    with contextlib.suppress(AttributeError, KeyError, TypeError):  # a version that has no such place
        import_module(f"{__name__}.{name}").watch_all(enter)


def report_errors(app: Any, note: Callable[[BaseException], None]) -> None:
    """Have `note` called with every unhandled exception that the framework of `app` answers itself.

    Flask and Django turn it into their own 500, so that nobody outside ever sees it. `note` must live as long as `app`.
    """
    name = recognise(app)
    connect = getattr(_module(app), "report_errors", None) if name is not None else None
    if connect is not None:
        connect(unwrap(app), note)


def _watch(app: Any, enter: Enter) -> bool:
    name = recognise(app)
    if name is None:
        return False
    try:
        return bool(import_module(f"{__name__}.{name}").watch(unwrap(app), enter))
    except (AttributeError, TypeError):  # an internal of the framework that another version does not have
        return False


def _is_watched(app: Any) -> bool:
    try:
        return recognise(app) is not None and bool(_module(app).is_watched(unwrap(app)))
    except (AttributeError, TypeError):
        return False


def route_label(scope: Mapping[str, Any]) -> str | None:
    """The path template of the route that served `scope`, read after the call; None when no route did.

    From an ASGI scope or a WSGI environ. Where the framework leaves it in neither, its entrance (`watch`) has noted it.
    """
    if "path_template" in scope:
        return import_module(f"{__name__}.litestar").route_label(scope)  # type: ignore[no-any-return]
    if "route" in scope or "endpoint" in scope:
        return import_module(f"{__name__}.starlette").route_label(scope)  # type: ignore[no-any-return]
    if "dodai.route" in scope:
        return str(scope["dodai.route"]) or None
    return None


def _app_of(app: Any) -> Any:
    """`app`, or what it keeps where only the audit looks."""
    return app if recognise(app) is not None else sought(app)


def _beside_rows(prefix: str, other: Any, hit: Callable[[Route], None] | None = None) -> tuple[Route, ...]:
    """The routes of an application under a known prefix; one row for what cannot be listed or is nobody knows where."""
    known = recognise(other)
    if known is not None:
        module, inner = _module(other), unwrap(other)
        found = module.plant(inner, lambda route: hit(route.below(prefix))) if hit else module.routes(inner)
        if prefix and known != "django":  # there is one URLconf for all of Django in a process
            return tuple(route.below(prefix) for route in found)
    name, source, line = where(unwrap(other))
    return (Route("*", prefix + "/{path}", known or "unknown", "opaque", name, source, line),)


def _module(app: Any) -> Any:
    name = recognise(app)
    if name is None:
        raise LookupError(
            f"`{type(unwrap(app)).__module__}.{type(unwrap(app)).__qualname__}` is no framework known here"
        )
    return import_module(f"{__name__}.{name}")
