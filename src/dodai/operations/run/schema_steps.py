"""The steps around a change of the schema and of what serves: a restore point, whether a rollback fits, the record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.plan import Observed, PlanRequest, Step, StepContext
from dodai.operations import codes
from dodai.operations.policy import Service
from dodai.operations.ports import Compute, RestorePoints
from dodai.operations.release import Book, ReleaseRecord, Schema, Verdict, evaluate_rollback, find
from dodai.operations.run.service_steps import CALLS
from dodai.operations.run.serving import running

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

    async def runs() -> tuple[tuple[str, str], ...]:
        status = (await running(compute)).service(name)
        instances = status.instances if status else ()
        return tuple(dict.fromkeys((one.release, one.settings) for one in instances if one.state != "exited"))

    async def observe(_: StepContext) -> Observed:
        left = ", ".join(release for release, _ in await runs())
        return Observed("needed", f"still runs {left}") if left else Observed("done")

    async def apply(context: StepContext) -> None:
        for old, settings in await runs():
            await compute.under(context.fencing_token).stop(name, old, drain_s, settings=settings)

    return Step(
        id=f"retire-{name}",
        title=Text(f"drain and stop {name}, which is no more", f"なくなった {name} の処理を終えて停止"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        on_failure="fix_forward",
        timeout_s=drain_s + 15.0,
        retry=CALLS,
        inputs={"release": release},
        point_of_no_return=True,
    )
