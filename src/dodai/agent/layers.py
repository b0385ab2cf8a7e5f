"""The layers around an application: which there are, what they are set up with, and what they answer themselves."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from types import CodeType
from typing import Any

_DEPTH = 20
_STARTS = frozenset({"http.response.start", "websocket.accept"})
_STATUS = re.compile(r"[1-5][0-9]{2} ")


def answering(app: Any, roots: Sequence[str], route: Callable[..., Any]) -> Iterator[Any]:
    """A row for each path that a layer of the user's own names and answers itself, in front of the protection.

    No request is sent there: what a layer does with it is not a handler that could be replaced.
    """
    within = () if binding(app) else _middleware(app)
    for layer in (*_in_front(app), *within):
        codes = list(_codes(layer))
        source = codes[0].co_filename if codes else ""
        if not _is_own(source, roots) or not any(_answers(code) for code in codes):
            continue
        kind = layer if inspect.isfunction(layer) or isinstance(layer, type) else type(layer)
        name = f"{kind.__module__}.{kind.__qualname__}"
        for path in dict.fromkeys(const for code in codes for const in _constants(code) if _is_path(const)):
            yield route("*", path, "", "opaque", name, source, codes[0].co_firstlineno)


def _in_front(app: Any) -> Iterator[Any]:
    """The layers from the outermost to the one of dodai, or to the application."""
    for _ in range(_DEPTH):
        if hasattr(app, "csrf_binding") or hasattr(app, "routes") or hasattr(app, "url_map"):
            return
        yield app
        inner = next((getattr(app, name) for name in ("app", "application", "wsgi_app") if hasattr(app, name)), None)
        if inner is None:
            return
        app = inner


def _middleware(app: Any) -> Iterator[Any]:
    """The middleware of the application itself: what it answers never gets to the framework's own check, or past it."""
    for _ in range(_DEPTH):
        yield from (each.cls for each in getattr(app, "user_middleware", ()) if hasattr(each, "cls"))
        if "django" in type(app).__module__ and "django.conf" in sys.modules:
            load = sys.modules["django.utils.module_loading"].import_string
            yield from (load(name) for name in sys.modules["django.conf"].settings.MIDDLEWARE)
            return
        inner = next((getattr(app, name) for name in ("app", "application") if hasattr(app, name)), None)
        if inner is None:
            return
        app = inner


def _codes(layer: Any) -> Iterator[CodeType]:
    kind = layer if isinstance(layer, type) else type(layer)
    values = [layer] if inspect.isfunction(layer) else vars(kind).values()
    for value in values:
        code = getattr(inspect.unwrap(value) if callable(value) else value, "__code__", None)
        if isinstance(code, CodeType):
            yield code


def _constants(code: CodeType) -> Iterator[Any]:
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _constants(const)
        elif isinstance(const, (tuple, frozenset)):
            yield from const
        else:
            yield const


def _answers(code: CodeType) -> bool:
    """Whether it starts an answer of its own: by ASGI message, by a status line of WSGI, or by a response class."""
    texts = [const for const in _constants(code) if isinstance(const, str)]
    started = any(text in _STARTS or _STATUS.match(text) for text in texts)
    return started or any(name.endswith("Response") for name in _names(code))


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def _is_path(const: Any) -> bool:
    return isinstance(const, str) and const.startswith("/") and len(const) > 1 and " " not in const


def _is_own(source: str, roots: Sequence[str]) -> bool:
    inside = any(source.startswith(root.rstrip(os.sep) + os.sep) for root in roots)
    return inside and "site-packages" not in source


def names(app: Any, limit: int = 20) -> list[str]:
    """The classes of what stands around an application, the outermost first."""
    found = []
    for _ in range(limit):
        found.append(f"{type(app).__module__}.{type(app).__qualname__}")
        app = getattr(app, "app", None) or getattr(app, "wsgi_app", None)
        if app is None or (callable(app) and not hasattr(app, "__dict__")):
            break
    return found


def session(app: Any) -> dict[str, Any] | None:
    """How Starlette's own session middleware is set up; of the secret only its length and variety."""
    for _ in range(20):
        for middleware in getattr(app, "user_middleware", ()):
            if getattr(middleware, "cls", type(None)).__name__ == "SessionMiddleware":
                options = middleware.kwargs
                secret = str(options.get("secret_key", ""))
                return {
                    "httpsOnly": bool(options.get("https_only", False)),
                    "sameSite": str(options.get("same_site", "lax")),
                    "secretLength": len(secret),
                    "secretVariety": len(set(secret)),
                }
        app = getattr(app, "app", None)
        if app is None:
            return None
    return None


def binding(app: Any) -> str:
    """What tokens of dodai are bound to, as its own layer says; empty where there is none."""
    for _ in range(20):
        layer: Any = app if hasattr(app, "csrf_binding") else getattr(app, "wsgi_app", None)
        if hasattr(layer, "csrf_binding"):
            return str(layer.csrf_binding)
        app = getattr(app, "app", None)
        if app is None:
            return ""
    return ""
