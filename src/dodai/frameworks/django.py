"""Django: the patterns of the root URLconf. A function view does not say which methods it answers."""

from __future__ import annotations

import functools
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from types import CodeType, ModuleType
from typing import Any

from .django_check import is_own, lets_through, native_tokens, own_check, watch_own_check
from .django_entrance import clean, is_watched, watch, watch_all
from .route import UNSAFE, MatchedRoute, Route, looks_like_guard, looks_like_write, where

__all__ = [
    "find",
    "is_watched",
    "lets_through",
    "native_tokens",
    "own_check",
    "plant",
    "report_errors",
    "routes",
    "watch",
    "watch_all",
    "watch_own_check",
]

_ARGUMENT = re.compile(r"<(?:[^<>:]+:)?([^<>:]+)>")
_GROUP = re.compile(r"\(\?P<\w+>((?:[^()]|\([^()]*\))*)\)|\(((?!\?)[^()]*)\)")
_EXAMPLES = ("x", "1", "00000000-0000-4000-8000-000000000000", "2026", "2026-01-31", "en", "x-1", "x/y")


def routes(app: Any) -> list[Route]:
    """Every (method, pattern) of the root URLconf, and one row for what middleware puts in its place."""
    del app
    return [*(route for route, _, _ in _walk_root()), *_elsewhere()]


def plant(app: Any, hit: Callable[[Route], None]) -> list[Route]:
    """The same, with every view replaced; its attributes stay, `csrf_exempt` among them."""
    found = list(_walk_root())
    named: dict[int, tuple[Any, dict[str, Route]]] = {}
    for route, pattern, language in found:
        named.setdefault(id(pattern), (pattern, {}))[1].setdefault(language, route)
    for pattern, by_language in named.values():
        pattern.callback = _tripwire(pattern.callback, by_language, hit)
    sys.modules["django.conf"].settings.ALLOWED_HOSTS = ["*"]
    del app
    return [*(route for route, _, _ in found), *_elsewhere()]


def find(app: Any, scope: Mapping[str, Any]) -> MatchedRoute:
    """The pattern that the resolver will choose, for a WSGI environ or an ASGI scope.

    Middleware may choose another URLconf: what is entered then is another pattern, and the entrance says so. Raises
    `LookupError` where middleware calls a view by itself, for it would be over before anybody could ask.
    """
    settings = sys.modules["django.conf"].settings
    if caller := _caller(tuple(settings.MIDDLEWARE), settings.ROOT_URLCONF):
        raise LookupError(f"`{where(caller)[0]}` calls a view by itself")
    path = _path_info(scope, settings)
    method = scope.get("REQUEST_METHOD", scope.get("method", "WEBSOCKET"))
    with _language(path, settings):
        found = sys.modules["django.urls"].resolve(path, settings.ROOT_URLCONF)
        template, resolver = clean(found.route), sys.modules["django.urls"].get_resolver()
        if template in _ambiguous(resolver, _prefix()):
            raise LookupError(f"several patterns are called `{template}`")
    return MatchedRoute(f"{method} /{template}", (found.func, found.route), is_watched(app))


def _path_info(scope: Mapping[str, Any], settings: Any) -> str:
    """The path as Django resolves it."""
    if "PATH_INFO" in scope:
        # WSGI has bytes as Latin-1; read so, an exemption would hold for a path that Django reads otherwise.
        return str(scope["PATH_INFO"].encode("latin-1").decode())
    return str(scope["path"]).removeprefix(settings.FORCE_SCRIPT_NAME or scope.get("root_path") or "")


def _language(path: str, settings: Any) -> AbstractContextManager[Any]:
    """The language that the patterns of `i18n_patterns` will have, instead of the one this thread was left with."""
    translation = sys.modules.get("django.utils.translation")
    if translation is None or not settings.USE_I18N:
        return nullcontext()
    return translation.override(  # type: ignore[no-any-return]
        translation.get_language_from_path(path) or settings.LANGUAGE_CODE
    )


def _prefix() -> str:
    translation = sys.modules.get("django.utils.translation")
    return str(translation.get_language()) if translation is not None else ""


