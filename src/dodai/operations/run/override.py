"""Gates passed outside of a deploy, and overrides: what was let through, by whom and why, is on record.

What was done while the control database was away is kept beside the state, and recorded by the next command.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.engine.actor import actor
from dodai.engine.execute import execute
from dodai.engine.journal import PlanEntry
from dodai.engine.private_file import read_json, write_private
from dodai.migrations.ports import MigrationTarget
from dodai.migrations.run.production import require_evidence
from dodai.operations import codes
from dodai.operations.admission import Change, admit, admit_resume
from dodai.operations.codes import STILL_RUNS
from dodai.operations.environment import Environment, host_of
from dodai.operations.evidence import Source
from dodai.operations.gates import Gates, Kept
from dodai.operations.run.audit_log import AuditLog, SourceEvidence, stated
from dodai.operations.run.build import publish
from dodai.operations.run.down import still_runs
from dodai.operations.run.gate_sources import gates_in_service, keep, standing


async def state(
    here: Environment, kind: str, words: Mapping[str, Any], *, release: str = "", take_over: bool = False
) -> str:
    """The plan id under which `words` were written down, with the lock held; raises what kept it from being written."""
    request = stated(kind, here.name, actor(), words, release=release)
    lease = here.lease(request, claim="take over" if take_over else "none")
    with here.journal() as journal:
        outcome = await execute(AuditLog(here.journal).statement(request), journal, lease)
    if error := outcome.error():
        raise error
    return outcome.plan_id


async def pass_gates(here: Environment, change: Change, command: str, reason: str = "") -> Gates:
    """What a plan of `change` has to pass yet; a change that is refused raises, and a reason is on record on return."""
    gates = admit(change, await standing(here, change), reason)
    if reason:
        await state(here, "break-glass", {"command": command, "reason": reason})
    return gates


def pass_migration(here: Environment, target: MigrationTarget, command: str, reason: str) -> None:
    """Let `migrate up` through the gates of `here`, or refuse it (exit 1).

    Evidence as for a deploy, no freeze (DOD360), unless `reason` says why it cannot wait. What needs approvals is a
    deploy (DOD369): only a plan can be signed.
    """
    env = here.name
    gates = admit("migrate up", asyncio.run(standing(here, "migrate up")), reason)
    if gates.approvals:
        said = f"`{env}` asks for {gates.approvals} approvals, and `{command}` is no plan that could be signed"
        raise DodaiError(codes.APPROVAL_NEEDED, said, f"`{proposal.DEPLOY(env=env)}` migrates as well", exit_code=1)
    asyncio.run(pass_gates(here, "migrate up", command, reason))
    if gates.protected:
        store = SourceEvidence(AuditLog(here.journal), lambda: _working(here), gates, here.signatures)
        require_evidence(target, env=env, evidence=store)


def is_protected(here: Environment) -> bool:
    """By the working tree, or by the release in service."""
    return here.config.protected or asyncio.run(gates_in_service(here)).protected


async def pass_resume(here: Environment, entry: PlanEntry, *, undo: bool) -> None:
    """Let an interrupted plan go on or back, or refuse it (exit 1); what is taken back needs no gate."""
    await here.refuse_elsewhere()
    if undo:
        admit("undo", await standing(here, "undo"))
        return
    passed = {one.plan_id for one in await AuditLog(here.journal).admitted()}
    admit_resume(entry, await standing(here, "resume"), admitted=entry.plan_id in passed)


def settle(here: Environment, which: str, reason: str) -> str:
    """What was done after a person chose between two journals; where protected the reason is on record afterwards.

    What the environment asks for is remembered first, so that choosing an emptied journal opens nothing.
    """
    there = asyncio.run(standing(here, "trust"))
    admit("trust", there, reason)
    if there.gates != Gates():
        keep(here.folder, Kept(f"trust-{which}-{there.now:%Y%m%dT%H%M%S}", there.gates))
    done = asyncio.run(here.control.trust(which))
    if reason:
        words = {"command": f"{proposal.RESUME(env=here.name)} --trust {which}", "reason": reason}
        asyncio.run(state(here, "break-glass", words))
    return done


async def take_over(here: Environment, reason: str) -> str:
    """What was done so that the environment lives here from now on; the reason is on record.

    A place on this machine where it still runs is not taken over, it is stopped there first: DOD383 (exit 1).
    """
    admit("take over", await standing(here, "take over"), reason)
    there = await here.elsewhere()
    if there is None:
        return "it lives here already, or nowhere yet: nothing was taken over"
    if there.is_on_this_machine:
        host = here.kept_in(Path(there.folder)).host
        runs = still_runs(await host.status()) if host else ""
        if runs:
            said = f"`{here.name}` still runs in {there}: {runs}"
            raise DodaiError(codes.RUNS_ELSEWHERE, said, f"`{proposal.DOWN(env=here.name)}` there first", exit_code=1)
    words = {
        "command": f"{proposal.RESUME(env=here.name)} --take-over",
        "reason": f"{reason} (it lived in {there})",
    }
    await state(here, "break-glass", words, take_over=True)
    return f"it lives here from now on; it lived in {there}" + (
        "" if there.is_on_this_machine else ", where nobody looked whether it still runs"
    )


def _working(here: Environment) -> Source:
    """The working tree as a release of it would be."""
    release = publish(here)
    return Source(here.artifacts.proven(release), here.project.manifest.hash)


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
