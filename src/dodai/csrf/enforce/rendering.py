"""What templates and handlers call: the token, the form field, the headers for HTMX, and login and logout.

Each takes the request (Starlette, FastAPI, Litestar, Flask, Django), its ASGI scope or WSGI environ, or nothing: then
the request being served is meant.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from html import escape
from typing import Any
from urllib.parse import quote

from dodai.core.errors import DodaiError
from dodai.core.request import current
from dodai.csrf.codes import NOT_INSTALLED
from dodai.csrf.enforce.csrf_session import CsrfSession
from dodai.csrf.policy import REFRESH_PATH


class Html(str):
    """Text that template engines must not escape again (the `__html__` protocol of MarkupSafe and Django)."""

    __slots__ = ()

    def __html__(self) -> Html:
        return self


def csrf_token(request: Any = None) -> str:
    """A new token for the visitor of this request; the cookie is set with the response if there is none.

    Makes the response private. DOD183 outside a protected request, DOD182 after the response has begun.
    """
    return _visitor(request).token()


def csrf_field(request: Any = None) -> Html:
    """A hidden input for a form, as HTML. In a form with files it must stand in front of them."""
    visitor = _visitor(request)
    name = escape(visitor.policy.field, quote=True)
    return Html(f'<input type="hidden" name="{name}" value="{visitor.token()}">')


def csrf_headers(request: Any = None) -> Html:
    """A JSON object with the token header, escaped for the `hx-headers` attribute of HTMX."""
    visitor = _visitor(request)
    return Html(escape(json.dumps({visitor.policy.header: visitor.token()}), quote=True))


def csrf_meta(request: Any = None) -> Html:
    """The `<meta>` elements and the script that send the token with HTMX and `dodaiFetch`, and keep it fresh."""
    visitor = _visitor(request)
    named = f'<meta name="csrf-header" content="{escape(visitor.policy.header, quote=True)}">'
    return Html(f'<meta name="csrf-token" content="{visitor.token()}">{named}{csrf_script(request)}')


def csrf_script(request: Any = None) -> Html:
    """The script element that refreshes tokens when a page comes back from the history or another tab.

    Below the prefix at which a proxy serves the application (`root_path`, `SCRIPT_NAME`), when it has one.
    """
    visitor = _find(request)
    prefix = visitor.prefix.strip("/") if visitor is not None else ""
    prefix = escape(quote(f"/{prefix}"), quote=True) if prefix else ""  # never `//host`, which is another's
    return Html(f'<script src="{prefix}{REFRESH_PATH}?script" defer></script>')


def login(request: Any = None, *, subject: object = None) -> None:
    """Rotate the visitor's nonce after sign-in, so that tokens of the anonymous visitor are worth nothing any more.

    `subject` is what the app's subject callback will say from the next request on.
    """
    _visitor(request).login(subject)


def logout(request: Any = None) -> None:
    """Rotate the visitor's nonce after sign-out."""
    _visitor(request).logout()


def install(environment: Any) -> None:
    """Give a Jinja2 environment `csrf_field()`, `csrf_token()`, `csrf_headers()`, `csrf_meta()` and `csrf_script()`."""
    for helper in (csrf_token, csrf_field, csrf_headers, csrf_meta, csrf_script):
        environment.globals[helper.__name__] = helper


def context_processor(request: Any) -> dict[str, Callable[[], str]]:
    """For Django's `context_processors`: `{{ csrf_field }}`, `{{ csrf_headers }}` and `{{ csrf_meta }}` in templates.

    Each is called, and so makes a token, only where a template renders it.
    """
    return {
        "csrf_field": lambda: csrf_field(request),
        "csrf_headers": lambda: csrf_headers(request),
        "csrf_meta": lambda: csrf_meta(request),
    }


def session_subject(
    signer: Any, key: str, *, cookie: str = "session", max_age_s: int = 1_209_600
) -> Callable[..., Any]:
    """A subject callback for Starlette's `SessionMiddleware`: the value of `key` in the session.

    Call it: `dodai.asgi.wrap(app, subject=session_subject(TimestampSigner(secret_key), "user_id"))`. `signer` is
    `itsdangerous.TimestampSigner(secret_key)` with the middleware's own secret, `cookie` and `max_age_s` are its
    `session_cookie` and `max_age`. A cookie that is not signed with it names nobody.
    """

    def subject(scope: Mapping[str, Any]) -> object:
        value = _cookies(scope).get(cookie)
        if value is None:
            return None
        try:
            data = json.loads(base64.b64decode(signer.unsign(value.encode("utf-8"), max_age=max_age_s)))
        except Exception:  # noqa: BLE001 - whatever a client put into the cookie, it names nobody
            return None
        return data.get(key) if isinstance(data, dict) else None

    return subject


def _cookies(scope: Mapping[str, Any]) -> dict[str, str]:
    """The cookies of a scope or environ as Starlette reads them: of two with one name the last counts."""
    found: dict[str, str] = {}
    sent = [text.decode("latin-1") for header, text in scope.get("headers", ()) if header.lower() == b"cookie"]
    for text in sent or [str(scope.get("HTTP_COOKIE", ""))]:
        for part in text.split(";"):
            name, _, value = part.partition("=")
            found[name.strip(" \t")] = value.strip(" \t").strip('"')
    return found


def _visitor(request: Any) -> CsrfSession:
    found = _find(request)
    if found is None:
        raise DodaiError(
            NOT_INSTALLED,
            "a CSRF token was asked for outside a protected request",
            "wrap the app with `dodai.asgi.wrap(app)` or `dodai.wsgi.wrap(app)`",
        )
    return found


def _find(request: Any) -> CsrfSession | None:
    found: Any = None
    if request is None:
        context = current()
        found = vars(context).get("csrf") if context is not None else None
    else:
        for attribute in ("scope", "environ", "META"):
            mapping = getattr(request, attribute, None)
            if isinstance(mapping, Mapping) and "dodai.csrf" in mapping:
                found = mapping["dodai.csrf"]
        if isinstance(request, Mapping):
            found = request.get("dodai.csrf")
    return found if isinstance(found, CsrfSession) else None
