"""Wrap an ASGI application: `app = dodai.asgi.wrap(app, service="shop/web")`, outermost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dodai.asgi.layer import Layer
from dodai.core.asgi_types import App
from dodai.core.request import current
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.identity import checked_user

__all__ = ["RuntimeConfig", "set_user", "wrap"]


def wrap(
    app: App, *, service: str = "", config: RuntimeConfig | None = None, subject: Callable[..., Any] | None = None
) -> Layer:
    """`app` behind request id, edge gate, CSRF protection and the reserved paths, with one line per request.

    Must be the outermost layer: what is outside has no request id and no line. `service` says which one it is, as
    `PROJECT/SERVICE` by the names in the manifest: without it nothing of the manifest that lets more requests pass
    holds here (`csrf = "off"`, exemptions, `trusted_origins`, mode `report`). `config` is that of the environment by
    default. `subject` names the session or user a CSRF token is bound to: a plain function that is called with the ASGI
    scope, as the server made it, and returns text; none, or an empty one, is nobody. It may be called in any request.
    Where it raises, a state-changing request is refused (400, DOD156), and a page that renders a token fails.
    `TypeError` for one that is awaited or cannot be called with one argument.
    Raises `DodaiError` DOD480 when the environment cannot be used, DOD180 for a bad key ring, or for none outside a
    development setting, DOD184 when the CSRF mode needs a public origin and there is none, DOD165 for a service that
    the manifest has not, DOD187 for one of another project, DOD189 for an exemption that names no service where several
    are checked.
    """
    return Layer(app, Runtime.of(config), service, subject, by_code=config is not None)


def set_user(user_id: object) -> None:
    """Name the signed-in user of the current request, for its line and for the calls it makes; None for nobody.

    Raises `ValueError` for an id of more than 128 characters. Outside a request it does nothing.
    """
    context = current()
    if context is not None:
        context.user_id = checked_user(user_id)
