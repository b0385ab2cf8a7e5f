"""What bad input gets: the app keeps serving, lines stay parsable or are counted as dropped."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import dodai.asgi
from dodai.core.errors import DodaiError
from dodai.observability.policy import ObservabilityPolicy
from dodai.runtime import Runtime, RuntimeConfig
from dodai.runtime.stdout_copy import StdoutCopy

Config = Callable[..., RuntimeConfig]
Lines = Callable[..., list[dict[str, Any]]]
HEADER = st.sampled_from(
    [b"x-request-id", b"traceparent", b"tracestate", b"x-user-id", b"x-identity-proof", b"x-edge-key", b"cf-ray",
     b"x-forwarded-for", b"x-attempt", b"accept", b"accept-language"]
)  # fmt: skip


async def app(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})


async def ask(wrapped: Any, path: str, headers: list[tuple[bytes, bytes]], method: str = "GET") -> dict[str, Any]:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": ("192.0.2.7", 1)}
    await wrapped(scope, receive, send)
    return {"status": sent[0]["status"], "headers": dict(sent[0]["headers"])}


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.text(max_size=300).map(lambda text: "/" + text),
    method=st.sampled_from(["GET", "get", "BREW", "POST", "\u0130", "X" * 5000]),
    headers=st.lists(st.tuples(HEADER, st.binary(max_size=200) | st.just(b"a" * 10_000)), max_size=6),
    gated=st.booleans(),
)
async def test_any_headers_and_paths_are_served_with_one_sound_line(
    config: Config, lines: Lines, tmp_path: Path, path: str, method: str, headers: Any, gated: bool
):
    """Newlines, NUL, 10 kB, surrogates, duplicates, in ids, paths, methods and trust headers."""
    key = tmp_path / "edge.key"
    key.write_text("edge-key-0123456789")
    wrapped = dodai.asgi.wrap(app, config=config(edge_key_file=key if gated else None))
    before = len(lines())
    answer = await ask(wrapped, path, headers, method)
    assert answer["status"] in (200, 403, 404)
    (line,) = lines()[before:]
    assert line["requestId"].encode() == answer["headers"][b"x-request-id"]
    assert len(line["requestId"]) == 32
    assert line["route"] in ("<unmatched>", "/-/dodai/*")


async def test_ten_thousand_paths_are_one_route(config: Config, tmp_path: Path):
    """No state grows with what scanners ask for."""
    wrapped = dodai.asgi.wrap(app, config=config(policy=ObservabilityPolicy(stdout=False, sample=0.0)))
    for index in range(10_000):
        await ask(wrapped, f"/{index}", [(b"x-forwarded-for", b"203.0.%d.%d" % (index % 250, index % 99))])
    routes = set()
    for path in (tmp_path / "state" / "lines").glob("*.jsonl"):
        lines = map(json.loads, path.read_bytes().splitlines())
        routes |= {line["route"] for line in lines if line["type"] != "event"}  # the others are events of the process
    assert routes == {"<unmatched>"}
    assert len(wrapped._networks) <= 1024
    assert len(wrapped.runtime._heads) == 1


def test_shapes_of_lines_are_forgotten_before_they_fill_the_memory(config: Config, lines: Lines):
    """An application whose routes are made at run time costs no more than a few thousand templates."""
    runtime = Runtime(config())
    for index in range(5000):
        runtime.write_served(runtime.fresh(), ("http", "ok", 200, f"/{index}", "GET"), 0.001, {})
    assert len(runtime._heads) <= 4096
    assert len(lines()) == 5000


def test_blocked_stdout_never_blocks_and_counts(tmp_path: Path):
    """Nobody reads the pipe: `put` returns at once, the queue stays bounded, what is lost is counted."""
    reader, writer = os.pipe()
    copy = StdoutCopy(descriptor=writer, capacity=100)
    for _ in range(5000):
        copy.put(b"x" * 4000 + b"\n")
    assert copy.dropped >= 4000
    assert not copy.flush(0.05)
    drained = threading.Thread(target=lambda: [None for _ in iter(lambda: os.read(reader, 65536), b"")])
    drained.start()
    assert copy.flush(5.0)
    os.close(writer)
    drained.join()
    os.close(reader)


async def test_dropped_lines_are_reported_in_a_line(config: Config, lines: Lines, tmp_path: Path):
    """Once there is room again an event says how many are missing."""
    blocked = tmp_path / "state"
    blocked.write_text("in the way")
    runtime = Runtime(config())
    for _ in range(3):
        runtime.write({"ts": 1.0, "v": 1, "type": "event", "service": "web", "name": "lost"})
    assert runtime.dropped == 3
    blocked.unlink()
    runtime.output.segment._retry_at = 0.0
    runtime.write({"ts": 2.0, "v": 1, "type": "event", "service": "web", "name": "kept"})
    assert [(line["name"], line.get("count")) for line in lines()] == [("kept", None), ("lines_dropped", 3)]


async def test_a_clock_that_steps_back_leaves_latencies_alone(config: Config, lines: Lines, monkeypatch: Any):
    """`ts` follows the wall clock, durations the monotonic one."""
    wrapped = dodai.asgi.wrap(app, config=config())
    real, real_ns = time.time, time.time_ns

    async def stepping(scope: Any, receive: Any, send: Any, _: Any) -> None:
        monkeypatch.setattr(time, "time", lambda: real() - 3600)
        monkeypatch.setattr(time, "time_ns", lambda: real_ns() - 3600 * 1_000_000_000)
        await app(scope, receive, send)

    wrapped._inner = stepping
    await ask(wrapped, "/", [])
    monkeypatch.undo()
    (line,) = lines()
    assert line["ts"] < real() - 3000
    assert 0 <= line["latencyMs"] < 1000


_FORKING = """
import asyncio, json, os, sys
import dodai.asgi
from dodai.runtime import Runtime
runtime = Runtime.current()
runtime.write_request(runtime.line(runtime.fresh(), "task", status="", outcome="ok", latency_s=0.0), runtime.fresh())
children = []
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        for _ in range(50):
            context = runtime.fresh()
            runtime.write_request(runtime.line(context, "task", status="", outcome="ok", latency_s=0.0), context)
        runtime.flush()
        os._exit(0)
    children.append(pid)
