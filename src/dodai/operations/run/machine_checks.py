"""What this machine can do, for `dodai doctor`."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import socket
import subprocess
import sys
from collections.abc import Sequence
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
_GIT = "order of migrations against the base branch, releases of tracked files"
_NODE = "`{node}` and `{npm}` in commands"
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


def examine(asked: Needed, servers: Sequence[ServerFound], broken: Sequence[DodaiError]) -> list[DoctorRow]:
    """A row for each part: Python, extras, PostgreSQL, tools, the loopback interface; starts nothing that stays.

    `servers` are the installations of PostgreSQL that work, best first, `broken` says why others do not.
    What is not there is `missing` where it is needed, else `absent`; another PostgreSQL than production's is a warning.
    """
    rows = [*_python(asked), *_extras(asked), *_postgres(asked, servers, broken), *_tools(asked), _ports()]
    return [*rows, *_state_folder(asked.state)]


def _python(asked: Needed) -> list[DoctorRow]:
    own = DoctorRow("python", "ok", f"{platform.python_version()} at {sys.executable}", "dodai itself")
    if asked.python in ("", sys.executable):
        return [own]
    version, lacking = "import sys; print(*sys.version_info[:3], sep='.')", ""
    try:
        argv = [asked.python, "-I", "-c", version]
        answer = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        seen, lacking = f"{asked.python} does not start: {error}", "make it, or correct `[project] python`"
    else:
        seen, said = f"{answer.stdout.strip()} at {asked.python}", (answer.stdout + answer.stderr).strip()
        if answer.returncode:
            seen = f"{asked.python} ends with {answer.returncode}: {said.splitlines()[-1] if said else 'not a word'}"
            lacking = "make it anew, or correct `[project] python`"
        elif tuple(int(part) for part in answer.stdout.split(".")) < _OLDEST:
            lacking = f"make it with Python {'.'.join(map(str, _OLDEST))} or newer"
    verdict: RowState = "missing" if lacking else "ok"
    return [own, DoctorRow("project python", verdict, seen, "`{python}` in commands, the audit of the app", lacking)]


def _extras(asked: Needed) -> list[DoctorRow]:
    rows = []
    for extra, modules in EXTRAS.items():
        absent = [name for name in modules if not _installed(name)]
        seen = f"{', '.join(absent)} not installed" if absent else "installed"
        wanted = extra in asked.extras
        verdict: RowState = "ok" if not absent else "missing" if wanted else "absent"
        needed_for = "this project" if absent and wanted else ""
        rows.append(DoctorRow(f"extra {extra}", verdict, seen, needed_for, install_line(extra) if absent else ""))
    return rows


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _postgres(asked: Needed, found: Sequence[ServerFound], broken: Sequence[DodaiError]) -> list[DoctorRow]:
    major = asked.major
    used = next((binaries for binaries in found if major in (0, binaries.major)), found[0] if found else None)
    rows = [
        DoctorRow(
            f"postgresql {binaries.version}",
            "warning" if binaries.missing else "ok",
            f"{binaries.source}: {binaries.bin_dir}"
            + (f", lacks {', '.join(binaries.missing)}" if binaries.missing else ""),
            "up, rehearse, migrate check" if binaries is used else "",
        )
        for binaries in found
    ]
    rows += [DoctorRow("postgresql", "warning", error.message, fix=error.fix) for error in broken]
    if used is None:
        verdict: RowState = "missing" if "postgres" in asked.extras else "absent"
        rows.append(
            DoctorRow("postgresql", verdict, "no server binaries", "up, rehearse", "pip install 'dodai[postgres]'")
        )
    elif major not in (0, used.major):
        seen = f"this machine has {used.version}, `[database].major` says that production runs {major}"
        fix = f"install PostgreSQL {major}: what is tried on {used.major} is not proven for {major}"
        rows.append(DoctorRow("postgresql major", "warning", seen, "the same server here and there", fix))
    return rows


def _tools(asked: Needed) -> list[DoctorRow]:
    rows = []
    programs = find_programs(sys.executable)
    known = {"git": (("git",), _GIT), "node": ((programs.node,), _NODE), "npm": (programs.npm, _NODE)}
    for name, (argv, needed_for) in known.items():
        if name not in asked.tools:
            continue
        if shutil.which(argv[0]) is None:
            verdict: RowState = "warning" if name == "git" else "missing"
            rows.append(DoctorRow(name, verdict, "not on the PATH", needed_for, _INSTALL[name]))
            continue
        try:
            answer = subprocess.run([*argv, "--version"], capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            rows.append(DoctorRow(name, "warning", f"does not answer: {error}", needed_for))
            continue
        rows.append(DoctorRow(name, "ok", (answer.stdout or answer.stderr).strip().splitlines()[0][:80], needed_for))
    return rows


def _ports() -> DoctorRow:
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
    except OSError as error:
        return DoctorRow("loopback", "missing", f"no port can be bound: {error}", "every local environment")
    return DoctorRow("loopback", "ok", f"a free port was bound (127.0.0.1:{port})", "every local environment")


def _state_folder(state: Path | None) -> list[DoctorRow]:
    if state is None:
        return []
    folder = next(folder for folder in (state, *state.parents) if os.path.lexists(folder))
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        seen = f"`{folder}` cannot be written by this account" if folder.is_dir() else f"`{folder}` is not a folder"
        fix = permit(folder) if folder.is_dir() else f"move `{folder}` away"
        return [DoctorRow("state folder", "missing", seen, "every environment", fix)]
    free = shutil.disk_usage(folder).free // 1024**2
    fix = "" if free >= _FREE_MIB else f"free at least {_FREE_MIB} MiB"
    return [DoctorRow("disk", "warning" if fix else "ok", f"{free} MiB free for {state}", fix=fix)]
