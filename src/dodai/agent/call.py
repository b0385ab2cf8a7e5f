"""Runs the agent in the user's interpreter and waits for its answers, with a deadline and a scrubbed environment."""

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
from typing import Any, Self

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "TZ")
_TAIL_BYTES = 4000
_ANSWER_BYTES = 64 * 1024 * 1024
_LAST_WORDS_S = 0.5


class AgentError(Exception):
    """The agent gave no answer; the message is one sentence, `tail` the end of what the process printed."""

    def __init__(self, message: str, tail: str = "") -> None:
        super().__init__(message)
        self.tail = tail


def ask(
    request: Mapping[str, Any], *, python: str, environ: Mapping[str, str], timeout_s: float = 60.0
) -> dict[str, Any]:
    """The agent's answer to one `request`; raises `AgentError` when there is none in time."""
    with Agent(python, environ) as agent:
        return agent.ask(request, timeout_s=timeout_s)


class Agent:
    """The process in the interpreter `python`, for as many requests as the block asks.

    It gets `PATH`, `HOME`, the locale and `environ`, nothing else; it leads a group of its own, which is killed in the
    end whatever happens. Raises `AgentError` when it cannot be started.
    """

    def __init__(self, python: str, environ: Mapping[str, str]) -> None:
        main = Path(__file__).resolve().parent / "main.py"
        self._reader, self._writer = os.pipe()
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        try:
            self._process = subprocess.Popen(
                [python, "-I", "-X", "utf8", str(main)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**kept, **environ},
                pass_fds=(self._writer,),
                start_new_session=True,
            )
        except OSError as error:
            os.close(self._reader)
            raise AgentError(f"cannot start `{python}`: {error.strerror}") from None
        finally:
            os.close(self._writer)
        assert self._process.stderr is not None  # noqa: S101 - for the type checker: stderr is a pipe
        self._answers, self._noise = bytearray(), bytearray()
        self._selector = selectors.PollSelector()
        self._selector.register(self._reader, selectors.EVENT_READ, self._answers)
        self._selector.register(self._process.stderr.fileno(), selectors.EVENT_READ, self._noise)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, request: Mapping[str, Any], *, timeout_s: float = 60.0) -> dict[str, Any]:
        """Its answer to `request`; raises `AgentError` when there is none in time, and then no more can be asked."""
        self.tell(request)
        return self.answer(timeout_s=timeout_s)

    def tell(self, request: Mapping[str, Any]) -> None:
        """Give it a `request` whose `answer` is taken later, before that of the next one."""
        self._feed(json.dumps({**request, "fd": self._writer}).encode() + b"\n")

    def answer(self, *, timeout_s: float = 60.0) -> dict[str, Any]:
        """What it says to the oldest request that has no answer yet; raises as `ask` does."""
        answer = self._line(time.monotonic() + timeout_s, timeout_s)
        try:
            found = json.loads(answer)
        except ValueError:
            self.close()
            message = f"the process ended with {self._process.returncode} and without an answer"
            raise AgentError(message, self._tail()) from None
        if not isinstance(found, dict):
            raise AgentError("the answer is not an object", self._tail())
        return found

    def cancel(self) -> None:
        """Stop it, from any thread: whoever waits for its answer gets an `AgentError`."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def close(self) -> None:
        """End it; a second call does nothing."""
        if self._reader < 0:
            return
        os.close(self._reader)
        self._reader = -1
        self.cancel()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()  # type: ignore[union-attr] # both are pipes

    def _feed(self, data: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - for the type checker: stdin is a pipe
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(data)
            self._process.stdin.flush()

    def _line(self, deadline: float, timeout_s: float) -> bytes:
        """What it answers up to the end of a line; it and stderr are read at once so that neither pipe fills up."""
        while b"\n" not in self._answers:
            left = deadline - time.monotonic()
            ready = self._selector.select(left) if left > 0 else []
            if not ready:
                raise AgentError(f"no answer within {timeout_s:g} s", self._tail())
            for key, _ in ready:
                data = os.read(key.fd, 65536)
                if not data:
                    self._selector.unregister(key.fd)
                    if key.fd == self._reader:
                        self._hear_out()
                        return b""
                key.data.extend(data)
                if key.data is self._noise:
                    del self._noise[:-_TAIL_BYTES]
                elif len(self._answers) > _ANSWER_BYTES:
                    raise AgentError("the answer is larger than 64 MiB", self._tail())
        line, _, rest = bytes(self._answers).partition(b"\n")
        self._answers[:] = rest
        return line

    def _hear_out(self) -> None:
        """What is left on stderr once there will be no answer: both pipes end together, in either order."""
        end = time.monotonic() + _LAST_WORDS_S
        while self._selector.get_map() and self._selector.select(max(0.0, end - time.monotonic())):
            data = os.read(self._process.stderr.fileno(), 65536)  # type: ignore[union-attr] # a pipe
            if not data:
                return
            self._noise.extend(data)
            del self._noise[:-_TAIL_BYTES]
            if time.monotonic() > end:
                return

    def _tail(self) -> str:
        return bytes(self._noise[-_TAIL_BYTES:]).decode("utf-8", "replace").strip()
