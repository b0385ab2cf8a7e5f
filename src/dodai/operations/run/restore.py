"""Going back in time: the data of a restore point put back, for a release that does not fit the schema of now.

Everything written since the copy was made is lost to the application (the replaced data is kept beside it), so this is
never a part of a deploy or a rollback, only a plan of its own that a person asks for by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

from dodai.core.page import Text
from dodai.engine.plan import Observed, PlanRequest, Step, StepContext
from dodai.operations.policy import Service
from dodai.operations.ports import Compute, Instance, RestorePoints
from dodai.operations.release import ReleaseRecord
from dodai.operations.run.preflight import previous_releases

RESTORE = "restore"
Reopen = Callable[[Service, StepContext], Awaitable[None]]
"""Start what served before the plan again and give it the traffic."""


def fitting(points: Iterable[str], records: Iterable[ReleaseRecord], record: ReleaseRecord) -> str:
    """The newest restore point with the schema that `record` ran on; `""` when there is none.

    A point is named after the plan that made it before migrating, so its schema is that of the record before that plan.
    `points` and `records` are the newest first.
    """
    known = list(records)
    for point in points:
        before = next((one for one in known if _began(one.plan_id) < _began(point)), None)
        if before is not None and set(before.schema) == set(record.schema):
            return point
    return ""


def restore_steps(
    request: PlanRequest,
    compute: Compute,
    points: RestorePoints,
    services: Iterable[Service],
    reopen: Reopen,
    moving_s: Callable[[Service], float],
) -> list[Step]:
    """Nobody is served, then the data is put back; what starts afterwards is the plan of a rollback.

    `moving_s` is how long the traffic of a service may take to move when it is reopened.
    """
    chosen = tuple(services)
    again_s = sum(2 * one.drain_s + one.health.timeout_s + moving_s(one) for one in chosen)
    return [_close(request, compute, points, chosen, reopen, again_s), _put_back(request, points)]


def _close(
    request: PlanRequest,
    compute: Compute,
    points: RestorePoints,
    services: tuple[Service, ...],
    reopen: Reopen,
    again_s: float,
) -> Step:
    served = previous_releases(request.arguments)

    async def running(service: Service) -> list[Instance]:
        status = (await compute.status()).service(service.name)
        return [one for one in (status.instances if status else ()) if one.state != "exited"]

    async def observe(context: StepContext) -> Observed:
        if await points.is_back(context.plan_id):
            return Observed("done", "the data is back; what runs now belongs there")
        names = [service.name for service in services if await running(service)]
        if not names:
            return Observed("done", "nobody is served")
        return Observed("needed", f"still run: {', '.join(names)}", partial=len(names) < len(served))

    async def apply(context: StepContext) -> None:
        for service in reversed(services):
            for one in await running(service):
                await compute.under(context.fencing_token).stop(service.name, one.release, service.drain_s)

    async def undo(context: StepContext) -> None:
        for service in services:
            await reopen(service, context)

    return Step(
        id="close",
        title=Text("stop every service: people get 503 from here on", "全サービスを停止（ここから利用者には 503）"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        undo=undo,
        undo_title=Text("serve again what served before", "直前のリリースで提供を再開"),
        timeout_s=60.0 + again_s,
    )


def _put_back(request: PlanRequest, points: RestorePoints) -> Step:
    point = request.arguments[RESTORE]

    async def observe(context: StepContext) -> Observed:
        if await points.is_back(context.plan_id):
            return Observed("done", "this plan has put it back")
        there = await points.find(point)
        return Observed("needed", there) if there else Observed("blocked", f"there is no restore point `{point}`")

    async def apply(context: StepContext) -> None:
        kept = await points.put_back(point, context.plan_id, context.fencing_token)
        context.note(f"the data that was there is kept in {kept}")

    return Step(
        id="put-back",
        title=Text(f"put the data of {point} back", f"{point} のデータを書き戻す"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        on_failure="fix_forward",
        point_of_no_return=True,
        timeout_s=1800.0,
        inputs={RESTORE: point},
    )


def _began(plan_id: str) -> str:
    """The second a plan began, as its id says it: sorts like time."""
    return plan_id.partition("-")[2]
