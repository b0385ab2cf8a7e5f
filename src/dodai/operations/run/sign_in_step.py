"""The step that brings sign-in to what a file of the release says of it, and takes that back."""

from __future__ import annotations

from dodai.core.page import Text
from dodai.engine.plan import Observed, Step, StepContext
from dodai.operations.ports import DeclaredIdentity

TIMEOUT_S = 180.0
"""An undo may apply two texts, and a worker of the vendor takes its time for each. The client of the vendor repeats
calls; the step is not repeated, so that a vendor that is away is told after half a minute."""


def sign_in(identity: DeclaredIdentity) -> Step:
    """Done when the text is applied **and** sign-in was seen to be as the manifest says."""

    async def observe(context: StepContext) -> Observed:
        differs = await identity.differs()
        if not differs:
            return Observed("done", "as its file and the manifest say")
        return Observed("needed", "; ".join(differs), partial=identity.of_plan(context.plan_id).changed)

    async def apply(context: StepContext) -> None:
        for said in await identity.differs():
            context.note(said)
        await identity.of_plan(context.plan_id).apply()

    async def undo(context: StepContext) -> None:
        if await identity.of_plan(context.plan_id).back():
            context.note("sign-in is as it was before")

    return Step(
        id="sign-in",
        title=Text("sign-in is as its file and the manifest say", "サインインがファイルとマニフェストのとおりである"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        undo=undo,
        undo_title=Text("sign-in as it was before", "サインインを変更前の状態に戻す"),
        timeout_s=TIMEOUT_S,
    )
