"""Facts of this machine for `dodai doctor`, looked at once, and the rows that follow from them alone."""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.extras import EXTRAS, install_line
from dodai.engine.file_refusals import permit
from dodai.operations.ports import DoctorRow, RowState
from dodai.operations.programs import find_programs
from dodai.operations.project import Project

_FREE_MIB = 500
_OLDEST = (3, 11)
_PATIENCE_S = 20.0
_VERSION = ("-I", "-c", "import sys; print(*sys.version_info[:3], sep='.')")
_NODE = "`{node}` and `{npm}` in commands"
_GIT = "order of migrations against the base branch, releases of tracked files"
_NEEDED_FOR = {"git": _GIT, "node": _NODE, "npm": _NODE}
_INSTALL = {"git": "install git", **dict.fromkeys(("node", "npm"), "pip install 'dodai[node]', or install node")}


@dataclass(frozen=True, slots=True)
class Needed:
    """What a project needs of the machine: the folder of its state, extras and tools, its interpreter.

    `major` is the version of PostgreSQL that production runs, 0 for any. Without a manifest nothing is needed but
    Python and the loopback interface.
    """

    state: Path | None = None
    python: str = ""
    extras: frozenset[str] = frozenset()
    tools: frozenset[str] = frozenset({"git"})
    major: int = 0


class ServerFound(Protocol):
    """An installation of PostgreSQL on this machine; `missing` are programs that a server should have beside it."""

    @property
    def bin_dir(self) -> Path: ...
    @property
    def version(self) -> str: ...
    @property
    def major(self) -> int: ...
    @property
    def source(self) -> str: ...
    @property
    def missing(self) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class ProgramAnswer:
    """What a program said when it was asked for its version; `problem` when it gave no answer, with `code` its end."""

    said: str = ""
    code: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True)
class StateSeen:
    """The folder of the state, or the nearest one above it that is there; `refused` is what lets this account write."""

    folder: Path
    is_folder: bool
    refused: str = ""
    free_mib: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSeen:
    """What this machine has: `absent` modules of each extra, `tools` that answered (None: not on the PATH).

    `servers` are the installations of PostgreSQL that work, best first, `broken` says why others do not. `port` is one
    of the loopback interface that could be bound. `interpreter` is that of the project where it is another one.
    """

    version: str
    executable: str
    interpreter: ProgramAnswer | None = None
    absent: Mapping[str, Sequence[str]]
    servers: Sequence[ServerFound] = ()
    broken: Sequence[DodaiError] = ()
    tools: Mapping[str, ProgramAnswer | None]
    port: int = 0
    port_problem: str = ""
    state: StateSeen | None = None


def needed(project: Project) -> Needed:
    """What the manifest of `project` asks for, and what its migrations are in."""
    policy, migrations, extras = project.policy, project.migrations, set[str]()
    if policy.database.used_by or migrations is not None:
        extras.add("postgres")
    if migrations is not None and migrations.format == "alembic":
        extras.add("alembic")
    words = {word for service in policy.services.values() for line in (service.command, service.build) for word in line}
    words |= {word for client in policy.clients.values() for line in (client.command, client.build) for word in line}
    node = any("{npm}" in word or "{node}" in word for word in words)
    if policy.clients or node:
        extras.add("remix")
    tools = frozenset({"git", "node", "npm"} if node else {"git"})
    return Needed(project.state, project.python, frozenset(extras), tools, policy.database.major)


# --- facts ---


def look(asked: Needed, servers: Sequence[ServerFound], broken: Sequence[DodaiError]) -> MachineSeen:
    """What of `asked` is on this machine, beside what was found of PostgreSQL; starts nothing that stays."""
    port, problem = _port()
    programs = find_programs(sys.executable)
    commands = {"git": ("git",), "node": (programs.node,), "npm": programs.npm}
    other = asked.python not in ("", sys.executable)
    return MachineSeen(
        version=platform.python_version(),
        executable=sys.executable,
        interpreter=_asked(asked.python, *_VERSION) if other else None,
        absent={extra: [name for name in modules if not _installed(name)] for extra, modules in EXTRAS.items()},
        servers=servers,
        broken=broken,
        tools={
            name: _asked(*words, "--version") if shutil.which(words[0]) else None
            for name, words in commands.items()
            if name in asked.tools
        },
        port=port,
        port_problem=problem,
        state=_state(asked.state) if asked.state else None,
    )


def _asked(*words: str) -> ProgramAnswer:
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_PATIENCE_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return ProgramAnswer(problem=str(error))
    return ProgramAnswer((done.stdout.strip() or done.stderr.strip()), done.returncode)


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _port() -> tuple[int, str]:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            return server.getsockname()[1], ""
    except OSError as error:
        return 0, str(error)


