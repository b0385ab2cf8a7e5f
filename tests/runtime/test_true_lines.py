"""Lines say what happened: errors that frameworks answer themselves, clients that left, calls, losses, ids."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from tests.csrf.test_closed_by_default import django_app
from werkzeug.test import Client

import dodai
import dodai.asgi
import dodai.wsgi
from dodai.asgi import exchange
from dodai.core.request import bind, unbind
from dodai.observability.line_format import dump, redact
from dodai.observability.policy import ObservabilityPolicy
from dodai.runtime import RequestIdFilter, Runtime, RuntimeConfig
from dodai.runtime.calls import record_call

Config = Callable[..., RuntimeConfig]
Lines = Callable[..., list[dict[str, Any]]]


def asking(app: Any) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://testserver")


def broken(*_: Any) -> Any:
    raise KeyError("taro@example.com")


def broken_flask() -> Flask:
    app = Flask(__name__)
    app.get("/broken")(broken)
    return app


def broken_django() -> Any:
    from django.conf import settings
    from django.urls import clear_url_caches, path

    app = django_app()
    sys.modules[settings.ROOT_URLCONF].urlpatterns.append(path("broken", broken))
    clear_url_caches()
    return app


@pytest.mark.parametrize("make", [broken_flask, broken_django], ids=["flask", "django"])
def test_error_that_the_framework_answers_itself_is_in_the_line(config: Config, lines: Lines, make: Any):
    """Its own 500 leaves the application, and the exception never does."""
    client = Client(dodai.wsgi.wrap(make(), config=config()))
    assert client.get("/broken", buffered=True).status_code == 500
    (line,) = lines("web", "http")
    assert (line["status"], line["error"], line["route"]) == (500, "KeyError", "/broken")
    assert "broken" in line["stack"]
    assert "taro" not in str(line)


async def test_client_that_left_a_slow_ordinary_handler_is_gone(config: Config, lines: Lines):
    """The handler never asks the server, so the layer does before it says that the answer was delivered."""
    asked: list[str] = []

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.06)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"late"})
        asked.append((await receive())["type"])

    app = dodai.asgi.wrap(slow, config=config())
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [], "query_string": b"", "root_path": ""}
    for messages in ([{"type": "http.request", "body": b"x"}, {"type": "http.disconnect"}], [{"type": "http.request"}]):
        waiting = list(messages)

        async def receive(waiting: Any = waiting) -> Any:
            if not waiting:
                await asyncio.sleep(3600)
            return waiting.pop(0)

        async def send(_: Any) -> None: ...

        await app(dict(scope), receive, send)
    assert [line["outcome"] for line in lines("web", "http")] == ["client_gone", "ok"]
    assert asked == ["http.request"] * 2, "what was taken to find out is still there to be read"


async def test_application_that_gives_up_with_its_client_is_499(config: Config, lines: Lines):
    """As Django does: no answer, because there is nobody to read it. That is no error of ours."""

    async def left(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.disconnect"

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    sent: list[Any] = []
    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "root_path": ""}

    async def send(message: Any) -> None:
        sent.append(message)

    await dodai.asgi.wrap(left, config=config())(scope, receive, send)
    (line,) = lines("web", "http")
    assert (line["status"], line["outcome"], sent) == (499, "client_gone", [])


async def test_stray_cancellation_of_a_library_is_our_500(config: Config, lines: Lines):
    """Nobody cancels the request, so its client gets an answer with an id."""

    async def stray(_: Any) -> Any:
        raise asyncio.CancelledError

    async with asking(dodai.asgi.wrap(Starlette(routes=[Route("/", stray)]), config=config())) as client:
        answer = await client.get("/")
    (line,) = lines("web", "http")
    assert (answer.status_code, answer.json()["requestId"]) == (500, line["requestId"])
    assert (line["error"], line["outcome"]) == ("asyncio.exceptions.CancelledError", "server_error")


async def test_cancelled_request_is_still_cancelled(config: Config, lines: Lines):
    """A server that shuts down must not be answered with a 500."""
    started = asyncio.Event()

    async def waiting(_: Any) -> Any:
        started.set()
        await asyncio.sleep(3600)

    app = dodai.asgi.wrap(Starlette(routes=[Route("/", waiting)]), config=config())
    async with asking(app) as client:
        task = asyncio.create_task(client.get("/"))
        await started.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [line["outcome"] for line in lines("web", "http")] == ["aborted"]


async def test_wrap_inside_wrap_keeps_one_id_and_one_line(config: Config, lines: Lines):
    """A mounted application of ours is part of the same request, and refuses what it would refuse alone."""
    ids: list[Any] = []

    async def seen(_: Any) -> Any:
        ids.append(dodai.request_id())
        return PlainTextResponse("ok")

    routes = [Route("/x", seen, methods=["GET", "POST"])]
    inner = dodai.asgi.wrap(
        Starlette(routes=routes), config=config(csrf_off="", release="", origins=("http://localhost",))
    )
    app = dodai.asgi.wrap(Starlette(routes=[Mount("/in", app=inner)]), config=config())
    async with asking(app) as client:
        answer = await client.get("/in/x")
        refused = await client.post("/in/x")
    first, second = lines("web", "http")
    assert [first["requestId"]] == ids == [answer.headers["x-request-id"]]
    assert (refused.status_code, refused.json()["requestId"]) == (403, second["requestId"])


async def test_own_pages_of_fastapi_have_a_label(config: Config, lines: Lines):
    """`/docs` is a route like any other; HEAD sends no body."""
    async with asking(dodai.asgi.wrap(FastAPI(), config=config())) as client:
        for path in ("/docs", "/openapi.json", "/nothing"):
            await client.get(path)
    assert [line["route"] for line in lines("web", "http")] == ["/docs", "/openapi.json", "<unmatched>"]


async def test_head_sends_no_bytes(config: Config, lines: Lines):
    """What the application hands over, the server keeps to itself."""
    app = Starlette(routes=[Route("/", lambda _: PlainTextResponse("12345"))])
    async with asking(dodai.asgi.wrap(app, config=config())) as client:
        await client.head("/")
        await client.get("/")
    assert [line["bytesOut"] for line in lines("web", "http")] == [0, 5]


async def test_developer_sees_message_and_traceback_and_production_does_not(config: Config, lines: Lines, caplog: Any):
    """A line has neither; without them nobody can write an application."""
    for more, seen in (({"release": "", "origins": ()}, True), ({"release": "r1"}, False)):
        caplog.clear()
        app = Starlette(routes=[Route("/", broken)])
        async with asking(dodai.asgi.wrap(app, config=config(**more))) as client:
            assert (await client.get("/")).status_code == 500
        assert ("taro@example.com" in caplog.text) is seen
    assert "taro" not in str(lines())


def test_filter_gives_the_applications_own_log_the_id(config: Config):
    """Outside a request there is none."""
    record = logging.LogRecord("shop", logging.INFO, "", 0, "sold", (), None)
    assert RequestIdFilter().filter(record)
    assert (record.request_id, dodai.request_id()) == ("-", None)
    context = Runtime.of(config()).open(trusted=False)
    token = bind(context)
    RequestIdFilter().filter(record)
    assert record.request_id == dodai.request_id() == context.request_id
    unbind(token)


def test_calls_of_each_dependency_are_in_the_line(config: Config, lines: Lines):
    """Count, failures and milliseconds, so that an alert can name who is down without a line for each call."""
    runtime = Runtime.of(config())
    context = runtime.open(trusted=False)
    for dependency, outcome in (("backend", "ok"), ("backend", "server_error"), ("database", "timeout")):
        record_call(
            runtime, context, "rpc_client", dependency=dependency, span_id="", seconds=0.01, outcome=outcome, status="X"
        )
    context.sub_lines = None
    runtime.write_served(context, ("http", "ok", 200, "/", "GET"), 0.1, {})
    (line,) = lines("web", "http")
    assert line["calls"] == "backend 2 1 20.0;database 1 1 10.0"


def test_breaker_opens_and_closes_in_lines(config: Config, lines: Lines):
    """An alert can count them; a call that is refused says why."""
    limits = {"dependency": {"backend": {"breaker_failures": 2, "breaker_reset": 0.0}}}
    runtime = Runtime.of(config(sections=limits))
    guard = runtime.guard("backend")
    for failed in (True, True, True, False, False):
        guard.leave(failed=failed)
    assert [(line["name"], line["dependency"]) for line in lines("web", "event")] == [
        ("breaker_open", "backend"),
        ("breaker_closed", "backend"),
    ]


def test_every_tier_samples_the_same_requests(config: Config):
    """The id decides, so a sampled trace is whole."""
    policy = ObservabilityPolicy(stdout=False, sample=0.25)
    web, backend = (Runtime(config(name, policy=policy)) for name in ("web", "backend"))
    contexts = [web.fresh() for _ in range(400)]
    again = [backend.fresh(context.request_id, context.trace_id) for context in contexts]
    assert [context.sampled for context in contexts] == [context.sampled for context in again]
    assert 40 < sum(context.sampled for context in contexts) < 160


@pytest.mark.parametrize("hidden", ["\x7f", "\x80", "\x85", "\x9b", "\x9f", "\u2028", "\u2029"])
def test_character_that_a_terminal_obeys_is_escaped(hidden: str):
    """C1 controls, DEL and the separators: JSON allows them as they are, terminals and log readers do not show them."""
    data = dump({"ts": 1.0, "path": f"/a{hidden}b/\u3042"})
    assert hidden.encode() not in data
    assert f"\\u{ord(hidden):04x}".encode() in data
    assert "\u3042".encode() in data


@pytest.mark.parametrize(
    "path", ["/token/abc", "/reset/Xy12", "/auth/verify/9f", "/reset/password/9f", "/invite/a-b", "/RESET/q?x"]
)
def test_secret_in_a_path_is_masked(path: str):
    """What stands behind such a name opens an account."""
    assert redact(path).endswith("/[secret]")


def test_lost_lines_are_told_while_they_are_lost(tmp_path: Path):
    """An unwritable folder is news now, not when it is writable again."""
    (tmp_path / "state").write_text("in the way")
    code = (
        "from dodai.runtime import Runtime, RuntimeConfig\n"
        "from dodai.observability.policy import ObservabilityPolicy\n"
        "from pathlib import Path\n"
        f"config = RuntimeConfig(state=Path({str(tmp_path / 'state')!r}), policy=ObservabilityPolicy(stdout=False))\n"
        "runtime = Runtime.of(config)\n"
        "for _ in range(3): runtime.event('x')\n"
        "runtime.output.spare.flush(5)\n"
        "import sys; from dodai.runtime import lost_lines\n"
        "sys.stderr.write(str(lost_lines()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count('"name":"lines_dropped"') == 1
    assert done.stderr == "3"  # for the detail of `/readyz`


class _Waiting:
    """What `receive` of granian gives: it waits from when it was made, and has no `close`."""

    def __await__(self) -> _Waiting:
        return self

    def __iter__(self) -> _Waiting:
        return self

    def __next__(self) -> None:
        return None


async def test_server_that_cannot_be_told_to_stop_waiting_is_not_asked_whether_the_client_left(
    config: Config, lines: Lines, monkeypatch: pytest.MonkeyPatch
):
    """Granian: every answer that took longer than a moment was a 500, behind a handler that had run."""
    monkeypatch.setattr(exchange, "_PATIENCE_S", -1.0)
    asked, sent = [], []

    def receive() -> _Waiting:
        asked.append("receive")
        return _Waiting()

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await PlainTextResponse("done")(scope, receive, send)

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "scheme": "http"}
    await dodai.asgi.wrap(app, config=config())(scope, receive, send)
    assert (asked, [message.get("status") for message in sent]) == ([], [200, None])
    assert [line["outcome"] for line in lines("web", "http")] == ["ok"]
