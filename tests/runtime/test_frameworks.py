"""The route template of every supported ASGI framework: mounts, included routers, converters; nothing for scanners."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx2
from fastapi import APIRouter, FastAPI
from litestar import Litestar, Router, get
from litestar.params import FromPath
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

import dodai.asgi
from dodai.runtime import RuntimeConfig

Config = Callable[..., RuntimeConfig]
Lines = Callable[..., list[dict[str, Any]]]


@get("/items/{item:int}")
async def litestar_item(item: FromPath[int]) -> str:
    return str(item)


async def routes_of(app: Any, config: RuntimeConfig, lines: Lines, *paths: str) -> list[tuple[int, str]]:
    wrapped = dodai.asgi.wrap(app, config=config)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=wrapped), base_url="http://t") as client:
        for path in paths:
            await client.get(path)
    return [(line["status"], line["route"]) for line in lines()]


async def test_fastapi_with_included_router_and_mount(config: Config, lines: Lines):
    """Prefixes of routers and mounts are in the template."""
    app, router, sub = FastAPI(), APIRouter(prefix="/v1"), FastAPI()

    @router.get("/items/{item}")
    def item(item: str) -> str:
        return item

    @sub.get("/parts/{part}")
    def part(part: str) -> str:
        return part

    app.include_router(router, prefix="/api")
    app.mount("/sub", sub)
    found = await routes_of(app, config(), lines, "/api/v1/items/7", "/sub/parts/7", "/wp-login.php")
    assert found == [(200, "/api/v1/items/{item}"), (200, "/sub/parts/{part}"), (404, "<unmatched>")]


async def test_litestar_with_router(config: Config, lines: Lines):
    """Typed parameters become plain ones."""

    app = Litestar([Router(path="/v1", route_handlers=[litestar_item])])
    found = await routes_of(app, config(), lines, "/v1/items/7", "/wp-login.php")
    assert found == [(200, "/v1/items/{item}"), (404, "<unmatched>")]


async def test_starlette_mounts_and_static_files(config: Config, lines: Lines, tmp_path: Any):
    """Files below a mount are one route, whatever their names."""
    (tmp_path / "a.css").write_text("x")

    async def page(_: Any) -> PlainTextResponse:
        return PlainTextResponse("x")

    tenant = Mount("/{tenant}", routes=[Route("/page/{n}", page)])
    app = Starlette(routes=[Mount("/static", app=StaticFiles(directory=tmp_path)), Mount("/t", routes=[tenant])])
    found = await routes_of(app, config(), lines, "/static/a.css", "/static/b.css", "/t/acme/page/7")
    assert found == [(200, "/static"), (404, "/static"), (200, "/t/{tenant}/page/{n}")]


_DJANGO = """
import asyncio, json, sys, types
from pathlib import Path
from django.conf import settings
settings.configure(ROOT_URLCONF="urls", ALLOWED_HOSTS=["*"], SECRET_KEY="x", LOGGING_CONFIG=None)
urls = types.ModuleType("urls")
sys.modules["urls"] = urls
from django.http import HttpResponse
from django.urls import include, path
urls.urlpatterns = [path("quiz/", include([path("items/<int:item>/", lambda request, item: HttpResponse("x"))]))]
import django
django.setup()
import httpx2
from django.core.asgi import get_asgi_application
import dodai.asgi
from dodai.runtime import Runtime
app = dodai.asgi.wrap(get_asgi_application())
async def main():
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://t") as client:
        for path in ("/quiz/items/7/", "/wp-login.php"):
            await client.get(path)
asyncio.run(main())
Runtime.current().flush()
for file in Path(sys.argv[1], "lines").glob("*.jsonl"):
    print([json.loads(raw)["route"] for raw in file.read_bytes().splitlines()])
"""


def test_django_is_asked_for_its_route(tmp_path: Any):
    """Django leaves nothing in the scope; its resolver knows."""
    env = {**os.environ, "DODAI_STATE": str(tmp_path), "PYTHONWARNINGS": "ignore"}
    argv = [sys.executable, "-c", _DJANGO, str(tmp_path)]
    done = subprocess.run(argv, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "['/quiz/items/<int:item>/', '<unmatched>']"
