"""The application: routes, what surrounds them, and dodai around it all."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

import dodai.asgi
from web import errors, health, language, questions
from web.backend import Backend
from web.headers import Headers, Life
from web.pages import Pages
from web.settings import Settings
from web.words import Words


def build(settings: Settings, life: Life) -> Starlette:
    """The quiz without dodai: what it would be on the day somebody takes dodai away."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG001 - the framework's signature
        async with aclosing(Backend(settings.backend_addr)) as backend:
            yield {"backend": backend, "pages": Pages(Words.read()), "settings": settings, "life": life}

    return Starlette(
        routes=[
            *questions.routes,
            *language.routes,
            *health.routes,
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static"),
        ],
        middleware=[Middleware(Headers, life=life, release=settings.release)],
        exception_handlers=errors.handlers,
        lifespan=lifespan,
    )


life = Life()
app = dodai.asgi.wrap(build(Settings.of(os.environ), life))
