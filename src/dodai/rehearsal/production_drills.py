"""The drills of a production environment on stand-ins: what its vendors do to a deploy, and what visitors meet then."""

from __future__ import annotations

import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from typing import Any, Protocol

from dodai.core.dataclass import dataclass
from dodai.core.page import Text
from dodai.engine.outcome import Outcome
from dodai.operations.policy import Service
from dodai.rehearsal.drill import Drill, DrillResult
from dodai.rehearsal.drills.releases import EXITS_AT_BOOT, MANIFEST, VisitorTally, as_toml, visitors
from dodai.rehearsal.ports import Stage, Subject


@dataclass(slots=True)
class FaultsMet:
    """The faults that were switched on, and after the block those of them that did not happen."""

    wanted: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class ProductionStage(Stage, Protocol):
    """A stage whose parts are vendors' APIs: there is no Host, and faults are those of the vendors."""

    async def serves(self) -> Mapping[str, str]:
        """The release that each service serves, as the provider shows it."""
        ...

    def instances(self) -> Mapping[str, int]:
        """How many instances of each service the vendor runs, whoever started them."""
        ...

    def failing(self) -> AbstractContextManager[FaultsMet]:
        """Once at every kind of change the vendor throttles, answers 503 afterwards, or loses the reply."""
        ...

    def full(self, service: str) -> AbstractContextManager[str]:
        """The region of one instance of `service` takes no new one for the length of the block."""
        ...


def production_drills(subject: Subject) -> tuple[Drill, ...]:
    """The drills of the public service and of what runs it."""
    service = subject.policy.public_service
    if service is None:
        return ()
    drills = [
        Drill(
            "production-bad-release-is-undone",
            "operations",
            Text("A release whose image ends at boot is undone", "起動直後に終了するイメージは自動で取り消される"),
            "exit 3, everything restored, nothing of it left running, every request answered meanwhile",
            partial(_bad_release, service),
        ),
        Drill(
            "production-vendor-fails",
            "operations",
            Text(
                "The vendor's API throttles, fails and loses replies during a deploy",
                "デプロイ中にベンダー API が制限、失敗、応答喪失を起こす",
            ),
            "every kind of change met once: the release serves, on as many machines as before, no request failed",
            partial(_vendor_fails, service),
        ),
        Drill(
            "production-region-is-full",
            "operations",
            Text("A region has no room for a new machine", "リージョンに新しいマシンの空きがない"),
            "exit 3 and DOD715 with the region, everything restored, every request answered meanwhile",
            partial(_region_is_full, service),
        ),
        Drill(
            "production-going-back",
            "operations",
            Text("Going back to the release before loses no request", "直前のリリースへ戻しても要求は失われない"),
            "a newer release serves, then the one before serves again; every request is answered meanwhile",
            partial(_going_back, service),
        ),
    ]
    rotated = next((s.name for s in subject.policy.secrets.values() if s.rotation == "overlap" and s.used_by), "")
    if rotated:
        drills.append(
            Drill(
                "production-secret-is-rotated",
                "operations",
                Text("A secret is changed while people use it", "利用中にシークレットを更新する"),
                "both values are recognised, then the new one alone; every request is answered meanwhile",
                partial(_rotation, rotated),
            )
        )
    return tuple(drills)


async def _bad_release(service: Service, stage: Any) -> DrillResult:
    before, machines = await stage.serves(), stage.instances()
    bad = await _changed(stage, service, command=["{python}", "-c", EXITS_AT_BOOT])
    async with visitors(stage) as seen:
        outcome: Outcome = await stage.deploy(bad)
    return await _undone(stage, outcome, seen, before, machines)


async def _region_is_full(service: Service, stage: Any) -> DrillResult:
    before, machines = await stage.serves(), stage.instances()
    newer = await _changed(stage, service)
    with stage.full(service.name) as region:
        async with visitors(stage) as seen:
            outcome: Outcome = await stage.deploy(newer)
    result = await _undone(stage, outcome, seen, before, machines)
    cause = outcome.cause
    named = cause is not None and "DOD715" in str(cause.error) and f"`{region}`" in cause.message
    return DrillResult(result.observed, result.ok and named, result.request_ids, result.details)


