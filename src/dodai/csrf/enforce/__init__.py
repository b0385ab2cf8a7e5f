"""CSRF protection inside the running app: `protect(app, ...)` for ASGI; `dodai.wsgi` does the same for WSGI."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from os import urandom
from typing import Any

from dodai.core.asgi_types import App
from dodai.csrf.enforce.asgi_layer import CsrfLayer
from dodai.csrf.enforce.csrf_protection import BodyTooLargeError, CsrfProtection, Subject
from dodai.csrf.enforce.entrance import Entrance
from dodai.csrf.enforce.rendering import (
    context_processor,
    csrf_field,
    csrf_headers,
    csrf_meta,
    csrf_script,
    csrf_token,
    install,
    login,
    logout,
    session_subject,
)
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.token import KeyRing, parse_key_ring
from dodai.frameworks import MatchedRoute, watch
from dodai.frameworks import find as find_route

__all__ = [
    "BodyTooLargeError",
    "CsrfLayer",
    "CsrfProtection",
    "context_processor",
    "csrf_field",
    "csrf_headers",
    "csrf_meta",
    "csrf_script",
    "csrf_token",
    "gate_of",
    "install",
    "login",
    "logout",
    "protect",
    "session_subject",
]


def protect(
    app: App,
    *,
    policy: CsrfPolicy,
    keys: KeyRing | str,
    origins: Iterable[str] = (),
    subject: Subject | None = None,
    router: Any = None,
    clock: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = urandom,
) -> CsrfLayer:
    """`app` behind the CSRF layer: an ASGI app for `http` and `websocket` scopes, everything else passes through.

    `keys` is the ring or its text (`DODAI_CSRF_KEYS`), `origins` the public origins of the environment,
    `subject(scope)` names a stable session or user id from cookies and headers, None for nobody. `router` is the
    framework application whose routes decide exemptions and limits, by default `app` or what it wraps. Refusals are
    rendered by `core.refusal` and left in `RequestContext.refusal`; the decision is noted as `csrf` in the line.
    Without a current `RequestContext` it makes one.
    Raises DOD180 for a bad ring and DOD181 for a bad origin.
    """
    return CsrfLayer(
        app,
        gate_of(router or app, policy=policy, keys=keys, origins=origins, subject=subject, clock=clock, random=random),
    )


def gate_of(
    router: Any,
    *,
    policy: CsrfPolicy,
    keys: KeyRing | str,
    origins: Iterable[str] = (),
    subject: Subject | None = None,
    secure: bool | None = None,
    development: bool = False,
    clock: Callable[[], float] = time.time,
    random: Callable[[int], bytes] = urandom,
) -> CsrfProtection:
    """The decisions of `protect` without ASGI around them; `secure` as in `CsrfProtection.of`.

    A request that gets to a handler of `router` around the layer is refused (DOD161), under `development` only told.
    """
    ring = parse_key_ring(keys) if isinstance(keys, str) else keys
    entrance = Entrance("pass" if policy.mode == "report" else "tell" if development else "refuse")

    def settle() -> None:
        watch(router, entrance, again=True)

    def find(scope: Mapping[str, Any]) -> MatchedRoute | None:
        return find_route(router, scope)

    return CsrfProtection.of(
        policy,
        ring,
        origins,
        subject=subject,
        find=find,
        watched=watch(router, entrance),
        settle=settle,
        secure=secure,
        clock=clock,
        random=random,
    )
