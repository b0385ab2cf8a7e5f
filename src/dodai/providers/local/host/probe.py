"""Asking one instance whether it is ready, on a connection of its own each time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import h11

from dodai.operations.ports import Readiness, ServiceProbe
from dodai.providers.local.host.child import ChildCommand

ONE_PROBE_S = 2.0
ONE_COMMAND_S = 5.0
BODY_BYTES = 64 * 1024
NOT_LISTENING = "nothing listens on the port it was given as `PORT` (`{port}` in its command)"


async def ask_http(
    service: str, port: int, ready: Readiness, headers: Mapping[str, str], timeout_s: float = ONE_PROBE_S
) -> ServiceProbe:
    """Ready iff the answer is 2xx and, where it is JSON with `ready`, that is true. `version`: its own word for it."""
    began = time.perf_counter()
    path = ready.path
    sent = {"host": ready.host or f"127.0.0.1:{port}", **headers}
    if ready.scheme:
        sent["x-forwarded-proto"] = ready.scheme
    try:
        async with asyncio.timeout(timeout_s):
            status, fields, body = await _get(port, path, sent)
    except TimeoutError:
        return ServiceProbe(state="no_answer", detail=f"no answer from `{path}` within {timeout_s:g} s")
    except ConnectionRefusedError:
        return ServiceProbe(state="no_answer", detail=NOT_LISTENING)
    except (OSError, h11.RemoteProtocolError, asyncio.IncompleteReadError) as error:
        return ServiceProbe(state="no_answer", detail=f"`{path}`: {error or type(error).__name__}")
    latency_ms = (time.perf_counter() - began) * 1000
    said = _json(body)
    version = str(said.get("version") or fields.get("x-release", ""))
    dependencies = {str(name): _word(state) for name, state in _mapping(said.get("dependencies")).items()}
    good = 200 <= status < 300 and said.get("ready", True) is True
    if not good and (wrong := misasked_http(service, ready, status, sent["host"], fields.get("location", ""))):
        return wrong
    detail = "" if good else f"`{path}` answered {status}" + _unwell(dependencies)
    return ServiceProbe(
        state="ready" if good else "not_ready",
        version=version,
        detail=detail,
        latency_ms=latency_ms,
        dependencies=dependencies,
    )


async def ask_grpc(service: str, port: int, ready: Readiness, timeout_s: float = ONE_PROBE_S) -> ServiceProbe:
    """Ready iff `grpc.health.v1` says SERVING. `version`: the metadata `x-release`. Needs the `grpc` extra."""
    try:
        import grpc
        import grpc.aio
    except ImportError:
        return ServiceProbe(
            state="not_served",
            detail="asking `grpc.health.v1` needs the extra `grpc`, which is not installed",
            fix=f"pip install 'dodai[grpc]', or `kind = \"tcp\"` in `[service.{service}.health]`",
        )
    began = time.perf_counter()
    name = ready.path.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""  # HealthCheckRequest.service, field 1
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=timeout_s)
        try:
            answer = await call
            sent = [*(await call.initial_metadata() or ()), *(await call.trailing_metadata() or ())]
        except grpc.aio.AioRpcError as error:
            if wrong := misasked_grpc(service, ready, error.code().name):
                return wrong
            return ServiceProbe(
                state="no_answer", detail=f"grpc.health.v1: {error.code().name} {error.details() or ''}".strip()
            )
    version = next((str(value) for key, value in sent if key == "x-release"), "")
    serving = bytes(answer) == b"\x08\x01"  # HealthCheckResponse.status = SERVING
    detail = "" if serving else "grpc.health.v1 does not say SERVING"
    latency_ms = (time.perf_counter() - began) * 1000
    return ServiceProbe(
        state="ready" if serving else "not_ready", version=version, detail=detail, latency_ms=latency_ms
    )


async def ask_tcp(port: int, timeout_s: float = ONE_PROBE_S) -> ServiceProbe:
    """Ready iff it accepts a connection; nothing is known of its version."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
    except TimeoutError:
        return ServiceProbe(state="no_answer", detail=f"no connection within {timeout_s:g} s")
    except OSError:
        return ServiceProbe(state="no_answer", detail=NOT_LISTENING)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return ServiceProbe(state="ready", latency_ms=(time.perf_counter() - began) * 1000)