def report_errors(app: Any, note: Callable[[BaseException], None]) -> None:
    """By Django's own signal, which is sent while the exception is being handled."""
    del app

    def receive(**_: Any) -> None:
        error = sys.exc_info()[1]
        if error is not None:
            note(error)

    signal = sys.modules["django.core.signals"].got_request_exception
    signal.connect(receive, weak=False, dispatch_uid=("dodai", note))


@functools.lru_cache(maxsize=64)
def _ambiguous(resolver: Any, language: str) -> frozenset[str]:
    """Templates that several patterns have once anchors are left away, such as `^hook$` and `^hook`.

    Those of `i18n_patterns` differ with the `language`, which must be the active one.
    """
    del language
    patterns = {id(pattern): route.path.removeprefix("/") for route, pattern in _walk(resolver.url_patterns, "/", "/")}
    seen = list(patterns.values())
    return frozenset(path for path in seen if seen.count(path) > 1)


def _elsewhere() -> Iterator[Route]:
    """Routes of URLconfs that middleware gives to a request cannot be listed: nobody knows which ones there are."""
    if chooser := _chooser(tuple(sys.modules["django.conf"].settings.MIDDLEWARE)):
        name, source, line = where(chooser)
        yield Route("*", "/{path}", "django", "opaque", name, source, line)


@functools.lru_cache(maxsize=8)
def _chooser(middleware: tuple[str, ...]) -> Any:
    """The first middleware, not Django's own, that speaks of a request's `urlconf`, as django-hosts does; or None."""
    load = sys.modules["django.utils.module_loading"].import_string
    loaded = (load(name) for name in middleware)
    return next((each for each in loaded if not is_own(each) and _names_urlconf(each)), None)


@functools.lru_cache(maxsize=8)
def _caller(middleware: tuple[str, ...], root: str) -> Any:
    """The first middleware, not Django's own, whose code names a view of the project; or None."""
    load = sys.modules["django.utils.module_loading"].import_string
    patterns = sys.modules["django.urls"].get_resolver(root).url_patterns
    views = {id(view) for _, pattern in _walk(patterns, "/", "/") for view in _views(pattern.callback)}
    return next((each for each in map(load, middleware) if not is_own(each) and _names_view(each, views)), None)


def _views(callback: Any) -> Iterator[Any]:
    """A view by every name that it may have: behind its decorators, and between them."""
    while callback is not None:
        yield callback
        yield getattr(callback, "view_class", callback)
        callback = getattr(callback, "__wrapped__", None)


def _names_view(middleware: Any, views: set[int]) -> bool:
    for function in _functions(middleware):
        known = function.__globals__
        names = [name for code in _inside(function.__code__) for name in code.co_names]
        modules = [known[name] for name in names if isinstance(known.get(name), ModuleType)]
        named = [known.get(name) for name in names] + [getattr(each, name, None) for each in modules for name in names]
        if any(id(value) in views for value in named if value is not None):
            return True
    return False


def _inside(code: CodeType) -> Iterator[CodeType]:
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _inside(const)


def _functions(middleware: Any) -> Iterator[Any]:
    """A function, or every method of a class and its bases."""
    bases = middleware.__mro__ if isinstance(middleware, type) else ()
    methods = [value for base in bases if not is_own(base) for value in vars(base).values()]
    for each in methods or [middleware]:
        function = inspect.unwrap(each) if callable(each) else each
        if isinstance(getattr(function, "__code__", None), CodeType):
            yield function


def _names_urlconf(middleware: Any) -> bool:
    codes = [code for function in _functions(middleware) for code in _inside(function.__code__)]
    return any("urlconf" in code.co_names or "urlconf" in code.co_consts for code in codes)


def _walk_root() -> Iterator[tuple[Route, Any, str]]:
    """(route, pattern, language): in every language that the site has, where the path is another one there."""
    patterns = sys.modules["django.urls"].get_resolver().url_patterns
    settings, seen = sys.modules["django.conf"].settings, set[tuple[int, str, str]]()
    for language in _languages(settings):
        with sys.modules["django.utils.translation"].override(language) if language else nullcontext():
            rows = list(_walk(patterns, "/", "/"))
        for route, pattern in rows:
            if (known := (id(pattern), route.method, route.path)) not in seen:
                seen.add(known)
                yield route, pattern, language


