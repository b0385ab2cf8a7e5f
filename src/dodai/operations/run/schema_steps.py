"""The steps around a change of the schema and of what serves: a restore point, whether a rollback fits, whether forms
and journeys pass, the record.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.core.text import counted
from dodai.engine.plan import Look, Observed, PlanRequest, Step, StepContext
from dodai.operations import codes
from dodai.operations.journey import Browser, Walk, walk
from dodai.operations.policy import Journey, OperationsPolicy, Service
from dodai.operations.ports import Compute, Instance, RestorePoints
from dodai.operations.release import Book, ReleaseRecord, Schema, Verdict, evaluate_rollback, find
from dodai.operations.run.service_steps import CALLS
from dodai.operations.run.serving import note_unreachable, notice_s, retired, running

NAME_ITS_ORIGIN = (
    "if it answers to its own name only, or sends everybody to https, name that address as the first of"
    " `public_origins` of this environment: journeys then come by it; otherwise trace the request id in the message:"
    f" `{proposal.TRACE(request='ID')}`"
)
LONGEST_WAIT_S = 120.0
"""Of a rate limit that holds a journey back; people behind a new release are not kept unproven for longer."""
Probe = Callable[[str], Awaitable[str]]
"""Sends a valid form through the edge at that URL; its request id. Raises when it is refused."""


def restore_point(points: RestorePoints, needed: Callable[[], Awaitable[bool]]) -> Step:
    """A verified copy of the database before anything is migrated. It stays, whatever becomes of the plan."""

    async def observe(context: StepContext) -> Observed:
        if found := await points.find(context.plan_id):
            return Observed("done", found)
        return Observed("needed", "migrations are pending") if await needed() else Observed("done", "not needed")

    async def apply(context: StepContext) -> None:
        context.note(f"restore point {await points.make(context.plan_id)}")

    return Step(
        id="restore-point",
        title=Text("a copy of the database to come back to", "戻り先となるデータベースの複製を作成"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        timeout_s=1800.0,
    )


async def rollback_compatibility(release: str, book: Book, schema: Schema) -> tuple[Verdict, ReleaseRecord | None]:
    """Whether `release` may come back on the schema of now; unknown is no."""
    record = find(await book.records(), release)
    if record is None:
        return Verdict(False, "it was never recorded as in service here"), None
    applied = await schema.applied()
    return evaluate_rollback(record, applied, await schema.trial(release)), record


def refusal(env: str, release: str, verdict: Verdict, point: str = "") -> DodaiError:
    """What a person gets whose rollback is refused: why, and the ways that are left, each a plan of its own."""
    fix = f"roll forward: write the fix, then `{proposal.DEPLOY(env=env)}`"
    if point:
        fix += (
            "; or go back in time, without what was written since: "
            f"`{proposal.ROLLBACK_RESTORE(env=env, release=release, point=point)}`"
        )
    return DodaiError(
        codes.ROLLBACK_REFUSED,
        f"`{release}` may not come back to `{env}`: {verdict.reason}",
        fix,
        exit_code=1,
        details=verdict.details,
    )


def compatible(request: PlanRequest, book: Book, schema: Schema) -> Step:
    """Whether the release to go back to fits the schema, observed under the lock; no confirmation overrides it."""

    async def observe(_: StepContext) -> Observed:
        verdict, _record = await rollback_compatibility(request.release, book, schema)
        if not verdict.allowed:
            raise refusal(request.env, request.release, verdict)
        return Observed("done", verdict.reason)

    async def apply(_: StepContext) -> None:
        """Looking changes nothing."""

    return Step(
        id="compatible",
        title=Text("the earlier release fits the schema", "以前のリリースが現在のスキーマに適合する"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        timeout_s=60.0,
        inputs={"release": request.release},
    )


def probe(send: Probe, edge: Callable[[], Awaitable[str]]) -> Step:
    """A valid form through edge and middleware, before visitors send one."""

    async def observe(_: StepContext) -> Observed:
        return Observed("needed", "asked anew by every deploy")

    async def apply(_: StepContext) -> None:
        """Asking is the verification; there is nothing to change."""

    async def verify(context: StepContext) -> Observed:
        request_id = await send(await edge())
        context.note(f"a valid form passes edge and app, request {request_id}")
        return Observed("done", f"request {request_id}")

    return Step(
        id="probe",
        title=Text("a form passes edge and app", "フォームがエッジとアプリを通過する"),
        area="csrf",
        observe=observe,
        apply=apply,
        verify=verify,
        timeout_s=15.0,
    )


def record(request: PlanRequest, book: Book) -> Step:
    """The release written down for ever; once per plan."""

    async def observe(context: StepContext) -> Observed:
        newest = next(iter(await book.records()), None)
        if newest is None or newest.release != request.release:
            return Observed("needed", "not recorded yet")
        same = (newest.config, dict(newest.secrets)) == (request.manifest_hash, dict(request.secret_versions))
        done = newest.plan_id == context.plan_id or (same and request.kind != "rotate")
        return Observed("done" if done else "needed", f"recorded {newest.at}")

    async def apply(context: StepContext) -> None:
        await book.write(await book.gather(request.release), context)
        try:
            gone = await book.prune()
        except OSError as error:  # the release serves and is on record; room is not worth a failed deploy
            context.note(f"the files of old releases could not be removed: {error}")
        else:
            if gone:
                context.note(f"the files of {len(gone)} old releases were removed")

    return Step(
        id="record",
        title=Text("the release is on record", "リリースを記録"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        on_failure="fix_forward",
        timeout_s=60.0,
        retry=CALLS,  # a database that died under it is back in a moment
        inputs={"release": request.release},
    )


def retire_gone(compute: Compute, name: str, release: str) -> Step:
    """Drain and stop whatever runs of the service `name`, behind what took the place of its release."""
    drain_s = Service(command=()).drain_s

    async def runs() -> list[Instance]:
        status = (await running(compute)).service(name)
        return [one for one in (status.instances if status else ()) if one.state != "exited"]

    async def observe(_: StepContext) -> Observed:
        return retired(await runs())

    async def apply(context: StepContext) -> None:
        there = await runs()
        note_unreachable(context, there)
        for old, settings in dict.fromkeys((one.release, one.settings) for one in there):
            await compute.under(context.fencing_token).stop(name, old, drain_s, settings=settings)

    return Step(
        id=f"retire-{name}",
        title=Text(f"drain and stop {name}, which is no more", f"なくなった {name} の処理を終えて停止"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        on_failure="fix_forward",
        timeout_s=drain_s + 15.0 + notice_s(compute),
        retry=CALLS,
        inputs={"release": release},
        point_of_no_return=True,
    )


class SmokePorts(Protocol):
    @property
    def browser(self) -> Callable[[str], Browser]: ...


def smoke(policy: OperationsPolicy, ports: SmokePorts, edge_url: Callable[[], Awaitable[str]], all_serve: Look) -> Step:
    """The last step that is undone: that the journeys met what was deployed is looked at behind them."""
    journeys, wait_s = policy.journeys, _window_s(policy)

    async def observe(_: StepContext) -> Observed:
        return Observed("needed", "asked anew by every deploy")

    async def apply(_: StepContext) -> None:
        """Walking is the verification; there is nothing to change."""

    async def verify(context: StepContext) -> Observed:
        edge = await edge_url()
        if journeys and not edge:
            raise DodaiError(codes.JOURNEY_FAILED, "the edge does not serve, so no journey was walked", "", "provider")
        for journey in journeys:
            walked = await _walked(journey, partial(ports.browser, edge), wait_s, context)
            if not walked.ok:
                traced = codes.JOURNEY_FAILED.fix.en if walked.steps[-1].request_id else ""
                fix = NAME_ITS_ORIGIN if walked.asks_for_an_origin else traced
                raise DodaiError(codes.JOURNEY_FAILED, walked.problem, fix)
            context.note(f"{journey.name}: {counted(len(walked.steps), 'request')} as expected")
        served = await all_serve(context)
        return Observed("done", counted(len(journeys), "journey")) if served.state == "done" else served

    return Step(
        id="smoke",
        title=Text("the journeys go as the manifest says", "利用シナリオを実行"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=verify,
        timeout_s=60.0 + wait_s * len(journeys),
        inputs={"journeys": ", ".join(journey.name for journey in journeys)},
    )


def _window_s(policy: OperationsPolicy) -> float:
    """For how long a rate limit of the manifest may hold a journey back that should not fail for it; 0 for none."""
    windows = [one.window_s for one in policy.edge.limits.values()]
    return max((one for one in windows if one <= LONGEST_WAIT_S), default=0.0)


async def _walked(journey: Journey, visit: Callable[[], Browser], wait_s: float, context: StepContext) -> Walk:
    """Once more after `wait_s` where it was held back: so many deploys in a row are no fault of what was deployed."""
    walked = await walk(journey, visit())
    if walked.held_back and wait_s:
        context.note(f"{journey.name}: held back by a rate limit (429); once more in {wait_s:.0f} s")
        await asyncio.sleep(wait_s)
        walked = await walk(journey, visit())
    return walked
