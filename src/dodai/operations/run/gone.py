"""A service that served and that the release of a plan has no more: nothing else would ever end it."""

from __future__ import annotations

from dodai.core.page import Text
from dodai.engine.plan import Observed, Step, StepContext
from dodai.operations.policy import Service
from dodai.operations.ports import Compute
from dodai.operations.run.service_steps import CALLS
from dodai.operations.run.serving import running


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
