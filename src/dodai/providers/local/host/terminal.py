"""One command run as a service is, on the terminal of whoever asked for it; it ends with the process that runs it."""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from dodai.agent import lifeline
from dodai.providers.local.host.hidden import Mask

PIECE_BYTES = 65536
GRACE_S = 5.0


def run_on_terminal(
    command: Sequence[str], cwd: Path, environment: Mapping[str, str], hidden: set[str], bounds: Sequence[str] = ()
) -> int:
    """The exit code of `command` (128 + N for signal N, 127 when it cannot be started).

    It reads our standard input and writes to ours, without the values of `hidden`. Ctrl-C goes to it; when this process
    dies, it is stopped. `bounds` are words for the lifeline: the user to become, and limits.
    """
    ours, theirs = os.pipe()
    words = ["--fd", str(ours), "--stop", "INT", "--then", "TERM", "--grace", str(GRACE_S), *bounds]
    shim = subprocess.Popen(
        [sys.executable, "-I", "-S", lifeline.__file__, *words, "--", *command],
        cwd=cwd,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=(ours,),
    )
    os.close(ours)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            _pass_on(shim, hidden)
            return shim.wait()
        os.close(theirs)  # Ctrl-C: it hears of it, and what it says yet is passed on
        theirs = -1
        _pass_on(shim, hidden)
        return shim.wait()
    finally:
        if theirs >= 0:
            os.close(theirs)
        for pipe in (shim.stdout, shim.stderr):
            if pipe is not None:
                pipe.close()


def _pass_on(shim: subprocess.Popen[bytes], hidden: set[str]) -> None:
    """Until both of its outputs have ended. Whoever does not read ours does not end the command."""
    with selectors.DefaultSelector() as selector:
        for pipe, to in ((shim.stdout, 1), (shim.stderr, 2)):
            if pipe is not None:
                selector.register(pipe.fileno(), selectors.EVENT_READ, (to, Mask(hidden)))
        while selector.get_map():
            for key, _ in selector.select():
                to, mask = key.data
                data = os.read(key.fd, PIECE_BYTES)
                if not data:
                    selector.unregister(key.fd)
                _say(to, mask.feed(data) if data else mask.rest())


def _say(descriptor: int, data: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        while data:
            data = data[os.write(descriptor, data) :]
