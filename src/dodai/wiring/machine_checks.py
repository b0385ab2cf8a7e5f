"""What this machine can do, for `dodai doctor`."""

from __future__ import annotations

import importlib.util
import platform
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from dodai.operations.run.doctor import DoctorRow, RowState
from dodai.wiring.extras import EXTRAS, install_line

_TOOLS = {
    "git": (("git", "--version"), "order of migrations against the base branch, releases of tracked files"),
    "node": (("node", "--version"), "web tiers in TypeScript"),
    "npm": (("npm", "--version"), "web tiers in TypeScript"),
    "go": (("go", "version"), "the real goose, in the tests of dodai itself"),
    "chromium": (("chromium", "--version"), "end-to-end tests in a browser"),
}


def examine(state: Path | None, *, major: int = 0) -> list[DoctorRow]:
    """A row for each part: Python, extras, PostgreSQL, tools, the loopback interface; starts nothing that stays.

    `major` is the version of PostgreSQL that production runs, 0 for any: a warning when this machine has another only.
    """
    return [_python(), *_extras(), *_postgres(major), *_tools(), _ports(), *_state_folder(state)]


def _python() -> DoctorRow:
    return DoctorRow("python", "ok", f"{platform.python_version()} at {sys.executable}", "dodai itself")


def _extras() -> list[DoctorRow]:
    rows = []
    for extra, modules in EXTRAS.items():
        absent = [name for name in modules if not _installed(name)]
        seen = f"{', '.join(absent)} not installed" if absent else "installed"
        fix = install_line(extra) if absent else ""
        rows.append(DoctorRow(f"extra {extra}", "missing" if absent else "ok", seen, fix=fix))
    return rows


def _installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


def _postgres(major: int) -> list[DoctorRow]:
    from dodai.providers.postgres.binaries import search

    found, broken = search()
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
        rows.append(
            DoctorRow("postgresql", "missing", "no server binaries", "up, rehearse", "pip install 'dodai[postgres]'")
        )
    elif major not in (0, used.major):
        seen = f"this machine has {used.version}, `[database].major` says that production runs {major}"
        fix = f"install PostgreSQL {major}: what is tried on {used.major} is not proven for {major}"
        rows.append(DoctorRow("postgresql major", "warning", seen, "the same server here and there", fix))
    return rows


def _tools() -> list[DoctorRow]:
    rows = []
    for name, (argv, needed_for) in _TOOLS.items():
        if shutil.which(name) is None:
            rows.append(DoctorRow(name, "missing", "not on the PATH", needed_for, f"install {name}, if you need it"))
            continue
        try:
            answer = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
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
    folder = state if state.exists() else state.parent
    free = shutil.disk_usage(folder).free // 1024**2
    verdict: RowState = "ok" if free >= 500 else "warning"
    return [
        DoctorRow(
            "disk", verdict, f"{free} MiB free for {state}", fix="" if verdict == "ok" else "free at least 500 MiB"
        )
    ]
