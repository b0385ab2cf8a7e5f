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
from dodai.operations.ports import REFUSED, DirectSeen
from dodai.operations.secret import EDGE_KEY
from dodai.rehearsal.drill import Drill, DrillResult
from dodai.rehearsal.drills.releases import EXITS_AT_BOOT, MANIFEST, VisitorTally, as_toml, visitors
from dodai.rehearsal.drills.restore import FILE, SQL_FILES
from dodai.rehearsal.ports import Subject
from dodai.rehearsal.production_alert import WatchedStage, alert_drill

KEPT, KEPT_ROWS = "public.kept_by_a_rehearsal", 1000


@dataclass(slots=True)
class FaultsMet:
    """The faults that were switched on, and after the block those of them that did not happen."""

    wanted: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EdgeSeen:
    """What is not as the manifest says at the edge and at sign-in; None where a vendor has no such thing.

    `foreign` is whether what others have there is as it was. `ray` is the edge's number of a request that was answered.
    `around` is how the origin answered who came past the edge, `reserved` the status of a path for operators asked for
    from outside; None where there is no edge of a vendor before it.
    """

    differs: tuple[str, ...] | None = None
    sign_in: tuple[str, ...] | None = None
    foreign: bool = True
    ray: str = ""
    status: int = 0
    around: DirectSeen | None = None
    reserved: int | None = None


class ProductionStage(WatchedStage, Protocol):
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

    async def edge(self) -> EdgeSeen:
        """What the zone and the sign-in of the environment look like now, as their vendors show them."""
        ...

    def full(self, service: str) -> AbstractContextManager[str]:
        """The region of one instance of `service` takes no new one for the length of the block."""
        ...

    async def earlier(self) -> str:
        """The release that was in service before what serves, "" when there was none."""
        ...

    async def rows(self) -> Mapping[str, int]:
        """How many rows every table of the application has."""
        ...

    async def fill(self, table: str, rows: int) -> None:
        """A table of our own with so many rows, beside those of the application."""
        ...

    def set_aside(self) -> tuple[str, ...]:
        """The names under which the vendor keeps data that a restore replaced."""
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
            "the release before what serves is served again; every request is answered meanwhile",
            partial(_going_back, service),
        ),
    ]
    drills.append(_edge_drill())
    rotated = next((s.name for s in subject.policy.secrets.values() if s.rotation == "overlap" and s.used_by), "")
    if rotated:
        drills.append(
            Drill(
                "production-secret-is-rotated",
                "operations",
                Text("A secret is changed while people use it", "利用中にシークレットを更新する"),
                "both values are recognised, then the new one alone, and so for the key that the edge sends; every "
                "request is answered meanwhile, and none that comes past the edge",
                partial(_rotation, rotated),
            )
        )
    if traced := alert_drill(subject, service):
        drills.append(traced)
    if subject.database and subject.migrations and subject.migrations.policy.format in SQL_FILES:
        drills.append(_restore_drill(service, subject.migrations.policy.folder))
    return tuple(drills)


def _edge_drill() -> Drill:
    return Drill(
        "production-edge-and-sign-in",
        "operations",
        Text("The edge and the sign-in are as the manifest says", "エッジと認証がマニフェストどおりである"),
        "nothing differs at the vendors, what others have there is untouched, the public name answers over TLS, paths "
        "for operators are closed, and the origin refuses who comes past the edge",
        _edge_and_sign_in,
    )


def _restore_drill(service: Service, folder: str) -> Drill:
    return Drill(
        "production-data-is-restored",
        "operations",
        Text(
            "A migration that destroys rows is taken back with its data",
            "行を失わせたマイグレーションから、データごと復元する",
        ),
        "exit 0; the destroyed rows are there again and no table has fewer, the replaced data is kept",
        partial(_restored, service, folder),
    )


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


async def _edge_and_sign_in(stage: Any) -> DrillResult:
    seen: EdgeSeen = await stage.edge()
    told = {"edge": seen.differs, "sign-in": seen.sign_in}
    judged = [f"{name} {_verdict(found)}" for name, found in told.items()]
    observed = f"{', '.join(judged)}; rules of others {'untouched' if seen.foreign else 'CHANGED'}; "
    observed += f"status {seen.status}{f', ray {seen.ray}' if seen.ray else ''}"
    ok = not (seen.differs or seen.sign_in) and seen.foreign and seen.status == 200 and _is_refused(seen.around)
    ok = ok and bool(seen.ray or not stage.has_rays) and seen.reserved in (None, REFUSED)
    observed += "" if seen.reserved is None else f"; paths for operators {seen.reserved}"
    return DrillResult(f"{observed}{_past(seen.around)}", ok, (), {"differs": told})


