"""Something that is stated in the journal and changes nothing else: a rehearsal, an approval, a broken glass."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dodai.core.page import Text
from dodai.engine.journal import Kind
from dodai.engine.plan import Observed, Plan, PlanRequest, Step, StepContext

STATEMENT = "statement"
"""The argument of a request that carries the words."""
KINDS: Mapping[str, Kind] = {"rehearse": "rehearsed", "approve": "approved", "break-glass": "glass_broken"}
"""Which kind of event each kind of plan writes."""
_TITLES = {
    "rehearse": Text("a rehearsal is on record", "リハーサルを記録"),
    "approve": Text("an approval is on record", "承認を記録"),
    "break-glass": Text("a broken glass is on record", "緊急解除を記録"),
}


def stated(kind: str, env: str, actor: str, words: Mapping[str, Any], *, release: str = "") -> PlanRequest:
    """The request to write `words` down."""
    return PlanRequest(kind, env, release, actor, arguments={STATEMENT: json.dumps(dict(words), sort_keys=True)})


def statement(
    request: PlanRequest,
    is_there: Callable[[StepContext], Awaitable[bool]],
    write: Callable[[StepContext, Kind, Mapping[str, Any]], Awaitable[None]],
) -> Plan:
    """The plan of one step that writes it, once: under the lock, in the chain, finished by a resume like any other."""

    async def observe(context: StepContext) -> Observed:
        return Observed("done" if await is_there(context) else "needed", "not on record yet")

    async def apply(context: StepContext) -> None:
        await write(context, KINDS[request.kind], json.loads(request.arguments[STATEMENT]))

    title = _TITLES[request.kind]
    step = Step(
        id="state",
        title=title,
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        on_failure="fix_forward",
        timeout_s=30.0,
    )
    return Plan(request, title, (step,))
