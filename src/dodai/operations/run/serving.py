"""What serves, as it is seen: during a plan, and once it has ended; how long it takes to serve another release."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError, Reply
from dodai.engine.plan import EndState, Meant, Observed, PlanRequest, StepContext
from dodai.operations import codes
from dodai.operations.policy import Service
from dodai.operations.ports import Compute, ComputeStatus, Instance, StagedCompute
from dodai.operations.run.preflight import previous_releases

POLL_S = 0.2
READY_S = 20.0
"""What is not ready is waited for no longer than this, whatever the manifest allows; a look may take 30 s in all."""


async def running(compute: Compute) -> ComputeStatus:
    """What runs now; DOD380 when nothing answers: what was last known is not what is.

    What comes back, or may be there, is worth another look; what ended and is not coming back is not.
    """
    status = await compute.status()
    if not status.running:
        why = ", it is coming back" if status.returning else f": {status.unknown}" if status.unknown else ""
        said = f"nothing of `{status.env}` answers{why}"
        fix = f"look at `{proposal.STATUS(env=status.env)}`"
        reply: Reply = "unavailable" if status.returning or status.unknown else "rejected"
        raise DodaiError(codes.NOTHING_ANSWERS, said, fix, "provider", reply=reply)
    return status


@dataclass(frozen=True, slots=True)
class Seen:
    """One service: the release that people reach, `""` for none, and why that does not serve, `""` when it does."""

    release: str = ""
    trouble: str = ""

    @property
    def serves(self) -> str:
        """The release that answers that it is ready; `""` for none."""
        return "" if self.trouble else self.release


async def stands(
    request: PlanRequest, services: Mapping[str, float], compute: Compute, gone: Sequence[str], meant: Meant
) -> EndState:
    """How the environment stands after a plan: every service serves the release of the plan, or that of before it.

    `gone` are services of before that the release of the plan has no more.

    A process that runs does not serve yet: it is asked. What comes back by itself is waited for, as long as the engine
    lets a look take; what is the right release and not ready, for the seconds that `services` has for it.
    """
    before = previous_releases(request.arguments)
    wanted = dict.fromkeys(services, request.release) | dict.fromkeys(gone, "") if meant == "after" else before
    began = asyncio.get_running_loop().time()
    while True:
        status = await compute.status()
        found = {name: await _seen(compute, status, name) for name in (*services, *gone)}
        wrong = {name for name, release in wanted.items() if found.get(name, Seen()).serves != release}
        unready = [name for name in wrong if wanted[name] and found.get(name, Seen()).release == wanted[name]]
        patience_s = min(READY_S, max((services.get(name, 0.0) for name in unready), default=0.0))
        starting = asyncio.get_running_loop().time() < began + patience_s
        if not wrong or not (status.returning or starting):
            break
        await asyncio.sleep(POLL_S)
    return EndState(not wrong, in_words(found), _next(request.env, wrong, unready))


def _next(env: str, wrong: set[str], unready: list[str]) -> str:
    """A restart brings what is on record; what is that already and not ready says in its log what it waits for."""
    if not wrong:
        return ""
    if len(unready) == len(wrong):
        return proposal.LOGS_SERVICE(env=env, service=unready[0])
    return proposal.RESTART(env=env)


def in_words(found: Mapping[str, Seen]) -> str:
    """Which service serves which release; services with the same one stand together."""
    groups: dict[str, list[str]] = {}
    for name, one in found.items():
        groups.setdefault(one.serves, []).append(name)
    idle = groups.pop("", [])
    said = [f"{', '.join(names)} serves {release}" for release, names in groups.items()] or ["nothing serves"]
    told = [f"{name} of {found[name].release} {found[name].trouble}" for name in idle if found[name].trouble]
    silent = [f"{name} does not serve" for name in idle if groups and not found[name].trouble]
    return "; ".join([*said, *told, *silent])


async def _seen(compute: Compute, status: ComputeStatus, name: str) -> Seen:
    """What answers for `name`, asked itself: not what traffic is only sent to."""
    service = status.service(name) if status.running else None
    live = next((one for one in service.instances if one.live), None) if service else None
    return Seen(live.release, await why_not_ready(compute, live)) if live else Seen()


async def why_not_ready(compute: Compute, live: Instance) -> str:
    """What keeps that very process from serving, in words; `""` when it says that it is ready."""
    if live.state != "running":
        return f"is {live.state.replace('_', ' ')}"
    try:
        probe = await compute.probe(live.service, live.release, settings=live.settings)
    except DodaiError as error:
        return f"could not be asked: {error.message}"
    return "" if probe.ready else f"is not ready: {probe.detail or probe.state.replace('_', ' ')}"


def retired(old: Sequence[Instance]) -> Observed:
    """Whether none of `old` runs; what cannot be reached is not waited for."""
    left = [one.release for one in old if one.state != "unreachable"]
    return Observed("needed", f"still runs {', '.join(left)}") if left else Observed("done")


def note_unreachable(context: StepContext, old: Sequence[Instance]) -> None:
    """Say what of `old` nobody could end."""
    if away := [f"{one.release} in {one.region}" for one in old if one.state == "unreachable"]:
        context.note(f"cannot be reached, and may come back: {', '.join(away)}")


def stages(compute: Compute, service: Service) -> int:
    """How many stages a switch of it has at most; 0 where the traffic moves at once."""
    return compute.stages(service.name) if isinstance(compute, StagedCompute) else 0


def notice_s(compute: Compute) -> float:
    """How long it takes until whoever leads the traffic knows of a change; it is waited for before each next one."""
    return compute.notice_s() if isinstance(compute, StagedCompute) else 0.0


def moving_s(compute: Compute, service: Service) -> float:
    """How long it may take to move its traffic and before the old one is stopped, beyond the requests for that."""
    twice_s = 2 * notice_s(compute)
    return twice_s + stages(compute, service) * (service.health.timeout_s + service.drain_s + 10.0 + twice_s)