def _state(state: Path) -> StateSeen:
    folder = next(folder for folder in (state, *state.parents) if os.path.lexists(folder))
    if not folder.is_dir():
        return StateSeen(folder, is_folder=False)
    refused = "" if os.access(folder, os.W_OK | os.X_OK) else permit(folder)
    return StateSeen(folder, is_folder=True, refused=refused, free_mib=shutil.disk_usage(folder).free // 1024**2)


# --- what follows from them ---


def rows_of(asked: Needed, seen: MachineSeen) -> list[DoctorRow]:
    """A row for each part: Python, extras, PostgreSQL, tools, the loopback interface, the folder of the state.

    What is not there is `missing` where it is needed, else `absent`; another PostgreSQL than production's is a warning.
    """
    parts = (_python(asked, seen), _extras(asked, seen), _postgres(asked, seen), _tools(seen), _loopback(seen))
    return [*(row for part in parts for row in part), *_state_folder(asked, seen.state)]


def _python(asked: Needed, seen: MachineSeen) -> Iterator[DoctorRow]:
    yield DoctorRow("python", "ok", f"{seen.version} at {seen.executable}", "dodai itself")
    answer = seen.interpreter
    if answer is None:
        return
    said, lacking = f"{answer.said} at {asked.python}", ""
    if answer.problem:
        said, lacking = f"{asked.python} does not start: {answer.problem}", "make it, or correct `[project] python`"
    elif answer.code or not re.fullmatch(r"\d+\.\d+\.\d+", answer.said):
        last = answer.said.splitlines()[-1] if answer.said else "not a word"
        said = f"{asked.python} ends with {answer.code}: {last}"
        lacking = "make it anew, or correct `[project] python`"
    elif tuple(map(int, answer.said.split("."))) < _OLDEST:
        lacking = f"make it with Python {'.'.join(map(str, _OLDEST))} or newer"
    verdict: RowState = "missing" if lacking else "ok"
    yield DoctorRow("project python", verdict, said, "`{python}` in commands, the audit of the app", lacking)


def _extras(asked: Needed, seen: MachineSeen) -> Iterator[DoctorRow]:
    for extra, absent in seen.absent.items():
        said = f"{', '.join(absent)} not installed" if absent else "installed"
        wanted = extra in asked.extras
        verdict: RowState = "ok" if not absent else "missing" if wanted else "absent"
        needed_for = "this project" if absent and wanted else ""
        yield DoctorRow(f"extra {extra}", verdict, said, needed_for, install_line(extra) if absent else "")


def _postgres(asked: Needed, seen: MachineSeen) -> Iterator[DoctorRow]:
    major, found = asked.major, seen.servers
    used = next((server for server in found if major in (0, server.major)), found[0] if found else None)
    for server in found:
        lacks = f", lacks {', '.join(server.missing)}" if server.missing else ""
        yield DoctorRow(
            f"postgresql {server.version}",
            "warning" if server.missing else "ok",
            f"{server.source}: {server.bin_dir}{lacks}",
            "up, rehearse, migrate check" if server is used else "",
        )
    for error in seen.broken:
        yield DoctorRow("postgresql", "warning", error.message, fix=error.fix)
    if used is None:
        verdict: RowState = "missing" if "postgres" in asked.extras else "absent"
        yield DoctorRow("postgresql", verdict, "no server binaries", "up, rehearse", "pip install 'dodai[postgres]'")
    elif major not in (0, used.major):
        said = f"this machine has {used.version}, `[database].major` says that production runs {major}"
        fix = f"install PostgreSQL {major}: what is tried on {used.major} is not proven for {major}"
        yield DoctorRow("postgresql major", "warning", said, "the same server here and there", fix)


def _tools(seen: MachineSeen) -> Iterator[DoctorRow]:
    for name, answer in seen.tools.items():
        needed_for = _NEEDED_FOR[name]
        if answer is None:
            yield DoctorRow(
                name, "warning" if name == "git" else "missing", "not on the PATH", needed_for, _INSTALL[name]
            )
            continue
        first = answer.said.splitlines()[0][:80] if answer.said else "not a word"
        if answer.problem or answer.code or not answer.said:
            said = f"does not answer: {answer.problem}" if answer.problem else f"ends with {answer.code}: {first}"
            yield DoctorRow(name, "warning", said, needed_for, _INSTALL[name])
            continue
        yield DoctorRow(name, "ok", first, needed_for)


def _loopback(seen: MachineSeen) -> Iterator[DoctorRow]:
    if seen.port_problem:
        said = f"no port can be bound: {seen.port_problem}"
        yield DoctorRow("loopback", "missing", said, "every local environment")
    else:
        said = f"a free port was bound (127.0.0.1:{seen.port})"
        yield DoctorRow("loopback", "ok", said, "every local environment")


def _state_folder(asked: Needed, seen: StateSeen | None) -> Iterator[DoctorRow]:
    if seen is None:
        return
    if not seen.is_folder or seen.refused:
        cannot = "cannot be written by this account" if seen.is_folder else "is not a folder"
        fix = seen.refused or f"move `{seen.folder}` away"
        yield DoctorRow("state folder", "missing", f"`{seen.folder}` {cannot}", "every environment", fix)
        return
    fix = "" if seen.free_mib >= _FREE_MIB else f"free at least {_FREE_MIB} MiB"
    yield DoctorRow("disk", "warning" if fix else "ok", f"{seen.free_mib} MiB free for {asked.state}", fix=fix)
