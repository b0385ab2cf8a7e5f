"""A loopback port for a server that is about to start."""

from __future__ import annotations

import contextlib
import errno
import random
import socket
from collections.abc import Collection

SERVER_PORTS = range(20_000, 32_000)
"""Below the ranges of Linux and macOS for outgoing connections: no client takes a port of these a moment later."""


def loopback_port(taken: Collection[int] = ()) -> int:
    """One of `SERVER_PORTS` that nobody listens on now; somebody may take it before its user does. `OSError`: none."""
    choices = random.SystemRandom()
    for _ in range(200):
        port = choices.choice(SERVER_PORTS)
        if port in taken:
            continue
        with socket.socket() as sock, contextlib.suppress(OSError):
            sock.bind(("127.0.0.1", port))
            return port
    raise OSError(errno.EADDRINUSE, f"no free port between {SERVER_PORTS.start} and {SERVER_PORTS.stop}")