def _languages(settings: Any) -> list[str]:
    """The languages that a path can choose, the site's own first; one without a name where none is chosen.

    Of a site that does not say which ones it has, its own alone: Django has a hundred by default.
    """
    chooses = sys.modules.get("django.middleware.locale")  # which the handler has loaded with the site's middleware
    load = sys.modules["django.utils.module_loading"].import_string
    loaded = map(load, settings.MIDDLEWARE) if settings.USE_I18N and chooses is not None else ()
    if chooses is None or not any(
        isinstance(each, type) and issubclass(each, chooses.LocaleMiddleware) for each in loaded
    ):
        return [""]
    own = settings.LANGUAGE_CODE  # which paths have as the site's `LANGUAGES` write it: `en` for the default `en-us`
    with suppress(LookupError):
        own = sys.modules["django.utils.translation"].get_supported_language_variant(own)
    known = settings.LANGUAGES if settings.is_overridden("LANGUAGES") else ()
    return list(dict.fromkeys((own, *(code for code, _ in known))))


def _walk(patterns: Any, prefix: str, at: str) -> Iterator[tuple[Route, Any]]:
    for entry in patterns:
        path, example = prefix + clean(str(entry.pattern)), at + _example(entry.pattern)
        if hasattr(entry, "url_patterns"):
            yield from _walk(entry.url_patterns, path, example)
        else:
            yield from _view(entry, path, example)


def _view(entry: Any, path: str, example: str) -> Iterator[tuple[Route, Any]]:
    callback = entry.callback
    handler = getattr(callback, "view_class", None) or getattr(callback, "cls", None) or callback
    name, source, line = where(handler)
    methods = _methods(callback, handler)
    exempt_by = "csrf_exempt" if getattr(callback, "csrf_exempt", False) else ""
    guard = looks_like_guard(handler) if not exempt_by else ""
    for method in methods or ("GET", *UNSAFE):
        kind = "handler" if methods else "any"
        writes = looks_like_write(handler, method)
        yield Route(method, path, "django", kind, name, source, line, "", example, guard, exempt_by, writes), entry  # type: ignore[arg-type]


def _methods(callback: Any, handler: Any) -> list[str]:
    """The methods of a class view, a viewset or a view behind `require_http_methods`; empty when nobody says."""
    actions = getattr(callback, "actions", None)
    if isinstance(actions, Mapping):
        return sorted(method.upper() for method in actions)
    given = getattr(callback, "view_initkwargs", None) or {}
    names = given.get("http_method_names") or getattr(handler, "http_method_names", None)
    if names is not None:
        if not is_own(getattr(handler, "dispatch", None)):
            return []  # the application's own dispatch may answer whatever it likes
        return sorted(name.upper() for name in names if hasattr(handler, name) and name != "options")
    while callback is not None:
        # Other decorators have lists of words, too: roles, or the methods of a CORS header.
        by_django = getattr(callback, "__globals__", {}).get("__name__") == "django.views.decorators.http"
        for cell in (getattr(callback, "__closure__", None) or ()) if by_django else ():
            listed = cell.cell_contents
            if isinstance(listed, (list, tuple)) and listed and all(isinstance(m, str) and m.isupper() for m in listed):
                return sorted(listed)
        callback = getattr(callback, "__wrapped__", None)
    return []


def _example(pattern: Any) -> str:
    text = clean(str(pattern))
    converters = getattr(pattern, "converters", None) or {}
    if converters:
        return _ARGUMENT.sub(lambda found: _fitting(getattr(converters.get(found[1]), "regex", ".*")), text)
    return re.sub(r"\\(.)", r"\1", _GROUP.sub(lambda found: _fitting(found[1] or found[2] or ".*"), text))


def _fitting(regex: str) -> str:
    return next((text for text in _EXAMPLES if re.fullmatch(regex, text)), "x")


def _tripwire(view: Any, by_language: Mapping[str, Route], hit: Callable[[Route], None]) -> Any:
    @functools.wraps(view)
    def tripwire(*asked: Any, **_: Any) -> Any:
        route = by_language.get(_prefix()) or next(iter(by_language.values()))
        hit(route.served(next((each.method for each in asked if hasattr(each, "method")), route.method)))
        return sys.modules["django.http"].HttpResponse(status=204)

    return tripwire
