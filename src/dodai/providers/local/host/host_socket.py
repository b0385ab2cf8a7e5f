"""The host's unix socket: one JSON line per call, one per answer, for the user who owns it and nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import os
import socket
import struct
import sys
import traceback
from pathlib import Path
from typing import Any, get_type_hints

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.providers.local.codes import DEADLINE_PASSED, HOST_GONE
from dodai.providers.local.host import wire
from dodai.providers.local.host.supervisor import Supervisor

CALLS = (
    "address",
    "run",
    "end",
    "start",
    "probe",
    "switch",
    "stop",
    "keep",
    "tail",
    "edge",
    "fault",
    "signal",
    "status",
    "down",
)
READS = ("probe", "tail", "status")


async def serve(supervisor: Supervisor, path: Path) -> asyncio.Server:
    """The listening server; a socket left by a dead host is replaced (the folder's lock says it is dead)."""
    calls: set[asyncio.Task[None]] = set()
    path.unlink(missing_ok=True)  # noqa: ASYNC240 - before anything is served
    before = os.umask(0o177)
    try:
        return await asyncio.start_unix_server(
            lambda reader, writer: _connected(supervisor, calls, reader, writer), str(path), limit=wire.LINE_BYTES
        )
    finally:
        os.umask(before)


async def _connected(
    supervisor: Supervisor,
    calls: set[asyncio.Task[None]],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    mine: list[asyncio.Task[None]] = []
    try:
        if not _same_user(writer):
            return
        with contextlib.suppress(OSError, ValueError, asyncio.CancelledError):  # cancelled: the host is ending
            while line := await reader.readline():
                call = json.loads(line)
                if not isinstance(call, dict):
                    break
                task = asyncio.get_running_loop().create_task(_answer(supervisor, call, writer))
                calls.add(task)
                task.add_done_callback(calls.discard)
                mine.append(task)
        for task in mine:
            if task.get_name() in READS:  # nobody listens any more; a change, though, is finished
                task.cancel()
    finally:
        writer.close()


async def _answer(supervisor: Supervisor, call: dict[str, Any], writer: asyncio.StreamWriter) -> None:
    task = asyncio.current_task()
    if task is not None:
        task.set_name(str(call.get("call")))
    try:
        answer = wire.line({"id": call.get("id"), "result": await _call(supervisor, call)})
    except DodaiError as error:
        answer = wire.line({"id": call.get("id"), "error": wire.error_data(error)})
    except Exception as error:  # noqa: BLE001 - the host outlives a call that it cannot serve, or whose answer it cannot send
        traceback.print_exc()
        answer = wire.line({"id": call.get("id"), "error": wire.error_data(_unexpected(error))})
    with contextlib.suppress(OSError):
        writer.write(answer)
        await writer.drain()


async def _call(supervisor: Supervisor, call: dict[str, Any]) -> Any:
    name = call.get("call", "")
    if name not in CALLS:
        raise DodaiError(HOST_GONE, f"the host knows no call `{name}`", "stop the host; it is of another version")
    if call.get("token") is not None and name not in READS:
        supervisor.under(int(call["token"]))
    method = getattr(Supervisor, name)
    hints = get_type_hints(method)
    names = [one for one in inspect.signature(method).parameters if one != "self"]
    arguments = {one: wire.read(hints[one], call["args"][one]) for one in names if one in call.get("args", {})}
    deadline_s = float(call.get("deadline_s", 60.0))
    try:
        async with asyncio.timeout(deadline_s):
            return await getattr(supervisor, name)(**arguments)
    except TimeoutError:
        raise DodaiError(
            DEADLINE_PASSED,
            f"`{name}` did not finish within {deadline_s:g} s",
            f"look at `{proposal.STATUS(env=supervisor.env)}`, then repeat: it is safe",
            "provider",
            reply="ambiguous",
        ) from None


def _unexpected(error: Exception) -> DodaiError:
    return DodaiError(
        HOST_GONE,
        f"the host could not serve the call: `{type(error).__name__}: {error}`",
        "look at host.log in the state folder",
        "dodai",
    )


def _same_user(writer: asyncio.StreamWriter) -> bool:
    """Whether the peer is this user, or root; where the kernel does not say, the folder's mode has to do."""
    if not sys.platform.startswith("linux"):
        return True
    data = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", data)[1] in (os.getuid(), 0)
