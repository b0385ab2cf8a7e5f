"""The step of a canary: one new instance gets traffic beside the old ones, and is judged by its lines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.core.text import counted
from dodai.engine.plan import Observed, Step, StepContext
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.ports import PlatformLines
from dodai.operations import codes
from dodai.operations.policy import Service
from dodai.operations.ports import CanaryCompute
from dodai.operations.run.service_steps import CALLS, ServiceSteps

if TYPE_CHECKING:
    from dodai.observability.run.canary_judge import CanaryVerdict

POLLS, MOST_POLL_S, ASK_EVERY_S = 60.0, 2.0, 5.0
"""A window is looked at so often, but no more rarely than this; the instance itself is asked every five seconds."""


@dataclass(frozen=True, slots=True)
class Canary:
    """Which services begin with one instance, for how long, and by how many requests at the least it is judged."""

    compute: CanaryCompute
    services: frozenset[str]
    window_s: float
    requests: int
    lines: PlatformLines
    observability: ObservabilityPolicy
    probes: frozenset[str] = frozenset()


def shown_s(seconds: float) -> str:
    """`90 s`, `5 min`."""
    return f"{seconds / 60:g} min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds:g} s"


def canary_step(steps: ServiceSteps, canary: Canary, service: Service) -> Step:
    """Between start and switch: what is undone when the instance is worse than the rest, or nobody can tell."""
    window = shown_s(canary.window_s)
    return Step(
        id=f"canary-{service.name}",
        title=Text(
            f"one new {service.name} serves beside the old ones for {window}",
            f"新しい {service.name} を 1 台だけ {window} 並行して稼働させる",
        ),
        area="operations",
        observe=partial(_observed, steps, canary, service),
        apply=partial(_let_in, steps, canary, service),
        verify=partial(_judged, steps, canary, service),
        undo=partial(_hold_back, steps, canary, service),
        undo_title=Text(f"the new {service.name} gets no more traffic", f"新しい {service.name} への通信を止める"),
        timeout_s=canary.window_s + service.health.timeout_s + 60.0,
        retry=CALLS,
        inputs={"release": steps.request.release, "window": window, "requests": str(canary.requests)},
    )


async def _observed(steps: ServiceSteps, canary: Canary, service: Service, context: StepContext) -> Observed:
    """Whoever resumes begins the window anew: of the requests before nobody knows whether all were seen."""
    seen = await steps.switched(service, context)
    if seen.state == "done":
        return seen
    given = await steps.given(service)
    there = await canary.compute.is_in(service.name, given.release, settings=given.settings)
    said = "it has traffic and was not judged" if there else "it has no traffic yet"
    return Observed("needed", said, partial=there)


async def _let_in(steps: ServiceSteps, canary: Canary, service: Service, context: StepContext) -> None:
    given = await steps.given(service)
    compute = canary.compute.under(context.fencing_token)
    where = await compute.let_in(service.name, given.release, settings=given.settings)
    context.note(f"{where} gets its share of the traffic")


async def _hold_back(steps: ServiceSteps, canary: Canary, service: Service, context: StepContext) -> None:
    given = await steps.given(service)
    await canary.compute.under(context.fencing_token).hold_back(service.name, given.release, settings=given.settings)


async def _judged(steps: ServiceSteps, canary: Canary, service: Service, context: StepContext) -> Observed:
    from dodai.observability.run.canary_judge import CanaryTraffic  # most plans have no canary

    release, kept = steps.request.release, canary.lines
    traffic = CanaryTraffic(service.name, release, canary.observability, canary.probes, canary.requests)
    try:
        lines, place = await _read(kept, service.name, "")
        if lines and not place:
            raise _unjudged(service.name, release, "the log says nowhere where to go on, so a line may count twice")
        began = asked = time.monotonic()
        while True:
            lines, place = await _read(kept, service.name, place)
            now = time.monotonic()
            traffic.add(lines, time.time())
            verdict = traffic.verdict(time.time())
            if verdict.worse:
                raise _worse(service.name, release, verdict)
            if now - asked >= ASK_EVERY_S or now - began >= canary.window_s:
                await _still_well(steps, service)
                asked = now
            if now - began >= canary.window_s:
                break
            pause = min(MOST_POLL_S, canary.window_s / POLLS)
            await asyncio.sleep(min(pause, began + canary.window_s - now))
    except (OSError, ValueError) as error:
        raise _unjudged(service.name, release, f"its lines cannot be read: {error}") from None
    finally:
        traffic.close()
    if verdict.requests < canary.requests:
        least = counted(canary.requests, "request")
        why = f"{counted(verdict.requests, 'request')} reached it in {shown_s(canary.window_s)}, and it takes {least}"
        raise _unjudged(service.name, release, why)
    context.note(f"canary of {service.name}: {'; '.join(verdict.seen)}")
    return Observed("done", f"{counted(verdict.requests, 'request')}, no worse than the rest")


async def _read(kept: PlatformLines, service: str, place: str) -> tuple[Sequence[bytes], str]:
    return await asyncio.to_thread(kept.after, service, place)


async def _still_well(steps: ServiceSteps, service: Service) -> None:
    """DOD387 as soon as a new instance ends or fails its checks."""
    given = await steps.given(service)
    found = await steps.ports.compute.probe(service.name, given.release, settings=given.settings)
    if not found.ready:
        said = f"`{service.name}` of release `{given.release}` was healthy and is not any more: {found.detail}"
        output = tuple(f"{service.name} | {line}" for line in found.output)
        raise DodaiError(codes.RELEASE_NOT_HEALTHY, said, codes.RELEASE_NOT_HEALTHY.fix.en, details=output)


def _worse(service: str, release: str, verdict: CanaryVerdict) -> DodaiError:
    said = f"the canary of `{service}`, release `{release}`, is worse than the rest: {'; '.join(verdict.worse)}"
    code = codes.CANARY_WORSE
    return DodaiError(
        code, said, code.fix.en, details=tuple(proposal.TRACE(request=one) for one in verdict.samples[:3])
    )


def _unjudged(service: str, release: str, why: str) -> DodaiError:
    code = codes.CANARY_NOT_JUDGED
    return DodaiError(code, f"the canary of `{service}`, release `{release}`, was not judged: {why}", code.fix.en)
