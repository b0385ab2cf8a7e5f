"""The layers around an application: which there are, and what they are set up with."""

from __future__ import annotations

from typing import Any


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
