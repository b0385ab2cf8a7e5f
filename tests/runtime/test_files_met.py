"""How many files of ours a request meets: between two requests all is cold, and each file more costs anew."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from tests.csrf.driver import FORM, KEYS, Answer, call

import dodai
import dodai.asgi
from dodai.csrf.enforce import csrf_token
from dodai.observability.policy import ObservabilityPolicy
from dodai.runtime import RuntimeConfig

SOURCES = str(Path(dodai.__file__).parent)
ORIGIN = "https://app.example.com"
HOST = ("host", "app.example.com")
MOST = {"GET": 10, "POST": 15}


async def form(_: Request) -> Response:
    return PlainTextResponse(csrf_token())


async def read(_: Request) -> Response:
    return PlainTextResponse("read")


async def save(request: Request) -> Response:
    async with request.form() as sent:
        return PlainTextResponse(str(sent["a"]))


def layers(folder: Path) -> Any:
    """All of them: edge gate, CSRF and a segment, as a deployed service has them."""
    key = folder / "edge.key"
    key.write_text("k" * 43)
    config = RuntimeConfig(
        service="web",
        env="production",
        release="r1",
        state=folder / "state",
        edge_key_file=key,
        csrf_keys=KEYS,
        origins=(ORIGIN,),
        policy=ObservabilityPolicy(stdout=False, sample=0.0, heartbeat_s=0.0),
    )
    app = Starlette(routes=[Route("/form", form), Route("/read/{id}", read), Route("/save", save, methods=["POST"])])
    return dodai.asgi.wrap(app, config=config)


async def met(app: Any, method: str, path: str, headers: list[tuple[str, str]], chunks: Any = ()) -> list[str]:
    """The files of ours whose code runs for a request like one that was served before."""
    await call(app, method, path, headers, chunks)
    files: set[str] = set()

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(SOURCES):
            files.add(frame.f_code.co_filename[len(SOURCES) + 1 :])

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        answer: Answer = await call(app, method, path, headers, chunks)
    finally:
        sys.setprofile(before)
    assert answer.status == 200, answer.text
    return sorted(files)


async def test_requests_meet_few_files(tmp_path):
    """A read and a form of the page before it, from the edge, with an id and a trace."""
    app = layers(tmp_path)
    trace = "01a20a154cc271afb17c548fca6d98ca"
    edge = [
        HOST,
        ("x-edge-key", "k" * 43),
        ("x-request-id", trace),
        ("traceparent", f"00-{trace}-b7ad6b7169203331-01"),
        ("x-forwarded-for", "203.0.113.9"),
    ]
    page = await call(app, "GET", "/form", edge)
    token, cookie = re.fullmatch(r"d1\..+", page.text)[0], page.cookie
    post = [*edge, ("cookie", cookie), ("content-type", FORM), ("origin", ORIGIN), ("sec-fetch-site", "same-origin")]
    found = {
        "GET": await met(app, "GET", "/read/7", [*edge, ("cookie", cookie)]),
        "POST": await met(app, "POST", "/save", post, [f"a=1&csrf_token={token}".encode()]),
    }
    counts = {method: len(files) for method, files in found.items()}
    assert all(counts[method] <= most for method, most in MOST.items()), (counts, found)
