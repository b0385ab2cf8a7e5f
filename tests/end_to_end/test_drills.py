"""The drills of releases and dependencies on a small application: green as it is, red when it breaks the promise."""

from __future__ import annotations

import json
import re

import pytest
from tests.end_to_end.small_app import SmallApp

MORE = """
app = "page:app"
needs = ["api"]
[service.api]
command = ["{python}", "api.py"]
drain = "1s"
health = { consecutive = 1, timeout = "5s" }
[dependency.api]
kind = "http"
connect_timeout = "500ms"
deadline = "500ms"
breaker_reset = "500ms"
[csrf]
[[journey]]
name = "write"
[[journey.step]]
name = "form"
path = "/"
[[journey.step]]
name = "save"
method = "POST"
path = "/save"
effect = "write"
form = { note = "hello" }
contains = "saved hello"
"""
PAGE = """
import json, os

import httpx2
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse
from starlette.routing import Route

import dodai.asgi, dodai.httpx
from dodai.core.request import current
from dodai.csrf.enforce import csrf_field

transport = dodai.httpx.AsyncTransport(httpx2.AsyncHTTPTransport(verify=False), dependency="api", audience="api")
api = httpx2.AsyncClient(base_url="http://" + os.environ.get("API_ADDR", "127.0.0.1:1"), transport=transport)
FORM = "hello from small, %s <form method='post' action='/save'>%s<input name='note'></form>"

async def front(request):
    try:
        words = (await api.get("/words")).text
    except HANDLED:
        return HTMLResponse(f"<p>Later, please. {current().request_id}</p>", 503)
    return HTMLResponse(FORM % (words, csrf_field(request)))

async def save(request):
    return HTMLResponse("saved " + (await request.form())["note"])

async def ready(request):
    return JSONResponse({"ready": True, "version": os.environ.get("DODAI_RELEASE", "")})

async def alive(request):
    return PlainTextResponse("ok")

routes = [Route("/", front), Route("/save", save, methods=["POST"]), Route("/readyz", ready), Route("/healthz", alive)]
app = dodai.asgi.wrap(Starlette(routes=routes))
"""
SERVE = """
import os, uvicorn
uvicorn.run("page:app", host="127.0.0.1", port=int(os.environ["PORT"]), log_level="warning")
"""
API = """
import http.server, json, os

class Words(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"ready": True, "version": os.environ["DODAI_RELEASE"]}).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        pass

http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Words).serve_forever()
"""
HANDLED = "(httpx2.HTTPError, dodai.httpx.DependencyUnavailableError)"


@pytest.fixture
def app(tmp_path):
    small = SmallApp(tmp_path).write(more=MORE)
    manifest = tmp_path / "dodai.toml"
    manifest.write_text(manifest.read_text().replace('drain = "1s"', 'drain = "5s"'))  # longer than a slow form takes
    write(small)
    yield small
    small.clear()


def write(app, *, handled=HANDLED, page=PAGE):
    files = {"page.py": page.replace("HANDLED", handled), "web.py": SERVE, "api.py": API}
    for name, text in files.items():
        (app.folder / name).write_text(text)


def told(rows):
    """What a person would want to know of drills that are not as expected."""
    bad = {id_: (row["observed"], row["details"]) for id_, row in rows.items() if row["outcome"] != "ok"}
    return json.dumps(bad, indent=1)


def drills(app, *ids):
    """The rows of these drills by id, and the exit code."""
    answer = app.run("rehearse", "--only", ",".join(ids), "--json")
    rows = {row["id"]: row for row in json.loads(answer.stdout)["drills"]}
    assert list(rows) == list(ids), answer.stderr
    return rows, answer.returncode


def test_releases_change_under_load_and_a_silent_dependency_is_survived(app):
    """Nothing fails while releases change places; without the dependency people get their id, and soon the page."""
    rows, code = drills(app, "swap-under-load", "api-refused", "api-half-open")
    assert code == 0, told(rows)
    swap = rows["swap-under-load"]["details"]
    assert (swap["failed"], swap["problems"]) == (0, [])
    assert swap["posts"] / swap["requests"] >= 0.3
    assert swap["slowRequests"] > 0
    assert re.match(r"\d+ × 503, ", rows["api-refused"]["observed"])
    assert list(rows["api-refused"]["details"]["blamed"]) == ["api"]
    assert "0 of" in rows["api-half-open"]["observed"]


def test_keys_change_under_load_and_nobody_is_refused(app):
    """Old tokens and new ones are taken alike, old ones until their key is dropped; so it is with identity keys."""
    rows, code = drills(app, "forged-posts-are-refused", "keys-rotated-under-load", "secrets-rotated-under-load")
    assert code == 0, told(rows)
    observed = rows["keys-rotated-under-load"]["observed"]
    assert observed.startswith("0 of ")
    assert observed.endswith("signed with the new key, a token of the old one gets 403 once that is dropped")
    assert re.match(
        r"0 of [1-9]\d* requests failed while 2 secrets changed", rows["secrets-rotated-under-load"]["observed"]
    )


IMPATIENT = """
import time
patient = app

async def app(scope, receive, send):
    began = time.monotonic()

    async def answer(message):
        if scope.get("path") == "/save" and message["type"] == "http.response.start" and time.monotonic() - began > 1.5:
            message = {**message, "status": 500}
        await send(message)

    await patient(scope, receive, answer)
"""


def test_application_that_breaks_its_promises_fails_the_drills(app):
    """No answer to the failed dependency, a form that is refused when it arrives slowly: both are red."""
    write(app, handled="ZeroDivisionError", page=PAGE + IMPATIENT)
    rows, code = drills(app, "swap-under-load", "api-refused")
    assert code == 1
    swap, refused = rows["swap-under-load"], rows["api-refused"]
    assert swap["outcome"] == "failed"
    assert swap["details"]["failed"] > 0
    assert refused["outcome"] == "failed"
    assert refused["details"]["wrong"][0].startswith("500 ")