async def accepts(target: tuple[str, int] | str) -> bool:
    """Whether somebody accepts a connection there."""
    try:
        async with asyncio.timeout(1.0):
            if isinstance(target, str):
                _, writer = await asyncio.open_unix_connection(target)
            else:
                _, writer = await asyncio.open_connection(*target)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def ask_command(command: ChildCommand, timeout_s: float = ONE_COMMAND_S) -> ServiceProbe:
    """Ready iff the command ends with 0 in time, as its account; the last line that it wrote is its reason."""
    argv = command.argv
    account: dict[str, Any] = {}
    if command.uid is not None:
        account = {"user": command.uid, "group": command.gid, "extra_groups": ()}
    began = time.perf_counter()
    pipe = asyncio.subprocess.PIPE
    try:
        asked = await asyncio.create_subprocess_exec(
            *argv, cwd=command.cwd, env=dict(command.env), stdin=asyncio.subprocess.DEVNULL, stdout=pipe,
            stderr=asyncio.subprocess.STDOUT, start_new_session=True, **account,
        )  # fmt: skip
    except OSError as error:
        fix = "correct `command` of its `health`: a program and its arguments, found from `cwd` or the PATH"
        return ServiceProbe(state="not_served", detail=f"`{argv[0]}` cannot be started: {error.strerror}", fix=fix)
    try:
        async with asyncio.timeout(timeout_s):
            output, _ = await asked.communicate()
    except TimeoutError:
        return ServiceProbe(state="no_answer", detail=f"`{argv[0]}` did not end within {timeout_s:g} s")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(asked.pid, signal.SIGKILL)  # what it left behind, too
    latency_ms = (time.perf_counter() - began) * 1000
    if asked.returncode == 0:
        return ServiceProbe(state="ready", latency_ms=latency_ms)
    last = output[-BODY_BYTES:].decode("utf-8", "replace").strip().rpartition("\n")[2][:200]
    said = f"`{argv[0]}` ended with {asked.returncode}" + (f": {last}" if last else "")
    return ServiceProbe(state="not_ready", detail=said, latency_ms=latency_ms)


async def _get(port: int, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        wire = h11.Connection(h11.CLIENT)
        fields = [("accept", "application/json"), ("connection", "close")]
        request = h11.Request(method="GET", target=path, headers=[*fields, *headers.items()])
        writer.write((wire.send(request) or b"") + (wire.send(h11.EndOfMessage()) or b""))
        status, answered, body = 0, {}, b""
        while True:
            event = wire.next_event()
            if event is h11.NEED_DATA:
                wire.receive_data(await reader.read(65536))
            elif isinstance(event, h11.Response):
                status = event.status_code
                answered = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            if isinstance(event, h11.EndOfMessage) or len(body) > BODY_BYTES:
                return status, answered, body
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _json(body: bytes) -> Mapping[str, Any]:
    try:
        return _mapping(json.loads(body))
    except ValueError:
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(state: Any) -> str:
    return state if isinstance(state, str) else {True: "ok", False: "down"}.get(state, json.dumps(state))


def _unwell(dependencies: Mapping[str, str]) -> str:
    bad = [f"`{name}` {state}" for name, state in dependencies.items() if state.lower() not in ("ok", "ready", "up")]
    return ": " + ", ".join(bad) if bad else ""


_NO_SUCH = frozenset({404, 405, 410, 501})
_ONLY_LISTENS = '`kind = "tcp"` there asks no more than that it listens'


def misasked_http(service: str, ready: Readiness, status: int, host: str, location: str) -> ServiceProbe | None:
    """What is wrong with asking for `ready.path`; None where the answer is about readiness."""
    keys, path = f"`[service.{service}.health]`", ready.path
    if status in _NO_SUCH:
        detail = f"it answers, but has no `{path}` ({status})"
        fix = (
            f'let it answer 200 at `{path}` once it can serve, or name a path that it has: `path = "/"` in {keys}; '
            + _ONLY_LISTENS
        )
    elif status in (401, 403):
        detail = f"`{path}` answered {status}: it wants to know who asks"
        fix = f"let `{path}` through without a sign-in, or name another `path` in {keys}; {_ONLY_LISTENS}"
    elif status == 400:
        detail = f"`{path}` answered 400 to a request for the host `{host}`"
        fix = f"`host` in {keys} is what it is asked as: name one that it accepts (Django: one of `ALLOWED_HOSTS`)"
    elif 300 <= status < 400:
        detail = f"`{path}` answered {status}, which leads to `{location}`"
        fix = _redirected(keys, path, location)
    else:
        return None
    return ServiceProbe(state="not_served", detail=detail, fix=fix)


def misasked_grpc(service: str, ready: Readiness, code: str) -> ServiceProbe | None:
    """The same for `grpc.health.v1`, by the status of the call."""
    keys = f"`[service.{service}.health]`"
    if code == "UNIMPLEMENTED":
        detail = "it answers, but does not serve `grpc.health.v1`"
        fix = f'register the health service of your gRPC library, or `kind = "tcp"` in {keys}'
    elif code == "NOT_FOUND":
        detail = f"`grpc.health.v1` does not know the service `{ready.path}`"
        fix = f"correct `path` in {keys}; empty asks about the whole server"
    else:
        return None
    return ServiceProbe(state="not_served", detail=detail, fix=fix)


def _redirected(keys: str, path: str, location: str) -> str:
    target = urlsplit(location)
    if target.path == f"{path}/":
        return f'`path = "{path}/"` in {keys}'
    if target.scheme == "https" and target.path in (path, ""):
        return f'`scheme = "https"` in {keys}: it is then told that the visitor came by https'
    return f"let `{path}` through without a sign-in, or name another `path` in {keys}; {_ONLY_LISTENS}"
