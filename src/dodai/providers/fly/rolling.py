"""Rolling: the machines of a service replaced some at a time, the old ones kept, stopped, until they are retired."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.operations.codes import RELEASE_NOT_HEALTHY
from dodai.providers.fly.fleet import Fleet, together
from dodai.providers.fly.machine_checks import checks_of, steady_s
from dodai.providers.fly.machine_state import health_of, is_kept, is_of
from dodai.providers.fly.machines_api import START, Machine

POLL_S = 1.0


@dataclass(frozen=True, slots=True)
class Rolling:
    """`max_unavailable` is the share of a service's machines that may be without traffic at once, at least one machine.

    What was started has `wait_s` to become healthy, by `consecutive` answers in a row; what is stopped has `drain_s` to
    finish.
    """

    max_unavailable: float
    wait_s: float
    drain_s: float
    consecutive: int = 1

    def at_once(self, machines: int) -> int:
        return max(1, math.floor(machines * self.max_unavailable))

    @property
    def stages(self) -> int:
        """How many there are at most, of whatever number of machines: `at_once` is at least half of the share."""
        return math.ceil(2 / self.max_unavailable)


async def roll(fleet: Fleet, service: str, release: str, settings: str, rolling: Rolling) -> None:
    """Until every machine of `release` serves, and no other does.

    One machine more than the release has runs at most. Each stage begins with a look, so that whoever resumes goes on
    where somebody else ended; the way back is the same with the other release. DOD387 when one does not become healthy.
    """
    begun: set[str] = set()
    while True:
        machines = [one for one in await fleet.current() if not one.is_away]
        group = [one for one in machines if is_of(one, release, settings)]
        others = [one for one in machines if one not in group and not is_kept(one)]
        running = [one for one in group if one.runs or one.id in begun]  # what began and ended is not begun again
        if any(one.cordoned for one in running):
            await _healthy(fleet, service, release, running, rolling)
        waiting = [one for one in group if one not in running]
        if not waiting:
            await fleet.let_in(running, others, last=True)
            return
        at_once = rolling.at_once(len(group))
        turn = waiting[:at_once]
        before = sorted((one for one in others if one.runs), key=lambda one: not one.cordoned)
        too_many = len(running) + len(turn) + len(before) - len(group) - 1
        leaving = before[: max(0, min(at_once, too_many))]
        await fleet.let_in(running, leaving)
        if leaving:
            await fleet.stop(leaving, rolling.drain_s)
        await together(fleet.apply(START, one) for one in turn)
        begun |= {one.id for one in turn}


async def _healthy(fleet: Fleet, service: str, release: str, group: Sequence[Machine], rolling: Rolling) -> None:
    """Until all of `group` pass their checks, often enough; an end is told as soon as the list can show it."""
    began, ids, needed = time.monotonic(), {one.id for one in group}, steady_s(checks_of(group), rolling.consecutive)
    since = math.inf
    while True:
        found = health_of([one for one in await fleet.machines(recent=True) if one.id in ids], release)
        now = time.monotonic()
        since = min(since, now) if found.ready else math.inf
        if now - since >= needed:
            return
        final = found.state in ("exited", "not_served")
        if now >= began + (fleet.api.vendor.lag_s if final else rolling.wait_s):
            said = f"`{service}` of release `{release}` does not become healthy on every machine: {found.detail}"
            output = tuple(f"{service} | {line}" for line in found.output)
            raise DodaiError(RELEASE_NOT_HEALTHY, said, RELEASE_NOT_HEALTHY.fix.en, details=output)
        await asyncio.sleep(POLL_S)
