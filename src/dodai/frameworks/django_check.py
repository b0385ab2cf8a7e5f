"""Django's own check of tokens: whether it is on, what it refuses, and when it has accepted a request."""

from __future__ import annotations

import functools
import io
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

from .route import let_through

_SECRET = "dodaiaudit00000000000000000000AA"  # noqa: S105 - a CSRF cookie of the audit's own visitor
_OTHER = "dodaiaudit00000000000000000000BB"
_ADDRESS = {"SERVER_NAME": "localhost", "SERVER_PORT": "80", "wsgi.url_scheme": "http", "REMOTE_ADDR": "127.0.0.1"}


def own_check(app: Any) -> str:
    """Django's middleware, or one made from it."""
    del app
    load = sys.modules["django.utils.module_loading"].import_string
    for name in sys.modules["django.conf"].settings.MIDDLEWARE:
        bases = getattr(load(name), "__mro__", ())
        if any(base.__name__ == "CsrfViewMiddleware" and is_own(base) for base in bases):
            return str(name)
    return ""


def lets_through(app: Any) -> str:
    """The forged request that the middleware of `own_check`, made as Django makes it, does not answer; empty for none.

    It is given nothing but these requests: no other middleware runs, and no view.
    """
    modules, settings = sys.modules, sys.modules["django.conf"].settings
    name, wsgi = own_check(app), import_module("django.core.handlers.wsgi")  # a process that serves ASGI has not
    middleware = modules["django.utils.module_loading"].import_string(name)(_nothing)

    def is_refused(method: str, sent: dict[str, str]) -> bool:
        request = wsgi.WSGIRequest(
            {"REQUEST_METHOD": method, "PATH_INFO": "/", "wsgi.input": io.BytesIO(), **_ADDRESS, **sent}
        )
        request.session = {}
        with _unlogged(request):
            return middleware.process_view(request, _nothing, (), {}) is not None

    return let_through(name, _forged(settings), is_refused)


def watch_own_check(app: Any, seen: Callable[[], None]) -> bool:
    """Have `seen` called when Django has found the token of a request to be right, whoever made a class from its own.

    Not when it says that a request may pass: what is exempt, or `_dont_enforce_csrf_checks`, passes without a token.
    """
    del app
    middleware = sys.modules["django.middleware.csrf"].CsrfViewMiddleware
    check = middleware._check_token  # noqa: SLF001 - the one place that compares the token
    if getattr(check, "dodai", None) is None:

        @functools.wraps(check)
        def checked(self: Any, request: Any) -> None:
            check(self, request)
            seen()

        checked.dodai = seen  # type: ignore[attr-defined]
        middleware._check_token = checked  # noqa: SLF001
    return True


def _forged(settings: Any) -> dict[str, dict[str, str]]:
    """What the requests of a page of another site may carry, as entries of an environ."""
    cookie = f"{settings.CSRF_COOKIE_NAME}={_SECRET}; {settings.SESSION_COOKIE_NAME}=dodaiaudit"
    return {
        "without a token": {},
        "without a token and with cookies": {"HTTP_COOKIE": cookie},
        "with a wrong token": {"HTTP_COOKIE": cookie, settings.CSRF_HEADER_NAME: _OTHER},
    }


@contextmanager
def _unlogged(request: Any) -> Iterator[None]:
    """Without the warning that Django writes of a refusal."""
    logger = logging.getLogger("django.security.csrf")

    def others(record: logging.LogRecord) -> bool:
        return getattr(record, "request", None) is not request

    logger.addFilter(others)
    try:
        yield
    finally:
        logger.removeFilter(others)


def _nothing(request: Any) -> Any:
    """In the place of a view: nothing comes by here that the check has refused."""
    del request
    return sys.modules["django.http"].HttpResponse(status=204)


def native_tokens(app: Any, origin: str) -> dict[str, str] | None:
    """The cookie and header of Django's own middleware; None without it, or when it keeps tokens in sessions."""
    del app, origin
    settings = sys.modules["django.conf"].settings
    installed = any("csrf" in name.lower() for name in settings.MIDDLEWARE)
    if not installed or settings.CSRF_USE_SESSIONS:
        return None
    return {
        "token": _SECRET,
        "cookie": f"{settings.CSRF_COOKIE_NAME}={_SECRET}",
        "field": "csrfmiddlewaretoken",
        "header": settings.CSRF_HEADER_NAME.removeprefix("HTTP_").replace("_", "-").lower(),
        "other": _OTHER,
    }


def is_own(value: Any) -> bool:
    """True for what Django or its REST framework defines."""
    return str(getattr(value, "__module__", "")).partition(".")[0] in ("django", "rest_framework")
