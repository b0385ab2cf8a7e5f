"""What stands around an application: its layers, and the other applications that they hold and can call."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Iterator
from itertools import islice
from types import ModuleType
from typing import Any

_MAX_WRAPPERS = 50
_MAX_HELD = 1_000
_LAYER_NAMES = ("app", "application", "wsgi_app", "_inner", "__wrapped__")
_OWN = frozenset({"dodai", "dodai_frameworks", "dodai_agent"})
_HOLDERS = frozenset({"types", "functools", "collections", "builtins"})
"""Modules of the standard library whose objects are there to hold others."""


def unwrap(app: Any) -> Any:
    """The application inside middleware that keeps it as `app`; `app` itself when it has routes of its own."""
    for _ in range(_MAX_WRAPPERS):
        if is_framework(app):
            return app
        inner = _inner(app)
        if inner is None or inner is app:
            return app
        app = inner
    return app


def beside(app: Any) -> list[tuple[str, Any]]:
    """(path prefix, application) of others that the layers around `app` can call: a dispatcher's mounts, say.

    Only what is certainly an application: one of a known framework, or what stands in `mounts` under a path.
    """
    inside = unwrap(app)
    found: dict[int, tuple[str, Any]] = {}
    layers, seen = [app], {id(None)}
    while layers and len(seen) < _MAX_WRAPPERS:
        layer = layers.pop()
        if id(layer) in seen:
            continue
        seen.add(id(layer))
        values = dict(getattr(layer, "__dict__", {}))
        if layer is not inside:
            found |= {id(other): (prefix, other) for prefix, other in _others(values, inside)}
        # Flask is wrapped from within: `app.wsgi_app = Dispatcher(app.wsgi_app, ...)`
        layers += [values.get(name) for name in (_LAYER_NAMES if layer is not inside else ("wsgi_app",))]
    return list(found.values())


def _others(values: dict[str, Any], inside: Any) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        held = value.items() if isinstance(value, dict) else [("", each) for each in value] if _is_row(value) else None
        for key, other in held if held is not None else (("", value),):
            is_app = is_framework(unwrap(other)) or (name == "mounts" and callable(other))
            if is_app and not _is_part(unwrap(other), inside):
                yield _prefix(key), other


def _is_part(other: Any, inside: Any) -> bool:
    """Whether `other` is the application itself, or its router, which middleware may hold to name routes."""
    return other is inside or other is getattr(inside, "router", None)


def _is_row(value: Any) -> bool:
    return isinstance(value, (list, tuple, set, frozenset))


def sought(app: Any) -> Any:
    """The application that a layer keeps where no known name leads: in a tuple, in a closure, under a name of its own.

    `app` itself when there is none, or more than one. For the audit and to watch; exemptions go by known names alone.
    """
    held = [each for _, each in _held(app) if is_framework(each)]
    found = [each for each in held if not any(_is_part(each, other) for other in held if other is not each)]
    return found[0] if len(found) == 1 else app


def others(app: Any) -> list[tuple[str, Any]]:
    """`beside`, and what no known name leads to: whatever the code around `app` holds, however it holds it.

    Too slow to be asked for every request.
    """
    inside, found = unwrap(app), beside(app)
    inside = inside if is_framework(inside) else sought(app)
    known = {id(unwrap(other)) for _, other in found}
    for prefix, each in _held(app):
        if id(each) not in known and not _is_part(each, inside):
            known.add(id(each))
            found.append((prefix, each))
    return found


def below(mount: Any) -> Iterator[Any]:
    """The applications that can be got to from what an application mounts, layers around them passed."""
    return (each for _, each in _held(mount))


def layers(app: Any) -> Iterator[Any]:
    """All that can be got to from `app`, applications and what holds them."""
    return (each for _, each, _ in _visited(app))


def _held(app: Any) -> Iterator[tuple[str, Any]]:
    """(path prefix, application) of all that can be got to from `app`, outermost first; its own handlers left aside."""
    for prefix, each, is_mount in _visited(app):
        with contextlib.suppress(Exception):
            if is_framework(each) or (is_mount and callable(each) and not is_framework(unwrap(each))):
                yield prefix, each


def _visited(app: Any) -> Iterator[tuple[str, Any, bool]]:
    """(path prefix, object, whether a dispatcher calls it)."""
    seen: dict[int, Any] = {}
    waiting: list[tuple[str, Any, bool]] = [("", app, False)]
    while waiting and len(seen) < _MAX_HELD:
        prefix, each, is_mount = waiting.pop(0)
        if id(each) in seen:
            continue
        seen[id(each)] = each
        yield prefix, each, is_mount
        with contextlib.suppress(Exception):  # an object of the application's own may do whatever it likes
            if is_framework(each):
                # Flask is wrapped from within; middleware of Starlette is called in front of every route.
                inner = getattr(each, "__dict__", {})
                waiting += [("", inner[name], False) for name in ("wsgi_app", "user_middleware") if name in inner]
                continue
            values = islice(_values(each), _MAX_HELD)
            waiting += [(prefix + at, value, mounted) for at, value, mounted in values if _holds(value)]


def _values(holder: Any) -> Iterator[tuple[str, Any, bool]]:
    """(path prefix, value, whether a dispatcher calls it) of what `holder` holds."""
    if isinstance(holder, dict):
        yield from ((_prefix(key), value, False) for key, value in holder.items())
    elif _is_row(holder):
        yield from (("", value, False) for value in holder)
    elif isinstance(holder, functools.partial):
        yield from (("", value, False) for value in (holder.func, *holder.args, *holder.keywords.values()))
    elif inspect.ismethod(holder):
        yield from (("", value, False) for value in (holder.__self__, holder.__func__))
    else:
        own = bool(top_modules(holder) & _OWN) and not inspect.isfunction(holder)
        for name, value in _attributes(holder):
            if isinstance(value, dict) and name == "mounts":
                yield from ((_prefix(key), each, True) for key, each in value.items())
            elif not own or name in _LAYER_NAMES:
                yield "", value, False
        for function in _functions(holder) if not own else ():
            given = (*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values())
            yield from (("", value, False) for value in (*_cells(function), *_named(function), *given))
        yield "", _inner(holder), False


def _attributes(holder: Any) -> Iterator[tuple[str, Any]]:
    yield from list(getattr(holder, "__dict__", {}).items())
    slots = [base.__dict__.get("__slots__", ()) for base in type(holder).__mro__]
    for name in [name for row in slots for name in ((row,) if isinstance(row, str) else row)]:
        with contextlib.suppress(AttributeError):  # a slot that is still empty
            yield name, getattr(holder, name)


def _functions(holder: Any) -> Iterator[Any]:
    """A function, or the methods of the class of an object."""
    if inspect.isfunction(holder):
        yield holder
        return
    for base in type(holder).__mro__:
        if base.__module__.partition(".")[0] not in sys.stdlib_module_names:
            yield from filter(inspect.isfunction, vars(base).values())


def _named(function: Any) -> Iterator[Any]:
    """The applications that a function names, which its module holds."""
    for name in function.__code__.co_names:
        with contextlib.suppress(Exception):  # a proxy of a request that is not there
            if is_framework(function.__globals__.get(name)):
                yield function.__globals__[name]


def _holds(value: Any) -> bool:
    """Whether an application may be found in `value`."""
    if value is None or isinstance(value, (type, ModuleType, str, bytes, int, float)):
        return False
    top = type(value).__module__.partition(".")[0]
    return top in _HOLDERS or top not in sys.stdlib_module_names


def _prefix(key: Any) -> str:
    return key.rstrip("/") if isinstance(key, str) and key.startswith("/") else ""


def _cells(function: Any) -> Iterator[Any]:
    for cell in getattr(function, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a cell that is still empty
            yield cell.cell_contents


def kinds(cls: Any) -> Iterator[Any]:
    """`cls` and all classes made from it, those that have their own way of the same method among them."""
    yield cls
    for each in cls.__subclasses__():
        yield from kinds(each)


def top_modules(value: Any) -> set[str]:
    """The top-level packages of the classes of `value`."""
    cls = value if isinstance(value, type) else type(value)
    return {base.__module__.partition(".")[0] for base in cls.__mro__}


def _inner(app: Any) -> Any:
    if is_framework(holder := getattr(app, "__self__", None)):  # `wrap(app.wsgi_app)`, as for any WSGI middleware
        return holder
    inner = getattr(app, "app", None) or getattr(app, "application", None) or getattr(app, "wsgi_app", None)
    return inner or getattr(app, "__wrapped__", None)


def is_framework(app: Any) -> bool:
    if isinstance(app, type):
        return False
    modules = top_modules(app)
    return (
        (bool(modules & {"starlette", "fastapi", "litestar"}) and hasattr(app, "routes"))
        or ("flask" in modules and hasattr(app, "url_map"))
        or ("django" in modules and hasattr(app, "get_response"))
    )
