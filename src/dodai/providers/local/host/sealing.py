"""Full segments of lines get their sidecar soon after they are closed, in a process of its own: it takes a while."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from dodai.observability.segment.seal import CLOSED_SUFFIX, OPEN_SUFFIX, SIDECAR_SUFFIX
from dodai.providers.local.host.child import Child, ChildCommand, log_path
from dodai.providers.local.host.log_file import LogFile

EVERY_S = 2.0
LONGEST_S = 60.0
_SEAL = "import sys; from dodai.observability.segment import seal_all; seal_all(sys.argv[1])"


async def keep_sealed(folder: Path, environment: dict[str, str], every_s: float = EVERY_S) -> None:
    """Look every `every_s` seconds, until cancelled. What is missed here is sealed by whoever reads it first."""
    lines = folder / "lines"
    while True:
        await asyncio.sleep(every_s)
        if unsealed(lines):
            await _seal(folder, lines, environment)


def unsealed(lines: Path) -> list[str]:
    """Names of closed segments without a sidecar."""
    names = {path.name for path in lines.glob(f"*{CLOSED_SUFFIX}*")}
    closed = (name for name in names if name.endswith(CLOSED_SUFFIX) and not name.endswith(OPEN_SUFFIX))
    return sorted(name for name in closed if name + SIDECAR_SUFFIX not in names)


async def _seal(folder: Path, lines: Path, environment: dict[str, str]) -> None:
    log = LogFile(log_path(folder, "sealing"))
    command = ChildCommand(argv=(sys.executable, "-P", "-c", _SEAL, str(lines)), cwd=str(folder), env=environment)
    child = Child(command, log)
    try:
        await child.start()
        await asyncio.wait([child.exited], timeout=LONGEST_S)
    finally:
        await child.stop(0.0)
        log.close()
