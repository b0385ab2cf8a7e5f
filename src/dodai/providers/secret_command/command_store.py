"""The document of secrets as two programs read and write it: by standard output and input, never by arguments."""

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

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.operations.codes import STORE_FAILED
from dodai.operations.provider import Opening, Provider
from dodai.operations.secret_document import DocumentStore, document_of

DEADLINE_S = 20.0
POLL_S = 0.02
MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class CommandDocument:
    """`operations.secret_document.SecretDocument`: `reading` prints it as JSON, `writing` gets it on standard input.

    What the programs say on standard error is shown to nobody: it may hold a value.
    """

    reading: tuple[str, ...]
    writing: tuple[str, ...]
    folder: Path
    deadline_s: float = DEADLINE_S

    def read(self) -> Mapping[str, str]:
        said = self._run(self.reading, None)
        return document_of(said, f"`{self.reading[0]}`") if said.strip() else {}

    def write(self, values: Mapping[str, str], /) -> None:
        if not self.writing:
            fix = "set it with the tools of the store, or write `secrets_write` in the manifest"
            raise DodaiError(
                STORE_FAILED, "the manifest names no `secrets_write`: the store is only read", fix, exit_code=1
            )
        self._run(self.writing, json.dumps(dict(values), indent=1, sort_keys=True).encode())

    def _run(self, argv: tuple[str, ...], given: bytes | None) -> bytes:
        """What it printed; DOD563 when it is not there, fails, takes too long or prints without end."""
        try:
            process = subprocess.Popen(
                argv, cwd=self.folder, stdin=subprocess.DEVNULL if given is None else subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        except OSError as error:
            raise self._failed(
                argv, f"cannot be started: {error.strerror}", "install it, or correct its path"
            ) from None
        with process:
            try:
                said = _exchange(process, given or b"", self.deadline_s)
            finally:
                late = process.poll() is None
                if late:
                    _kill(process)
        code = process.returncode
        by_hand = f"run `{argv[0]}` by hand: are you signed in, and to the right account?"
        if len(said) > MAX_BYTES:
            raise self._failed(argv, f"printed more than {MAX_BYTES // 2**20} MiB", by_hand)
        if late:
            raise self._failed(argv, f"did not end within {self.deadline_s:g} s", by_hand)
        if code:
            raise self._failed(argv, f"ended with {code}", by_hand)
        return said

    def _failed(self, argv: tuple[str, ...], what: str, fix: str) -> DodaiError:
        return DodaiError(STORE_FAILED, f"the program of the secret store, `{argv[0]}`, {what}", fix, exit_code=1)


def _exchange(process: subprocess.Popen[bytes], given: bytes, deadline_s: float) -> bytes:
    """What it printed until it ended, for `deadline_s` and a byte more than `MAX_BYTES` at most.

    An agent that it started and left behind may hold its output open: that is not waited for.
    """
    said, left, end = bytearray(), memoryview(given), time.monotonic() + deadline_s
    with selectors.DefaultSelector() as ways:
        for stream, event in ((process.stdout, selectors.EVENT_READ), (process.stdin, selectors.EVENT_WRITE)):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                ways.register(stream, event)
        while len(said) <= MAX_BYTES and time.monotonic() < end:
            ended = process.poll() is not None  # asked before the look: what it printed is in the pipe by then
            ready = ways.select(0 if ended else POLL_S)
            for way, _ in ready:
                if way.fileobj is process.stdout:
                    chunk = os.read(way.fd, 65536)
                    said += chunk
                    over = not chunk
                else:
                    left = _send(way.fd, left)
                    over = not left
                if over:
                    ways.unregister(way.fileobj)
                    way.fileobj.close()  # type: ignore[union-attr]
            if ended and not ready:
                break
    return bytes(said)


def _send(descriptor: int, left: memoryview) -> memoryview:
    """What is still to be sent; nothing where nobody reads any more."""
    try:
        return left[os.write(descriptor, left) :]
    except BrokenPipeError:
        return left[:0]


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The program and whatever it has started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _store(opening: Opening) -> DocumentStore:
    config = opening.config
    document = CommandDocument(config.secrets_read, config.secrets_write, opening.project.root)
    return DocumentStore(document, config.name, opening.folder)


PROVIDER = Provider(secrets=_store, keys=("secrets_read", "secrets_write"), required=("secrets_read",))
