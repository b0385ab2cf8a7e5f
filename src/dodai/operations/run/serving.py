"""What serves, as it is seen: during a plan, and once it has ended."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.engine.plan import EndState, Meant, PlanRequest
from dodai.operations import codes
from dodai.operations.ports import Compute, ComputeStatus
from dodai.operations.run.preflight import previous_releases

POLL_S = 0.2


async def running(compute: Compute) -> ComputeStatus:
    """What runs now; DOD380 when nothing answers: what was last known is not what is."""
    status = await compute.status()
    if not status.running:
        why = ", it is coming back" if status.returning else f": {status.unknown}" if status.unknown else ""
        said = f"nothing of `{status.env}` answers{why}"
        fix = f"look at `{proposal.STATUS(env=status.env)}`"
        raise DodaiError(codes.NOTHING_ANSWERS, said, fix, "provider", reply="unavailable")
    return status


async def stands(request: PlanRequest, services: tuple[str, ...], compute: Compute, meant: Meant) -> EndState:
    """How the environment stands after a plan: every service serves the release of the plan, or that of before it.

    What comes back by itself is waited for, as long as the engine lets a look take.
    """
    before = previous_releases(request.arguments)
    wanted = dict.fromkeys(services, request.release) if meant == "after" else before
    while True:
        status = await compute.status()
        found = {name: _live(status, name) for name in services}
        wrong = {name for name, release in wanted.items() if found.get(name, "") != release}
        if not wrong or not status.returning:
            break
        await asyncio.sleep(POLL_S)
    return EndState(not wrong, in_words(found), proposal.RESTART(env=request.env) if wrong else "")


def in_words(found: Mapping[str, str]) -> str:
    """Which service serves which release; services with the same one stand together."""
    if not any(found.values()):
        return "nothing serves"
    groups: dict[str, list[str]] = {}
    for name, release in found.items():
        groups.setdefault(release, []).append(name)
    said = [f"{', '.join(names)} serves {release}" for release, names in groups.items() if release]
    return "; ".join([*said, *(f"{name} does not serve" for name in groups.get("", []))])


def _live(status: ComputeStatus, name: str) -> str:
    """The release that answers for `name`: one whose process runs, not one that traffic is only sent to."""
    service = status.service(name) if status.running else None
    live = next((one for one in service.instances if one.live), None) if service else None
    return live.release if live and live.state == "running" else ""
