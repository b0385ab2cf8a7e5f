"""Relief of a rate limit: for a while it holds nobody back, by a plan, and then it holds again by itself.

The moment is a part of what the edge serves, so nothing has to run for it to end; plans until then keep it.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from pathlib import Path

from dodai.core import codes as core
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.core.suggestion import did_you_mean
from dodai.engine.moment import utc
from dodai.engine.plan import Observed, Plan, PlanRequest, Step, StepContext
from dodai.engine.private_file import write_private
from dodai.operations import codes
from dodai.operations.environment import Environment
from dodai.operations.policy import EdgeLimit
from dodai.operations.ports import Edge, EdgeSpec, KeptEdge, RateLimit

RELIEVE, LIMIT, UNTIL, REASON = "relieve", "limit", "until", "reason"
"""The kind of the plan, and the arguments of its request."""
NAME = "relief.json"
SHORTEST_S, LONGEST_S = 1.0, 86_400.0


def standing_reliefs(folder: Path, now_s: float | None = None) -> dict[str, float]:
    """Until when each limit is relieved, of those that still are. What cannot be read relieves nothing."""
    now_s = time.time() if now_s is None else now_s
    with contextlib.suppress(OSError, ValueError, AttributeError, TypeError):
        known = json.loads((folder / NAME).read_bytes())
        return {str(limit): float(until) for limit, until in known.items() if float(until) > now_s}
    return {}


async def relief_arguments(here: Environment, release: str, limit: str, for_s: float, reason: str) -> dict[str, str]:
    """The arguments of a request for it. DOD051 for no such limit in the release, DOD570 where the edge has none.

    What a vendor's edge could not do of it, it says here, before there is a plan.
    """
    limits = here.released(release).policy.edge.limits
    if limit not in limits:
        fix = did_you_mean(limit, limits) if limits else "declare one: `[edge.limit.NAME]`"
        raise DodaiError(core.UNKNOWN_WORD, f"`{release}` has no rate limit `{limit}`", fix, exit_code=2)
    state = await here.edge.observe()
    if not state.limits:
        said = f"the edge of `{here.name}` holds nobody back: there is nothing to relieve"
        raise DodaiError(codes.NO_RATE_LIMITS, said, codes.NO_RATE_LIMITS.fix.en, exit_code=1)
    until_s = round(time.time() + for_s)
    if isinstance(here.edge, KeptEdge):  # Cloudflare's plan may have no clock for rules
        await here.edge.possible(EdgeSpec(routes=(), limits=(rate_limit(limits[limit], float(until_s)),)))
    return {LIMIT: limit, UNTIL: f"{until_s}", REASON: reason}


def rate_limit(one: EdgeLimit, relieved_until_s: float) -> RateLimit:
    """What the edge is told of a limit of the manifest."""
    return RateLimit(
        name=one.name,
        path=one.path,
        methods=tuple(method.upper() for method in one.methods),
        requests=one.requests,
        window_s=one.window_s,
        relieved_until_s=relieved_until_s,
    )


def relieved(request: PlanRequest, folder: Path) -> dict[str, float]:
    """Every relief that stands once the plan is carried out."""
    return {**standing_reliefs(folder), request.arguments[LIMIT]: float(request.arguments[UNTIL])}


def relieve(request: PlanRequest, folder: Path, edge: Edge, spec: EdgeSpec) -> Plan:
    """The plan of one step: the edge serves `spec`, in which the limit holds nobody back until its moment."""
    limit, until_s = request.arguments[LIMIT], float(request.arguments[UNTIL])

    async def observe(_: StepContext) -> Observed:
        state = await edge.observe()
        same = not state.differs if state.serves is None else state.serves == spec
        if standing_reliefs(folder, until_s - 1).get(limit) == until_s and same:
            return Observed("done", f"`{limit}` holds nobody back until {utc(until_s)}")
        return Observed("needed", f"`{limit}` is not relieved yet")

    async def apply(context: StepContext) -> None:
        _remember(folder, relieved(request, folder))
        await edge.under(context.fencing_token).apply(spec)
        context.note(f"until {utc(until_s)}: {request.arguments[REASON]}")

    step = Step(
        id="relieve",
        title=Text(f"`{limit}` holds nobody back for a while", f"`{limit}` の制限を一時的に解除"),
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        on_failure="fix_forward",
        timeout_s=120.0,
    )
    title = Text(
        f"relieve `{limit}` of {request.env} until {utc(until_s)}",
        f"{request.env} の `{limit}` の制限を {utc(until_s)} まで解除",
    )
    return Plan(request, title, (step,))


def _remember(folder: Path, reliefs: Mapping[str, float]) -> None:
    write_private(folder / NAME, json.dumps(dict(reliefs), sort_keys=True).encode())
