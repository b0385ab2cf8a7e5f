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
from web import author, errors, health, language, marks, me, questions, sign_in, webhooks
from web.backend import Backend
from web.headers import Headers, Life, headers_of
from web.pages import AtHand, Pages
from web.settings import Settings
from web.visitor import Known, Provider, Sessions
from web.words import Words


def build(settings: Settings, life: Life, origins: tuple[str, ...]) -> Starlette:
    """The quiz itself, with nothing around it."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, Any]]:  # noqa: ARG001 - the framework's signature
        async with aclosing(Backend(settings.backend_addr)) as backend:
            yield {
                "at_hand": AtHand(settings, backend, Provider(settings), Pages(Words.read()), life, origins),
            }

    secure = all(origin.startswith("https:") for origin in origins) if origins else False
    return Starlette(
        routes=[
            *author.routes,
            *questions.routes,
            *marks.routes,
            *me.routes,
            *sign_in.routes,
            *language.routes,
            *webhooks.routes,
            *health.routes,
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static"),
        ],
        middleware=[
            Middleware(Headers, always=headers_of(settings), life=life),
            Middleware(Sessions, keys=settings.session_keys, secure=secure),
            Middleware(Known),
        ],
        exception_handlers=errors.handlers,
        lifespan=lifespan,
    )


config = dodai.asgi.RuntimeConfig.from_environment()
life = Life()
app = dodai.asgi.wrap(build(Settings.of(os.environ), life, config.public_origins), service="quiz/web", config=config)
