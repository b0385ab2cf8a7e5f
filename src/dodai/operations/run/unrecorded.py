"""What was done while the control database was away: kept beside the state, and recorded by the next command."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dodai.core.errors import DodaiError
from dodai.engine.actor import actor
from dodai.engine.private_file import read_json, write_private
from dodai.operations.codes import STILL_RUNS
from dodai.operations.environment import Environment, host_of
from dodai.operations.run.down import still_runs
from dodai.operations.run.override import state

NAME = "unrecorded.json"


async def stop_unrecorded(here: Environment, command: str, reason: str) -> None:
    """Stop the environment without its lock and its journal; what was done, by whom and why is kept first.

    Only what runs at this place can be stopped. DOD384 (exit 4) when something of it still runs afterwards.
    """
    said = {"command": command, "reason": reason, "actor": actor(), "at": datetime.now(UTC).isoformat("T", "seconds")}
    write_private(here.folder / NAME, json.dumps([*unrecorded(here.folder), said]).encode())
    host = host_of(here)
    await host.down()
    if left := still_runs(await host.status()):
        fix = STILL_RUNS.fix.en.replace("ENV", here.name)
        raise DodaiError(STILL_RUNS, f"`{here.name}` was told to stop: {left}", fix, "provider", exit_code=4)


async def record_what_was_not(here: Environment) -> None:
    """Write down in the journal what could not be written when it happened; nothing to do mostly."""
    for said in unrecorded(here.folder):
        reason = f"{said['reason']} (by {said['actor']} at {said['at']}, while the control database was away)"
        await state(here, "break-glass", {"command": said["command"], "reason": reason})
        write_private(here.folder / NAME, json.dumps(unrecorded(here.folder)[1:]).encode())
    (here.folder / NAME).unlink(missing_ok=True)


def unrecorded(folder: Path) -> list[Mapping[str, Any]]:
    """What waits to be recorded."""
    return read_json(folder / NAME, list, "move it away: what was done meanwhile is on record nowhere else") or []