async def _undone(
    stage: Any, outcome: Outcome, seen: VisitorTally, before: Mapping[str, str], machines: Mapping[str, int]
) -> DrillResult:
    after, left = await stage.serves(), stage.instances()
    ok = (outcome.exit_code, outcome.state) == (3, "restored") and after == before and left == machines
    observed = (
        f"exit {outcome.exit_code}, {outcome.state}, serves {_said(after)} on {_count(left)}, "
        f"{seen.answered} of {seen.answered + seen.failed} requests answered meanwhile"
    )
    details = {"cause": outcome.cause.message if outcome.cause else "", "failures": seen.failures[:5]}
    return DrillResult(observed, ok and not seen.failed and bool(seen.answered), tuple(seen.request_ids[:3]), details)


async def _vendor_fails(service: Service, stage: Any) -> DrillResult:
    machines = stage.instances()
    newer = await _changed(stage, service)
    async with visitors(stage) as seen:
        with stage.failing() as met:
            outcome: Outcome = await stage.deploy(newer)
    serves, after = (await stage.serves())[service.name], stage.instances()
    ok = outcome.exit_code == 0 and serves == newer and after == machines and bool(met.wanted) and not met.left
    observed = (
        f"{len(met.wanted) - len(met.left)} of {len(met.wanted)} faults met, exit {outcome.exit_code}, "
        f"{'the new release' if serves == newer else serves} serves on {_count(after)}, "
        f"{seen.answered} of {seen.answered + seen.failed} requests answered meanwhile"
    )
    cause = outcome.cause.message if outcome.cause else ""
    details = {"cause": cause, "notMet": met.left, "failures": seen.failures[:5]}
    return DrillResult(
        observed, bool(ok) and not seen.failed and seen.answered > 0, tuple(seen.request_ids[:3]), details
    )


async def _going_back(service: Service, stage: Any) -> DrillResult:
    first = (await stage.serves())[service.name]
    newer = await _changed(stage, service)
    async with visitors(stage) as seen:
        there: Outcome = await stage.deploy(newer)
        between = (await stage.serves())[service.name]
        back: Outcome = await stage.deploy(first, kind="rollback")
    last = (await stage.serves())[service.name]
    ok = (between, last, there.exit_code, back.exit_code) == (newer, first, 0, 0) and not seen.failed
    observed = (
        f"{first} -> {between} -> {last}, exit {there.exit_code} and {back.exit_code}, "
        f"{seen.answered} of {seen.answered + seen.failed} requests answered meanwhile"
    )
    cause = there.cause or back.cause
    details = {"cause": cause.message if cause else "", "failures": seen.failures[:5]}
    return DrillResult(observed, ok and seen.answered > 0, tuple(seen.request_ids[:3]), details)


async def _rotation(secret: str, stage: Any) -> DrillResult:
    async with visitors(stage) as seen:
        begun: Outcome = await stage.rotate(secret)
        ended: Outcome = await stage.rotate(secret, finish=True)
    ok = (begun.exit_code, ended.exit_code) == (0, 0) and not seen.failed and seen.answered > 0
    observed = (
        f"{secret}: exit {begun.exit_code} and {ended.exit_code}, "
        f"{seen.answered} of {seen.answered + seen.failed} requests answered meanwhile"
    )
    cause = begun.cause or ended.cause
    details = {"cause": cause.message if cause else "", "failures": seen.failures[:5]}
    return DrillResult(observed, ok, tuple(seen.request_ids[:3]), details)


async def _changed(stage: Any, service: Service, *, command: Sequence[str] = ()) -> str:
    """A release made of the one that serves, with another manifest; no real release contains rehearsal code."""
    release = (await stage.serves())[service.name]
    manifest = tomllib.loads((await stage.read_file(release, MANIFEST)).decode("utf-8-sig"))
    if command:
        table = manifest["client"][service.client] if service.client else manifest["service"][service.name]
        table["command"] = list(command)
    lines = (f"{as_toml(name)} = {as_toml(value)}\n" for name, value in manifest.items())
    text = "".join((f"# made by a rehearsal, {time.time_ns()}\n", *lines))
    made: str = await stage.derive(release, {MANIFEST: text.encode()})
    return made


def _said(serving: Mapping[str, str]) -> str:
    return ", ".join(sorted(set(serving.values()))) or "nothing"


def _count(instances: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in instances.items())
