"""The line of a WSGI request, from a real server: how it ended, what was sent, where it went."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import httpx2
import pytest
from flask import Flask
from tests.support.wait import until
from werkzeug.routing import BaseConverter
from werkzeug.test import Client

import dodai.wsgi
from dodai.runtime import RuntimeConfig

Config = Callable[..., RuntimeConfig]
Lines = Callable[..., list[dict[str, Any]]]
RIGHT_KEY = "the-right-key-0123456789"


def app(environ: dict[str, Any], start: Any) -> Any:
    path = environ["PATH_INFO"]
    start("204 No Content" if path == "/nothing" else "200 OK", [])
    return {"/nothing": list, "/broken": broken, "/endless": endless}.get(path, lambda: [b"he", b"llo"])()


def broken() -> Iterator[bytes]:
    yield b"half"
    raise ZeroDivisionError


def endless() -> Iterator[bytes]:
    while True:
        yield b"x" * 65536


class Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing."""

    def get_stderr(self) -> Any:
        return io.StringIO()  # the server prints the traceback of its application


@pytest.fixture
def port(config: Config) -> Iterator[int]:
    server = make_server("127.0.0.1", 0, dodai.wsgi.wrap(app, config=config()), handler_class=Quiet)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server.server_port
    server.shutdown()
    server.server_close()
    thread.join()


def wait_for(lines: Lines) -> dict[str, Any]:
    """The one line, which is written after the answer."""
    return until(lines, what="a line")[0]


@pytest.mark.parametrize(
    ("method", "path", "status", "outcome", "size"),
    [("GET", "/", 200, "ok", 5), ("HEAD", "/", 200, "ok", 0), ("GET", "/nothing", 204, "ok", 0)],
)
def test_whole_answer_is_ok(port: int, lines: Lines, method: str, path: str, status: int, outcome: str, size: int):
    """With what the application gave to send, and the path because nothing knows its route."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.request(method, path).status_code == status
    line = wait_for(lines)
    assert (line["status"], line["outcome"], line["bytesOut"]) == (status, outcome, size)
    assert (line["route"], line["path"]) == ("<unmatched>", path)


def test_answer_that_breaks_in_the_middle_is_aborted(port: int, lines: Lines):
    """The status was sent already; the exception is in the line."""
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        assert client.get("/broken").text == "half"
    line = wait_for(lines)
    assert (line["status"], line["outcome"], line["error"]) == (200, "aborted", "ZeroDivisionError")


def test_client_that_leaves_is_no_error_of_ours(port: int, lines: Lines):
    """It reads a little of a long answer and closes."""
    with socket.create_connection(("127.0.0.1", port)) as raw:
        raw.sendall(b"GET /endless HTTP/1.0\r\n\r\n")
        assert raw.recv(100).startswith(b"HTTP/1.0 200")
    line = wait_for(lines)
    assert (line["status"], line["outcome"]) == (200, "client_gone")
    assert "error" not in line


@pytest.mark.parametrize(
    ("path", "method", "headers", "status", "code"),
    [
        ("/", "GET", {}, 403, "DOD556"),
        ("/", "GET", {"X-Edge-Key": "wrong"}, 403, "DOD556"),
        ("/", "GET", {"X-Edge-Key": RIGHT_KEY}, 200, None),
        ("/healthz", "GET", {}, 200, None),
        ("/-/dodai/nothing", "GET", {"X-Edge-Key": RIGHT_KEY}, 404, "DOD062"),
        ("/-/dodai", "GET", {"X-Edge-Key": RIGHT_KEY}, 404, "DOD062"),
        ("/-/dodai/probe", "POST", {"X-Edge-Key": RIGHT_KEY}, 204, None),
        ("/-/dodaix", "GET", {"X-Edge-Key": RIGHT_KEY}, 200, None),
    ],
)
def test_edge_gate_and_reserved_paths_are_those_of_asgi(
    config: Config, tmp_path: Path, path: str, method: str, headers: dict[str, str], status: int, code: str | None
):
    """A key that is configured is asked for, and the application never sees it."""
    key, seen = tmp_path / "edge.key", []
    key.write_text(f"{RIGHT_KEY}\n")

    def remembering(environ: dict[str, Any], start: Any) -> Any:
        seen.append(environ.get("HTTP_X_EDGE_KEY"))
        return app(environ, start)

    client = Client(dodai.wsgi.wrap(remembering, config=config(edge_key_file=key)))
    answer = client.open(path, method=method, headers=headers, buffered=True)
    assert answer.status_code == status
    assert seen == ([None] if status == 200 else [])
    if code:
        assert answer.json["error"]["code"] == code


def test_wrap_inside_wrap_writes_one_line(config: Config, lines: Lines):
    """`app.wsgi_app = wrap(app)` and the whole wrapped once more is still one request."""
    inner = dodai.wsgi.wrap(app, config=config())
    answer = Client(dodai.wsgi.wrap(inner, config=config())).get("/", buffered=True)
    assert [line["requestId"] for line in lines("web", "http")] == [answer.headers["X-Request-Id"]]


def test_flask_routes_a_request_once(tmp_path):
    """The line has the rule that Flask came to; asking its router again would run converters twice."""
    asked: list[str] = []

    class Counted(BaseConverter):
        def to_python(self, value):
            asked.append(value)
            return value

    app = Flask(__name__)
    app.url_map.converters["counted"] = Counted
    app.get("/items/<counted:name>")(lambda name: name)
    for off in ("", "a test of lines"):
        asked.clear()
        wrapped = dodai.wsgi.wrap(app, config=RuntimeConfig(state=tmp_path, csrf_off=off))
        client = Client(wrapped)
        assert client.get("/items/b", buffered=True).text == "b"
        assert asked == ["b"]
        assert client.get("/nothing", buffered=True).status_code == 404
        wrapped.runtime.flush()
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    written = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines() if line[:1] == "{"]
    routes = [line["route"] for line in written if line.get("type") == "http"]
    assert sorted(routes) == ["/items/<counted:name>"] * 2 + ["<unmatched>"] * 2
