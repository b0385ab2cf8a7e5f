"""SIGKILL to a part of an environment that is found by what it was started with; nothing of dodai is loaded for it."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

WORDS = {"host": "dodai.providers.local.host", "launcher": "launcher.py", "service": "web.py"}


def kill(what: str, folder: Path) -> list[int]:
    """Who got it; a Host that is to die with its launcher starts no other one."""
    victims = {name: pids(folder, name) for name in what.split(" and ")}
    for pid in victims.get("host", ()) if len(victims) > 1 else ():
        os.kill(pid, signal.SIGSTOP)
    found = [pid for name in sorted(victims, reverse=True) for pid in victims[name]]
    for pid in found:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return found


def pids(folder: Path, part: str) -> list[int]:
    """By what they were started with, so that the Host need not be asked; the database by its own word."""
    if part == "database":
        return _database(folder / "postgres")
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode(errors="replace").split("\0")
            places = [f"{word}/" for word in (*words, str((entry / "cwd").readlink()))]
            here = any(f"{folder}/" in place for place in places)
            shim = any(word.endswith("lifeline.py") for word in words)
            if here and not shim and any(f"/{word}".endswith(f"/{WORDS[part]}") for word in words):
                found.append(int(entry.name))
    return found


def _database(home: Path) -> list[int]:
    """Its data may lie elsewhere, where its user can enter."""
    with contextlib.suppress(OSError):
        home = Path((home / "elsewhere").read_text().strip())
    with contextlib.suppress(OSError, ValueError):
        pid = int((home / "data" / "postmaster.pid").read_text().split()[0])
        os.kill(pid, 0)
        return [pid]
    return []
