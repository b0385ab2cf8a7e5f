"""Runs the agent in the user's interpreter and waits for its answer, with a deadline and a scrubbed environment."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TZ")
_TAIL_BYTES = 4000
_ANSWER_BYTES = 64 * 1024 * 1024


class AgentError(Exception):
    """The agent gave no answer; the message is one sentence, `tail` the end of what the process printed."""

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.tail = tail


def ask(
    request: Mapping[str, Any], *, python: str, environ: Mapping[str, str], timeout_s: float = 60.0
) -> dict[str, Any]:
    """The agent's answer to `request`; raises `AgentError` when there is none in time.

    The process gets `PATH`, `HOME`, the locale and `environ`, nothing else; it leads a group of its own, which is
    killed in the end whatever happens.
    """
    main = Path(__file__).resolve().parent / "main.py"
    reader, writer = os.pipe()
    kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    try:
        process = subprocess.Popen(
            [python, "-I", "-X", "utf8", str(main)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**kept, **environ},
            pass_fds=(writer,),
            start_new_session=True,
        )
    except OSError as error:
        os.close(reader)
        os.close(writer)
        raise AgentError(f"cannot start `{python}`: {error.strerror}") from None
    os.close(writer)
    try:
        _feed(process, json.dumps({**request, "fd": writer}).encode())
        answer, tail = _collect(process, reader, timeout_s)
    finally:
        os.close(reader)
        _end(process)
    try:
        found = json.loads(answer)
    except ValueError:
        raise AgentError(f"the process ended with {process.returncode} and without an answer", tail) from None
    if not isinstance(found, dict):
        raise AgentError("the answer is not an object", tail)
    return found


def _feed(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None  # noqa: S101 - for the type checker: stdin is a pipe
    try:
        process.stdin.write(data)
        process.stdin.close()
    except BrokenPipeError:
        pass


def _collect(process: subprocess.Popen[bytes], reader: int, timeout_s: float) -> tuple[bytes, str]:
    """(answer, end of stderr); both are read at once so that neither pipe fills up."""
    assert process.stderr is not None  # noqa: S101 - for the type checker: stderr is a pipe
    deadline = time.monotonic() + timeout_s
    answer, noise = bytearray(), bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ, answer)
        selector.register(process.stderr.fileno(), selectors.EVENT_READ, noise)
        while any(key.data is answer for key in selector.get_map().values()):
            left = deadline - time.monotonic()
            ready = selector.select(left) if left > 0 else []
            if not ready:
                raise AgentError(f"no answer within {timeout_s:g} s", _tail(noise))
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                key.data.extend(data)
                if key.data is noise:
                    del noise[:-_TAIL_BYTES]
                elif len(answer) > _ANSWER_BYTES:
                    raise AgentError("the answer is larger than 64 MiB", _tail(noise))
    return bytes(answer), _tail(noise)


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stderr is not None:
        process.stderr.close()


def _tail(noise: bytearray) -> str:
    return bytes(noise[-_TAIL_BYTES:]).decode("utf-8", "replace").strip()
