"""A command run in the place of a service: the release's files, its settings and secrets, and the record of it."""

from __future__ import annotations

import asyncio
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.plan import PlanRequest
from dodai.operations.environment import Environment, host_of
from dodai.operations.policy import Service
from dodai.operations.run.dependencies import packages_of
from dodai.operations.run.description import in_service
from dodai.operations.run.override import pass_gates, record_what_was_not, state
from dodai.operations.run.plans import deploy_ports
from dodai.operations.run.rollback_target import recorded
from dodai.operations.run.service_steps import Given, ServiceSteps

LONGEST_COMMAND = 2000


@dataclass(frozen=True, slots=True)
class ServicePlace:
    """Where a service of a release runs: the environment as that release describes it, and what the service is given.

    `stale`: what serves was started with other settings than those of now.
    """

    here: Environment
    service: Service
    given: Given
    stale: bool


async def place_of(here: Environment, name: str) -> ServicePlace:
    """The place of the service `name` of the release that serves, or last did.

    DOD368 when there was none, DOD051 for no such service, DOD366 or DOD317 when its files or its packages are
    not what was published.
    """
    await here.refuse_elsewhere()
    host_of(here)
    status = await here.compute.status()
    service_status = status.service(name) if status.running else None
    live = next((one for one in service_status.instances if one.live), None) if service_status else None
    release = live.release if live else await recorded(here, name)
    there = await in_service(here, here.released(release))
    await asyncio.to_thread(here.artifacts.proven, release)
    if packages := packages_of(here):
        await asyncio.to_thread(packages.proven, release)
    service = there.project.policy.services[name]
    ports = deploy_ports(there, Path(here.artifacts.path(release)))
    given = await ServiceSteps(PlanRequest("exec", here.name, release), ports).given(service)
    return ServicePlace(there, service, given, live is not None and not given.is_what_runs(live))


async def begin(place: ServicePlace, words: Sequence[str], reason: str) -> None:
    """Let it through the gates and write down that it begins: what cannot be recorded is not run."""
    await record_what_was_not(place.here)
    typed = f"dodai exec {place.here.name} {place.service.name} -- {_typed(place, words)}"
    await pass_gates(place.here, "exec", typed, reason)
    await state(place.here, "exec", _said(place, words), release=place.given.release)


def carry_out(place: ServicePlace, words: Sequence[str]) -> tuple[int, float]:
    """The exit code of the command, and the seconds that it took."""
    given, began = place.given, time.monotonic()
    code = host_of(place.here).on_terminal(given.spec, given.release, given.artifact, given.environment, words)
    return code, time.monotonic() - began


async def end(place: ServicePlace, words: Sequence[str], code: int, took_s: float) -> DodaiError | None:
    """Write down how it ended; why that could not be done, None when it was."""
    said = {**_said(place, words), "exitCode": code, "tookS": round(took_s, 1)}
    try:
        await state(place.here, "exec-ended", said, release=place.given.release)
    except DodaiError as error:
        return error
    return None


def _said(place: ServicePlace, words: Sequence[str]) -> dict[str, object]:
    """What the audit log keeps."""
    return {"service": place.service.name, "release": place.given.release, "command": _typed(place, words)}


def _typed(place: ServicePlace, words: Sequence[str]) -> str:
    """The command as it may be kept: a secret is taken out before a shell's quotes break it into pieces."""
    given = place.given
    known = host_of(place.here).without_secrets(words, given.spec, given.environment)
    return shlex.join(known)[:LONGEST_COMMAND]
