"""Stopping an environment: under the lock, on record, and only called stopped once nothing of it runs."""

from __future__ import annotations

from functools import partial

from dodai.core import proposal
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.plan import EndState, Meant, Observed, Plan, PlanRequest, Step, StepContext
from dodai.operations import codes
from dodai.operations.ports import Host, HostStatus

DOWN = "down"
STOPPED = "nothing of it runs"


def down(request: PlanRequest, host: Host) -> Plan:
    """The plan of one step that ends everything; its data stays, and nothing comes back by itself.

    It may be carried out while another plan is unfinished: that one stays so, to be finished or taken back.
    """

    async def observe(_: StepContext) -> Observed:
        status = await host.status()
        return Observed("needed", still_runs(status), partial=True) if still_runs(status) else Observed("done", STOPPED)

    async def apply(context: StepContext) -> None:
        await host.under(context.fencing_token).down()

    step = Step(
        id="stop",
        title=Text("stop services, edge and database", "サービス、エッジ、データベースを停止"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        on_failure="fix_forward",
        timeout_s=90.0,
    )
    title = Text(f"stop {request.env}", f"{request.env} を停止")
    return Plan(request, title, (step,), afterwards=partial(_seen, host), beside=True)


def still_runs(status: HostStatus) -> str:
    """What of it runs, may run or will come back; `""` when nothing does."""
    if status.unknown:
        return status.unknown
    if status.running:
        return "it runs"
    return "it would come back by itself" if status.comes_back else ""


def refuse_foreign(status: HostStatus) -> None:
    """DOD381 (exit 1) for an environment of another user: nothing is known of it, so nothing is done to it."""
    if status.owner:
        said = f"`{status.env}` belongs to the user `{status.owner}`: whether it runs cannot be seen from here"
        fix = codes.OTHER_USER.fix.en.replace("USER", status.owner)
        raise DodaiError(codes.OTHER_USER, said, fix, exit_code=1)


async def _seen(host: Host, _: Meant) -> EndState:
    status = await host.status()
    left = still_runs(status)
    return EndState(not left, left or STOPPED, proposal.DOWN(env=status.env) if left else "")