def _is_refused(around: DirectSeen | None) -> bool:
    """Whether nobody gets past the edge, or no edge is there to get past."""
    return around is None or (set(around.statuses) == {REFUSED} and not around.unknown)


def _past(around: DirectSeen | None) -> str:
    if around is None:
        return ""
    return f"; past the edge {', '.join(map(str, around.statuses)) or around.refused_by or around.unknown}"


def _verdict(differs: tuple[str, ...] | None) -> str:
    if differs is None:
        return "not judged: there is no vendor of it"
    return differs[0] if differs else "as the manifest says"


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
    """From what serves to the release before it; where there was none, a newer one is deployed first."""
    newer, outcomes = (await stage.serves())[service.name], list[Outcome]()
    async with visitors(stage) as seen:
        if not (first := await stage.earlier()):
            first, newer = newer, await _changed(stage, service)
            outcomes.append(await stage.deploy(newer))
        between = (await stage.serves())[service.name]
        outcomes.append(await stage.deploy(first, kind="rollback"))
    last, exits = (await stage.serves())[service.name], [outcome.exit_code for outcome in outcomes]
    ok = (between, last) == (newer, first) and newer != first and not any(exits) and not seen.failed
    observed = (
        f"{between} -> {last}, exit {exits[-1]}, "
        f"{seen.answered} of {seen.answered + seen.failed} requests answered meanwhile"
    )
    cause = next((outcome.cause for outcome in outcomes if outcome.cause), None)
    details = {"cause": cause.message if cause else "", "failures": seen.failures[:5]}
    return DrillResult(observed, ok and seen.answered > 0, tuple(seen.request_ids[:3]), details)


async def _rotation(secret: str, stage: Any) -> DrillResult:
    names = (secret, *(one.name for one in stage.rotates() if one.name == EDGE_KEY))
    outcomes: list[Outcome] = []
    machines = stage.instances()
    async with visitors(stage) as seen:
        for name in names:
            outcomes += [await stage.rotate(name), await stage.rotate(name, finish=True)]
    around: DirectSeen | None = (await stage.edge()).around
    ok = all(one.exit_code == 0 for one in outcomes) and not seen.failed and seen.answered > 0 and _is_refused(around)
    ok = ok and stage.instances() == machines
    observed = (
        f"{', '.join(names)}: exit {', '.join(str(one.exit_code) for one in outcomes)}, "
        f"{seen.answered} of {seen.answered + seen.failed} requests answered meanwhile{_past(around)}, "
        f"on {_count(stage.instances())}"
    )
    cause = next((one.cause for one in outcomes if one.cause), None)
    details = {"cause": cause.message if cause else "", "failures": seen.failures[:5]}
    return DrillResult(observed, ok, tuple(seen.request_ids[:3]), details)


async def _restored(service: Service, folder: str, stage: Any) -> DrillResult:
    """A table of our own is emptied by a migration; nobody else's rows may get fewer."""
    good = (await stage.serves())[service.name]
    await stage.fill(KEPT, KEPT_ROWS)
    text = f"-- +goose Up\nDELETE FROM {KEPT};\n-- +goose Down\nSELECT 1;\n"
    bad = await stage.derive(good, {f"{folder}/{FILE}": text.encode()})
    before, machines = await stage.rows(), stage.instances()
    emptied: Outcome = await stage.deploy(bad)
    damaged = await stage.rows()
    back: Outcome = await stage.restore(good)
    after, serves, kept = await stage.rows(), (await stage.serves())[service.name], stage.set_aside()
    fewer = {table: rows - after.get(table, 0) for table, rows in before.items() if after.get(table, 0) < rows}
    ended = [outcome.exit_code for outcome in (emptied, back)]
    ours = (before.get(KEPT), damaged.get(KEPT), after.get(KEPT))
    ok = (ended, ours, fewer, serves) == ([0, 0], (KEPT_ROWS, 0, KEPT_ROWS), {}, good)
    observed = (
        f"exit {back.exit_code} after {back.seconds:.1f} s, rows of {KEPT}: {' -> '.join(map(str, ours))}, "
        f"{len(fewer)} of {len(before)} tables with fewer rows, "
        f"the replaced data is in {', '.join(kept) or 'nothing'}, "
        f"serves {serves} on {_count(stage.instances())}"
    )
    cause = emptied.cause or back.cause
    details = {"cause": cause.message if cause else "", "fewer": fewer, "restoreSeconds": round(back.seconds, 1)}
    return DrillResult(observed, ok and bool(kept) and stage.instances() == machines, (), details)


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
