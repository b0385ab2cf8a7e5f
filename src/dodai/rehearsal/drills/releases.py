"""The drills of releases: bad ones that must not survive, going back, and what people meet meanwhile."""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import field
from functools import partial
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.core.page import Text
from dodai.engine.outcome import Outcome
from dodai.operations.policy import OperationsPolicy, Service
from dodai.rehearsal.drill import Drill, DrillFile, DrillResult
from dodai.rehearsal.ports import Stage

MANIFEST = "dodai.toml"
NEVER_READY = "print('written by a rehearsal: never ready'); raise SystemExit(1)"
EXITS_AT_BOOT = "raise SystemExit('written by a rehearsal: this release ends at boot')"
NO_PROGRAM = "./written-by-a-rehearsal"
TIMEOUT = "3s"
"""How long a release that never becomes ready is waited for: long enough to be seen, whatever the manifest allows."""
Spoil = Callable[[Service, dict[str, Any]], None]
"""Makes the manifest of a bad release, whatever language the program of the service is in."""


def drills(policy: OperationsPolicy) -> tuple[Drill, ...]:
    """The drills of the public service, whatever it is written in."""
    service = policy.public_service
    if service is None:
        return ()
    return (
        Drill(
            "bad-release-is-undone",
            "operations",
            Text("A release whose health check fails is undone", "正常にならないリリースは自動で取り消される"),
            "exit 3, everything restored, the old release answers every request meanwhile",
            partial(_bad_release, service, _never_ready),
        ),
        Drill(
            "release-exits-at-boot",
            "operations",
            Text("A release that ends at boot is noticed at once", "起動直後に終了するリリースは即座に検知される"),
            "exit 3, everything restored, well before the health deadline",
            partial(_bad_release, service, _exits_at_boot),
        ),
        Drill(
            "release-cannot-start",
            "operations",
            Text("A release whose program is missing is noticed at once", "起動できないリリースは即座に検知される"),
            "exit 3, everything restored, well before the health deadline",
            partial(_bad_release, service, _cannot_start),
        ),
        Drill(
            "going-back",
            "operations",
            Text("Going back to the release before loses no request", "直前のリリースへ戻しても要求は失われない"),
            "a newer release serves, then the one before serves again; every request is answered meanwhile",
            partial(_going_back, service),
        ),
    )


def _never_ready(service: Service, manifest: dict[str, Any]) -> None:
    """It runs, and whoever asks is told that it is not ready."""
    health = {"kind": "command", "command": ["{python}", "-c", NEVER_READY], "timeout": TIMEOUT}
    manifest["service"][service.name]["health"] = health


def _exits_at_boot(service: Service, manifest: dict[str, Any]) -> None:
    _started(service, manifest)["command"] = ["{python}", "-c", EXITS_AT_BOOT]


def _cannot_start(service: Service, manifest: dict[str, Any]) -> None:
    _started(service, manifest)["command"] = [NO_PROGRAM]


def _marked(_: Service, __: dict[str, Any]) -> None:
    """Nothing but another release."""


def _started(service: Service, manifest: dict[str, Any]) -> dict[str, Any]:
    """The table whose command is run: that of another web tier where one takes the place of the service."""
    table: dict[str, Any] = manifest["client"][service.client] if service.client else manifest["service"][service.name]
    return table


async def _bad_release(service: Service, spoil: Spoil, stage: Stage) -> DrillResult:
    before = (await stage.host.status()).service(service.name)
    bad = await _spoiled(service, spoil, stage)
    async with visitors(stage) as seen:
        outcome: Outcome = await stage.deploy(bad)
    after = (await stage.host.status()).service(service.name)
    still = bool(before and after and before.release == after.release)
    left = [one.release for one in (after.instances if after else ()) if one.release == bad and one.state != "exited"]
    ok = outcome.exit_code == 3 and outcome.state == "restored" and still and not left and seen.failed == 0
    observed = (
        f"exit {outcome.exit_code}, {outcome.state}, serves {after.release if after else 'nothing'}, "
        f"{seen.answered} of {seen.answered + seen.failed} requests answered meanwhile"
    )
    cause = outcome.cause.message if outcome.cause else ""
    details: dict[str, Any] = {"badRelease": bad, "cause": cause, "failures": seen.failures[:5], "leftRunning": left}
    return DrillResult(observed, ok and seen.answered > 0, tuple(seen.request_ids[:3]), details)


async def _going_back(service: Service, stage: Stage) -> DrillResult:
    """Deploy a release that differs by nothing but its name, then go back, while people keep asking."""
    before = (await stage.host.status()).service(service.name)
    newer = await _spoiled(service, _marked, stage)
    async with visitors(stage) as seen:
        there: Outcome = await stage.deploy(newer)
        between = (await stage.host.status()).service(service.name)
        back: Outcome = await stage.deploy(before.release if before else "", kind="rollback")
    after = (await stage.host.status()).service(service.name)
    served = [one.release if one else "" for one in (before, between, after)]
    ok = served == [served[0], newer, served[0]] and (there.exit_code, back.exit_code) == (0, 0)
    observed = (
        f"{' -> '.join(served)}, exit {there.exit_code} and {back.exit_code}, "
        f"{seen.answered} of {seen.answered + seen.failed} requests answered meanwhile"
    )
    details: dict[str, Any] = {"kind": back.plan.request.kind, "failures": seen.failures[:5]}
    return DrillResult(observed, ok and seen.failed == 0 and seen.answered > 0, tuple(seen.request_ids[:3]), details)


async def _spoiled(service: Service, spoil: Spoil, stage: Stage) -> str:
    """A release made of the one that serves, with another manifest; no real release contains rehearsal code."""
    status = (await stage.host.status()).service(service.name)
    release = status.release if status else ""
    manifest = tomllib.loads((await stage.read_file(release, MANIFEST)).decode("utf-8-sig"))
    spoil(service, manifest)
    lines = (f"{as_toml(name)} = {as_toml(value)}\n" for name, value in manifest.items())
    return await stage.derive(release, {MANIFEST: "".join(("# made by a rehearsal\n", *lines)).encode()})


def as_toml(value: Any) -> str:
    """A value that tomllib read, as TOML on one line."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{as_toml(name)} = {as_toml(inner)}' for name, inner in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(as_toml(inner) for inner in value)}]"
    if isinstance(value, str | bool):
        written = json.dumps(value, ensure_ascii=False)
        return written.replace("\x7f", "\\u007f")  # the one that TOML wants escaped and JSON does not
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


@dataclass(slots=True)
class VisitorTally:
    """What visitors met: answers below 500 count, everything else is a failure."""

    answered: int = 0
    failed: int = 0
    request_ids: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


@asynccontextmanager
async def visitors(stage: Stage, *, pause_s: float = 0.02) -> AsyncIterator[VisitorTally]:
    """People who keep asking for the front page, one after the other, until the block ends."""
    seen = VisitorTally()
    over = asyncio.Event()

    async def ask() -> None:
        while not over.is_set():
            try:
                response = await stage.request("GET", "/")
            except OSError as error:
                seen.failed += 1
                seen.failures.append(str(error))
            else:
                good = response.status_code < 500
                seen.answered += good
                seen.failed += not good
                seen.request_ids.append(response.headers.get("x-request-id", ""))
                if not good:
                    seen.failures.append(f"status {response.status_code}")
            await asyncio.sleep(pause_s)

    asking = asyncio.create_task(ask())
    try:
        yield seen
    finally:
        over.set()
        await asking


DRILLS = DrillFile("operations", lambda subject: drills(subject.policy), position=10)
