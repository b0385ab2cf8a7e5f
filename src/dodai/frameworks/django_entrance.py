"""The entrances of Django: where a view is resolved, where it is called, and in front of a project's error pages."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from .route import Enter, Reached


def clean(pattern: str) -> str:
    """A pattern without its anchors, as `dodai routes` prints it."""
    return pattern.removeprefix("^").removesuffix("$").removesuffix("\\Z")


def watch(app: Any, enter: Enter) -> bool:
    """Where a request is resolved, when view middleware has not run, and again where its view is called.

    View middleware may set `request.method`, which a class view obeys. A process has one project, whose views any
    handler leads to: a second one that is served, the one of a test client. So all of them have the entrances.
    """
    watch_all(enter)
    return is_watched(app)


def watch_all(enter: Enter) -> None:
    """In every handler of the process, where code of the application's own asks for a view in order to call it, and in
    front of the pages that the project has for errors.
    """
    if (urls := sys.modules.get("django.urls")) is not None:
        _stand_in_resolve(urls, enter)
        _stand_in_errors(urls.resolvers.URLResolver, enter)
    module = sys.modules.get("django.core.handlers.base")
    base = module.BaseHandler if module is not None else None
    for name, entrance in _ENTRANCES.items() if base is not None else ():
        known = vars(base)[name]
        if isinstance(known, entrance):
            known.enter = known.enter.joined(enter)
        else:
            setattr(base, name, entrance(known, enter))


def is_watched(app: Any) -> bool:
    """Whether the entrances are where `watch` has put them, and no handler has a way of its own beside them."""
    return hasattr(sys.modules["django.urls"].resolvers.URLResolver.resolve_error_handler, "dodai") and all(
        isinstance(inspect.getattr_static(handler, name), entrance)
        for handler in _handlers(app)
        for name, entrance in _ENTRANCES.items()
    )


def _handlers(app: Any) -> Iterator[Any]:
    while app is not None:
        yield app
        app = getattr(app, "application", None)  # inside a handler that serves static files


class _Entrance:
    """In place of a method of Django's handlers."""

    def __init__(self, method: Callable[..., Any], enter: Enter) -> None:
        self._method = method
        self.enter = enter

    def __get__(self, handler: Any, owner: type) -> Any:
        return self if handler is None else functools.partial(self._entered, handler)

    def _entered(self, handler: Any, argument: Any) -> Any:
        raise NotImplementedError


class _ResolvedEntrance(_Entrance):
    def _entered(self, handler: Any, argument: Any) -> Any:
        found = self._method(handler, argument)
        held = getattr(argument, "scope", None) or argument.META
        held["dodai.route"] = "/" + clean(found.route)  # Django leaves it nowhere
        _entered(self.enter, argument, found, behind=False)
        return found


class _ViewEntrance(_Entrance):
    """In place of `make_view_atomic`, which gives what is called as the view, behind all middleware."""

    def _entered(self, handler: Any, argument: Any) -> Any:
        made = self._method(handler, argument)
        if sys.modules["asgiref.sync"].iscoroutinefunction(made):

            async def awaited(request: Any, *arguments: Any, **named: Any) -> Any:
                _entered(self.enter, request, request.resolver_match)
                return await made(request, *arguments, **named)

            return awaited

        def called(request: Any, *arguments: Any, **named: Any) -> Any:
            _entered(self.enter, request, request.resolver_match)
            return made(request, *arguments, **named)

        return called


_ENTRANCES = {"resolve_request": _ResolvedEntrance, "make_view_atomic": _ViewEntrance}


class _Resolved:
    """A view as `resolve` hands it out: equal to the view, with all that it has, and asked when it is called."""

    def __init__(self, found: Any, enters: list[Enter]) -> None:
        functools.update_wrapper(self, found.func)
        self._given = (found.func, found.route, enters)
        asgiref = sys.modules["asgiref.sync"]
        if asgiref.iscoroutinefunction(found.func):
            asgiref.markcoroutinefunction(self)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        view, route, (enter,) = self._given
        for request in (*arguments, *named.values()):
            if hasattr(request, "META") and hasattr(request, "method"):
                held = getattr(request, "scope", None) or request.META
                enter(held, request.method, lambda: Reached((view, route)))
                break
        return view(*arguments, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__.get("__wrapped__"), name)

    def __eq__(self, other: object) -> bool:
        return bool(self._given[0] == (other._given[0] if isinstance(other, _Resolved) else other))

    def __hash__(self) -> int:
        return hash(self._given[0])


def _stand_in_resolve(urls: Any, enter: Enter) -> None:
    """In place of `django.urls.resolve`, by whatever name a module has imported it; handlers ask their resolver.

    Its own module keeps it, which asks for every path without a slash and calls nothing.
    """
    resolve = urls.resolve
    if not hasattr(resolve, "dodai"):
        enters: list[Enter] = [enter]

        @functools.wraps(resolve)
        def resolved(*arguments: Any, **named: Any) -> Any:
            found = resolve(*arguments, **named)
            found.func = _Resolved(found, enters)
            return found

        resolved.dodai = enters  # type: ignore[attr-defined]
        urls.resolve = resolved
    else:
        resolve.dodai[0] = resolve.dodai[0].joined(enter)
    for module in [
        each for each in list(sys.modules.values()) if isinstance(each, ModuleType) and each is not urls.base
    ]:
        for name in [key for key, value in list(vars(module).items()) if value is urls.resolve.__wrapped__]:
            setattr(module, name, urls.resolve)


def _stand_in_errors(resolver: Any, enter: Enter) -> None:
    """In place of the method that is asked for the view of a status."""
    named = resolver.resolve_error_handler
    if hasattr(named, "dodai"):
        named.dodai[0] = named.dodai[0].joined(enter)
        return
    enters: list[Enter] = [enter]

    @functools.wraps(named)
    def found(resolver: Any, view_type: int) -> Any:
        view = named(resolver, view_type)
        own = getattr(sys.modules.get("django.views.defaults"), "__dict__", {}).values()
        return view if any(view is each for each in own) else _error_view(view, resolver, enters)

    found.dodai = enters  # type: ignore[attr-defined]
    resolver.resolve_error_handler = found


def _error_view(view: Callable[..., Any], resolver: Any, enters: list[Enter]) -> Any:
    """The view, asked when it is called; it answers a refusal itself: Django makes an error of what is raised here."""

    @functools.wraps(view)
    def asked(request: Any, *arguments: Any, **named: Any) -> Any:
        held = getattr(request, "scope", None) or request.META
        try:
            enters[0](held, request.method, lambda: _reached_error(resolver, request))
        except Exception as error:
            refusal = getattr(error, "refusal", None)
            if refusal is None:
                raise
            said = f"{refusal.code.id} {refusal.code.name}"
            return sys.modules["django.http"].HttpResponse(said, status=refusal.status, content_type="text/plain")
        return view(request, *arguments, **named)

    return asked


def _reached_error(resolver: Any, request: Any) -> Reached:
    """The view that the error is about; None for a path that no pattern takes. The project's own check may be ahead."""
    found = getattr(request, "resolver_match", None)
    if found is None:
        with contextlib.suppress(Exception):  # a converter of the project's own may raise anything
            found = resolver.resolve(request.path_info)
    return Reached(found and (found.func, found.route), here=False, behind=False)


def _entered(enter: Enter, request: Any, found: Any, *, behind: bool = True) -> None:
    held = getattr(request, "scope", None) or request.META
    enter(held, request.method, lambda: Reached((found.func, found.route), behind=behind))
