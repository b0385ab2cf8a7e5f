"""Programs of node in the folder of a web tier: a scrubbed environment, a deadline, nothing left running."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dodai.agent.call import PASSED_ON
from dodai.core.dataclass import dataclass
from dodai.core.fact import Unknown

_CLOSED_BY = ((22, 13, "--permission"), (20, 0, "--experimental-permission"))
"""From which version a node takes which flag for a process that may not write or start anything."""
_INSTALL = "`pip install 'dodai[node]'` brings node"


@dataclass(frozen=True, slots=True)
class NodeProgram:
    """`program` in the folder of one tier; `environ` is all that its processes are told besides PATH and the like."""

    program: str
    folder: Path
    environ: Mapping[str, str]
    timeout_s: float = 60.0

    def run(self, argv: Sequence[str], given: str = "") -> str | Unknown:
        """What `node argv` prints on standard output; `Unknown` with the end of what it said when it fails."""
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        path = os.pathsep.join(filter(None, (str(Path(self.program).parent), kept.get("PATH", ""))))
        try:
            process = subprocess.Popen(
                [self.program, *argv],
                cwd=self.folder,
                env={**kept, "PATH": path, "NO_COLOR": "1", "NODE_ENV": "production", **self.environ},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            return Unknown(f"`{self.program}` cannot be started: {error.strerror}", _INSTALL)
        try:
            told, said = process.communicate(given, timeout=self.timeout_s)
        except subprocess.TimeoutExpired:
            return Unknown(f"no answer within {self.timeout_s:g} s", "raise `[csrf] audit_timeout`")
        finally:
            _end(process)
        return told if process.returncode == 0 else Unknown(_last_words(said) or f"it ended with {process.returncode}")

    def closed_flag(self) -> str | Unknown:
        """The flag with which this node lets a program write and start nothing."""
        told = self.run(["--version"])
        if isinstance(told, Unknown):
            return told
        major, minor = (int(part) for part in [*re.findall(r"\d+", told), "0", "0"][:2])
        flag = next((flag for *since, flag in _CLOSED_BY if [major, minor] >= since), "")
        said = f"node {told.strip()} cannot run a build so that it can change nothing; 20 and newer can"
        return flag or Unknown(said, _INSTALL)

    def tool(self, package: str, name: str) -> Path | None:
        """The program `name` of an installed package, here or in a folder above (workspaces)."""
        for place in (self.folder, *self.folder.parents):
            home = place / "node_modules" / package
            try:
                commands = json.loads((home / "package.json").read_text("utf-8"))["bin"]
                return home / str(commands[name])
            except (OSError, ValueError, KeyError, TypeError):
                continue
        return None


def _end(process: subprocess.Popen[str]) -> None:
    """Kill the group: vite and esbuild have processes of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def _last_words(said: str) -> str:
    """The line of an error in what node printed, else its last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    named = [line for line in lines if re.match(r"(?:\[?\w*Error\b|✘|error\b)", line)]
    return ((named or lines or [""])[-1 if not named else 0])[:200]
