"""Asking one instance whether it is ready, on a connection of its own each time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from typing import Any

import h11

from dodai.operations.ports import Probe

ONE_PROBE_S = 2.0
BODY_BYTES = 64 * 1024
NOT_LISTENING = "nothing listens on the port it was given as `PORT` (`{port}` in its command)"


async def ask_http(port: int, path: str, headers: Mapping[str, str], timeout_s: float = ONE_PROBE_S) -> Probe:
    """Ready iff the answer is 2xx and, where it is JSON with `ready`, that is true. `version`: its own word for it."""
    began = time.perf_counter()
    try:
        async with asyncio.timeout(timeout_s):
            status, fields, body = await _get(port, path, headers)
    except TimeoutError:
        return Probe(state="no_answer", detail=f"no answer from `{path}` within {timeout_s:g} s")
    except ConnectionRefusedError:
        return Probe(state="no_answer", detail=NOT_LISTENING)
    except (OSError, h11.RemoteProtocolError, asyncio.IncompleteReadError) as error:
        return Probe(state="no_answer", detail=f"`{path}`: {error or type(error).__name__}")
    latency_ms = (time.perf_counter() - began) * 1000
    said = _json(body)
    version = str(said.get("version") or fields.get("x-release", ""))
    dependencies = {str(name): _word(state) for name, state in _mapping(said.get("dependencies")).items()}
    ready = 200 <= status < 300 and said.get("ready", True) is True
    detail = "" if ready else f"`{path}` answered {status}" + _unwell(dependencies)
    return Probe(
        state="ready" if ready else "not_ready",
        version=version,
        detail=detail,
        latency_ms=latency_ms,
        dependencies=dependencies,
    )


async def ask_grpc(port: int, service: str, timeout_s: float = ONE_PROBE_S) -> Probe:
    """Ready iff `grpc.health.v1` says SERVING. `version`: the metadata `x-release`. Needs the `grpc` extra."""
    try:
        import grpc
        import grpc.aio
    except ImportError:
        return Probe(state="no_answer", detail="asking a gRPC service needs: pip install 'dodai[grpc]'")
    began = time.perf_counter()
    name = service.encode()
    request = b"\x0a" + bytes([len(name)]) + name if name else b""  # HealthCheckRequest.service, field 1
    async with grpc.aio.insecure_channel(
        f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)]
    ) as channel:
        call = channel.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=timeout_s)
        try:
            answer = await call
            sent = [*(await call.initial_metadata() or ()), *(await call.trailing_metadata() or ())]
        except grpc.aio.AioRpcError as error:
            return Probe(
                state="no_answer", detail=f"grpc.health.v1: {error.code().name} {error.details() or ''}".strip()
            )
    version = next((str(value) for key, value in sent if key == "x-release"), "")
    serving = bytes(answer) == b"\x08\x01"  # HealthCheckResponse.status = SERVING
    detail = "" if serving else "grpc.health.v1 does not say SERVING"
    latency_ms = (time.perf_counter() - began) * 1000
    return Probe(state="ready" if serving else "not_ready", version=version, detail=detail, latency_ms=latency_ms)


async def _get(port: int, path: str, headers: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        wire = h11.Connection(h11.CLIENT)
        fields = [("host", f"127.0.0.1:{port}"), ("accept", "application/json"), ("connection", "close")]
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
