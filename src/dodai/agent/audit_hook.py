"""A guard around code that is only to be listed: no connection to other machines, no new processes.

Not a sandbox: it stops an import from doing by accident what it does when the application starts.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import sys
from collections.abc import Callable
from typing import Any

_PROCESSES = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn"}
)
_SENDING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_NAMING = frozenset({"socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"})


refused: list[str] = []
"""What was refused: code that swallows the error fails later with another one, which this explains."""


def install() -> None:
    """Refuse, from now on and for good, connections and name look-ups beyond this machine, and new processes."""
    sys.addaudithook(refuse)
    with contextlib.suppress(ImportError):
        import _posixsubprocess

        # What `multiprocessing` starts its processes with; it raises no audit event.
        _posixsubprocess.fork_exec = _guarded(_posixsubprocess.fork_exec)


def _guarded(start: Callable[..., int]) -> Callable[..., int]:
    def fork_exec(*words: Any) -> int:
        if _looks_for_a_library():
            return start(*words)
        raise _refusal("this look does not let code start processes (`fork_exec`)")

    return fork_exec


def _looks_for_a_library() -> bool:
    """Whether `ctypes.util` is what asks: it starts only programs that say where a library is."""
    frame: Any = sys._getframe(1)  # noqa: SLF001 - an audit hook has no other way to know who asks
    while frame is not None:
        if frame.f_globals.get("__name__") == "ctypes.util":
            return True
        frame = frame.f_back
    return False


def _refusal(said: str) -> PermissionError:
    refused.append(said)
    return PermissionError(said)


def refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise `PermissionError` for an audit event that is not allowed here."""
    if event in _PROCESSES and not _looks_for_a_library():
        raise _refusal(f"this look does not let code start processes (`{event}`)")
    if event in _SENDING and not is_local(arguments[1]):
        raise _refusal(f"this look does not let code connect to `{arguments[1]}`")
    if event in _NAMING and not is_known(arguments[0]):
        raise _refusal(f"this look does not let code look up `{arguments[0]}`")


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


def is_known(name: Any) -> bool:
    """True for addresses and for names of this machine, which no server has to be asked for."""
    text = name.decode("latin-1") if isinstance(name, bytes) else str(name or "")
    if text in ("", "localhost", socket.gethostname()):
        return True
    with contextlib.suppress(ValueError):
        ipaddress.ip_address(text.partition("%")[0])
        return True
    return False
