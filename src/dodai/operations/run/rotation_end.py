"""What is settled once the plan of a rotation is over, also of one that was taken back in part and so skipped steps."""

from __future__ import annotations

import asyncio

from dodai.core import proposal
from dodai.engine.plan import PlanRequest
from dodai.operations.environment import Environment
from dodai.operations.ports import Login
from dodai.operations.run.rotation import ROTATE, SECRET, forget_notes, store_of
from dodai.operations.run.secret_status import report_of
from dodai.operations.secret import DATABASE_LOGIN


async def settle_rotation(here: Environment, request: PlanRequest) -> str:
    """No noted value stays in the store, and no role but the one of now can sign in at the database.

    A role that a process may still use is left open; then a sentence says so, and what closes it. `""` otherwise, and
    for a plan of another kind.
    """
    if request.kind != ROTATE:
        return ""
    name = request.arguments[SECRET]
    forget_notes(store_of(name, here), request)
    if name != DATABASE_LOGIN or here.logins is None:
        return ""
    now = Login.of(here.secrets.get()[DATABASE_LOGIN])
    others = [role for role in here.config.database_roles if role != now.role]
    still = [role for role in others if not await asyncio.to_thread(here.logins.is_closed, role)]
    if not still:
        return ""
    report = await report_of(here)
    if report.unknown or report.stale:
        why = report.unknown or f"{', '.join(report.stale)} was started with another login than the one of now"
        closes = proposal.SECRETS_ROTATE(env=here.name, name=name)
        return f"`{', '.join(still)}` can still sign in at the database: {why}. The next rotation closes it: `{closes}`"
    for role in still:
        await asyncio.to_thread(here.logins.close, role)
    return ""
