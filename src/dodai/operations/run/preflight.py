"""What a deploy looks at before its first change."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Protocol

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.core.text import counted
from dodai.engine.plan import Observed, PlanRequest, Step, StepContext
from dodai.operations import codes
from dodai.operations.ports import Artifacts, CloningCompute, Compute, ComputeStatus, DeclaredIdentity

FREE_BYTES = 256 * 1024 * 1024
"""Room for a release, its logs and the journal; a restore point asks for its own."""
SKEW_NOTE_S, SKEW_STOP_S = 2.0, 60.0
"""Tokens of the application live for minutes: a machine that is a minute off refuses people."""


class PreflightReader(Protocol):
    """What a machine and the databases say about themselves; reading changes nothing."""

    async def free_bytes(self) -> int:
        """Room where the environment keeps its state."""
        ...

    async def clock_offset_s(self) -> float | None:
        """Seconds this machine is ahead of the database; None while none runs."""
        ...

    async def reach(self) -> None:
        """Raises where a vendor that is needed later does not answer, or not to this token."""
        ...

    async def sign_in(self) -> tuple[str, ...]:
        """What is wrong with sign-in, or that it could not be seen; nothing where nobody looks at it."""
        ...

    async def pending(self) -> tuple[str, ...] | None:
        """Migrations that this release would apply; None while the database does not run."""
        ...


def preflight(
    request: PlanRequest,
    compute: Compute,
    artifacts: Artifacts,
    surroundings: PreflightReader,
    declared: DeclaredIdentity | None = None,
    services: Sequence[str] = (),
) -> Step:
    """The step that refuses before the first change: stale plan (DOD377), no files, no room, a wrong clock.

    `declared` is the sign-in that the plan brings about on its way, `services` those that it starts: both have to be
    possible.
    That the journal can be written is known by then: the request stands in it.
    """

    async def observe(context: StepContext) -> Observed:
        _refuse_stale(request, await compute.status())
        try:
            await asyncio.to_thread(artifacts.proven, request.release)
        except DodaiError as error:
            return Observed("blocked", f"{error.message}; {error.fix}")
        for previous in sorted(set(previous_releases(request.arguments).values())):
            _note_missing(artifacts, previous, context)
        await surroundings.reach()
        if isinstance(compute, CloningCompute):
            await compute.possible(services, request.release)
        if declared is not None:
            await declared.possible()
        problems = [problem async for problem in _problems(surroundings, context)]
        return Observed("blocked", "; ".join(problems)) if problems else Observed("done", "nothing stands in the way")

    async def apply(_: StepContext) -> None:
        """Looking changes nothing."""

    return Step(
        id="preflight",
        title=Text("nothing stands in the way", "妨げになるものがないことを確認"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        timeout_s=30.0,
        inputs={"release": request.release},
    )


def previous_releases(arguments: Mapping[str, str]) -> dict[str, str]:
    """What served when the plan was made, by service."""
    return {name.partition(":")[2]: release for name, release in arguments.items() if name.startswith("previous:")}


def _refuse_stale(request: PlanRequest, status: ComputeStatus) -> None:
    """A resume meets its own release too; nothing at all is met where nothing runs."""
    expected = previous_releases(request.arguments)
    for service in status.services if status.running else ():
        before = expected.get(service.name, "")
        if service.release not in ("", before, request.release):
            raise DodaiError(
                codes.STALE_PLAN,
                f"`{service.name}` serves `{service.release}`, `{before or 'nothing'}` when the plan was made",
                f"look at `{proposal.STATUS(env=request.env)}`, then make a new plan: `{request.command}`",
                exit_code=1,
            )


def _note_missing(artifacts: Artifacts, previous: str, context: StepContext) -> None:
    try:
        artifacts.path(previous)
    except DodaiError as error:
        context.note(f"no way back to {previous} once it is stopped: {error.message}")


async def _problems(surroundings: PreflightReader, context: StepContext) -> AsyncIterator[str]:
    free = await surroundings.free_bytes()
    if free < FREE_BYTES:
        yield f"`{free // 2**20}` MiB are free, {FREE_BYTES // 2**20} MiB are needed"
    offset = await surroundings.clock_offset_s()
    if offset is not None and abs(offset) > SKEW_STOP_S:
        yield f"the clock of this machine is `{offset:+.0f}` s off the database's"
    elif offset is not None and abs(offset) > SKEW_NOTE_S:
        context.note(f"the clock of this machine is {offset:+.1f} s off the database's")
    for said in await surroundings.sign_in():
        context.note(f"sign-in: {said}")
    pending = await surroundings.pending()
    if pending:
        context.note(f"{counted(len(pending), 'migration')} will be applied: {', '.join(pending[:3])}")
