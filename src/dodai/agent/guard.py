"""A guard around code that is only to be listed: no connection to other machines, no new processes.

Not a sandbox: it stops an import from doing by accident what it does when the application starts.
"""

from __future__ import annotations

import ipaddress
import sys
from typing import Any

_PROCESSES = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn"}
)


def install() -> None:
    """Refuse, from now on and for good, connections beyond this machine and new processes."""
    sys.addaudithook(refuse)


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise `PermissionError` for an audit event that is not allowed here."""
    if event in _PROCESSES:
        raise PermissionError(f"the route audit does not let code start processes (`{event}`)")
    if event in ("socket.connect", "socket.sendto") and not is_local(arguments[1]):
        raise PermissionError(f"the route audit does not let code connect to `{arguments[1]}`")


def is_local(address: Any) -> bool:
    """True for unix sockets and addresses of this machine."""
    if not isinstance(address, tuple) or not address:
        return True
    host = str(address[0]).partition("%")[0]
    if host in ("", "localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
