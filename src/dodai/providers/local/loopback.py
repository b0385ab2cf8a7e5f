"""Loopback ports: taking one, choosing a free one, naming who holds one."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Collection
from pathlib import Path

from dodai.core.errors import DodaiError
from dodai.engine.loopback_port import SERVER_PORTS, loopback_port
from dodai.providers.local.codes import PORT_IN_USE


def listening_socket(port: int, name: str, *, backlog: int = 512) -> socket.socket:
    """A socket that listens on 127.0.0.1:`port` (0: one of `SERVER_PORTS`); DOD395 with the holder when it is taken."""
    # The protocol is named because asyncio sets TCP_NODELAY only on sockets that name it: without, 40 ms per answer.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port)) if port else _bind_free(sock)
        sock.listen(backlog)
        sock.setblocking(False)
    except OSError as error:
        sock.close()
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):
            raise
        raise port_in_use(port, name, error.errno == errno.EACCES) from error
    return sock


def _bind_free(sock: socket.socket) -> None:
    """Bind to a free port, whoever else is looking for one at the same time."""
    for attempt in range(20):
        try:
            sock.bind(("127.0.0.1", free_port()))
        except OSError:
            if attempt == 19:
                raise
        else:
            return


def port_in_use(port: int, name: str, forbidden: bool = False) -> DodaiError:
    who = "needs more rights than this user has" if forbidden else f"is held by {holder(port) or 'another process'}"
    return DodaiError(
        PORT_IN_USE,
        f"port `{port}` for `{name}` {who}",
        f"stop that process, or choose another port for `{name}` in the manifest",
    )


def free_port(taken: Collection[int] = ()) -> int:
    """A loopback port that nobody listens on now; DOD395 when none is found."""
    try:
        return loopback_port(taken)
    except OSError as error:
        said = f"no free port between `{SERVER_PORTS.start}` and `{SERVER_PORTS.stop}`"
        raise DodaiError(PORT_IN_USE, said, "stop what fills this range of ports") from error


def holder(port: int) -> str:
    """Who listens on the port, as ``pid 123 (`python app.py`)``; "" where that cannot be seen."""
    inode = _listening_inode(port)
    if not inode:
        return ""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _owns(process, f"socket:[{inode}]"):
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            return f"pid {process.name} (`{command[:80]}`)"
    return ""


def _listening_inode(port: int) -> str:
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                cells = line.split()
                if cells[3] == "0A" and int(cells[1].rpartition(":")[2], 16) == port:
                    return cells[9]
    return ""


def _owns(process: Path, link: str) -> bool:
    with contextlib.suppress(OSError):
        return any(str(entry.readlink()) == link for entry in (process / "fd").iterdir())
    return False