for pid in children:
    os.waitpid(pid, 0)
runtime.flush()
"""


def test_forked_workers_have_files_and_ids_of_their_own(tmp_path: Path):
    """uvicorn --workers and gunicorn --preload fork: no shared file, no id twice, nothing lost."""
    env = {**os.environ, "DODAI_STATE": str(tmp_path), "DODAI_SERVICE": "web", "PYTHONWARNINGS": "ignore"}
    subprocess.run([sys.executable, "-c", _FORKING], env=env, cwd=tmp_path, check=True, stdout=subprocess.DEVNULL)
    files = list((tmp_path / "lines").glob("*.jsonl"))
    found = [json.loads(raw) for path in files for raw in path.read_bytes().splitlines()]
    assert len(files) == 4
    assert len(found) == 151
    assert len({line["requestId"] for line in found}) == 151
    assert len({line["instance"] for line in found}) == 4


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"DODAI_EDGE_KEY_FILE": "/nowhere/key"}, "`/nowhere/key` cannot be read"),
        ({"DODAI_IDENTITY_KEYS": "k1:YWJj"}, "shorter than 16 bytes"),
        ({"DODAI_MANIFEST": "/nowhere/dodai.toml"}, "cannot be read"),
    ],
)
def test_broken_settings_stop_the_start(environ: dict[str, str], said: str):
    """A service that would refuse everybody, or nobody, does not start: DOD480 and the variable's name."""
    with pytest.raises(DodaiError, match=said) as caught:
        RuntimeConfig.from_environment(environ)
    assert caught.value.code.id == "DOD480"
    assert next(iter(environ)) in str(caught.value) + caught.value.fix


def test_hashed_user_ids_need_keys(config: Config):
    """An HMAC under a known key is no pseudonym."""
    hashed = ObservabilityPolicy(stdout=False, user_id="hmac")
    with pytest.raises(DodaiError, match="DODAI_IDENTITY_KEYS"):
        Runtime(replace(config(policy=hashed), identity_keys=type(config().identity_keys)()))
    runtime = Runtime(config(policy=hashed))
    assert runtime.shown_user("u-1") == Runtime(config("backend", policy=hashed)).shown_user("u-1") != "u-1"


_SERVING = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import uvicorn
import dodai.asgi

async def app(scope, receive, send):
    if scope["path"] == "/full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, -1))
    elif scope["path"] == "/room":
        resource.setrlimit(resource.RLIMIT_FSIZE, (-1, -1))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ok"})

uvicorn.run(dodai.asgi.wrap(app), port=int(sys.argv[1]), log_level="error", lifespan="off")
"""


def test_server_keeps_serving_with_a_full_disk_and_a_blocked_stdout_and_is_killed(tmp_path: Path, lines: Lines):
    """A real process: every request is answered, what could not be written is counted, no line is torn by SIGKILL."""
    reader, writer = os.pipe()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DODAI_")},
        "DODAI_STATE": str(tmp_path / "state"),
        "DODAI_SERVICE": "web",
        "DODAI_CSRF_KEYS": "k1:MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY",
    }
    (tmp_path / "dodai.toml").write_text('[project]\nname = "small"\n[observability]\nstdout = true\n')
    environment["DODAI_MANIFEST"] = str(tmp_path / "dodai.toml")
    argv = [sys.executable, "-c", _SERVING, str(port)]
    process = subprocess.Popen(argv, env=environment, stdout=writer)
    os.close(writer)
    try:
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", transport=httpx2.HTTPTransport(retries=8)) as client:
            asked = [client.get(path).status_code for path in ["/", "/full", *["/"] * 400, "/room", *["/"] * 400]]
        process.send_signal(signal.SIGKILL)
        process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(reader)
    assert set(asked) == {200}
    whole, torn = [], 0
    for path in (tmp_path / "state" / "lines").glob("*.jsonl"):
        for raw in path.read_bytes().splitlines():
            try:
                whole.append(json.loads(raw))
            except ValueError:
                torn += 1
    served = [line for line in whole if line["type"] == "http"]
    lost = sum(line["count"] for line in whole if line.get("name") == "lines_dropped")
    assert torn <= 1  # the one the disk had no room for
    assert len(served) >= 401
    assert lost > 0
    assert len(served) + lost <= len(asked) + 1
