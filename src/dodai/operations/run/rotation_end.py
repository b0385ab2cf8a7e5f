"""What is settled once the plan of a rotation is over, also of one that was taken back in part and so skipped steps."""

from __future__ import annotations

import asyncio

from dodai.core import proposal
from dodai.engine.plan import PlanRequest
from dodai.operations.environment import Environment
from dodai.operations.ports import Login, Logins
from dodai.operations.run.rotation import NONCE, ROTATE, SECRET, forget_notes, store_of
from dodai.operations.run.secret_status import report_of
from dodai.operations.secret import DATABASE_LOGIN, RotationState

AT_ONCE = "--now"
"""The word of a command for a value that is compromised."""


async def settle_rotation(here: Environment, request: PlanRequest) -> str:
    """No noted value stays in the store, and no role but the one of now can sign in at the database.

    Sentences about what is left: a compromised value that still works, because the change was taken back; a role that
    a process may still use, and so is left open. `""` otherwise, and for a plan of another kind.
    """
    if request.kind != ROTATE:
        return ""
    name, left = request.arguments[SECRET], []
    store = store_of(name, here)
    state = RotationState.read(store.get(), name)
    if AT_ONCE in request.command.split() and (state is None or state.nonce != request.arguments[NONCE]):
        said = f"the old value of `{name}` was to stop working at once, and still works"
        left.append(f"{said}: `{request.command}` once that can be, or `{proposal.DOWN(env=here.name)}` until then")
    forget_notes(store, request)
    if name == DATABASE_LOGIN and here.logins is not None:
        left.append(await _close_other_roles(here, here.logins))
    return "; ".join(filter(None, left))


async def _close_other_roles(here: Environment, logins: Logins) -> str:
    """Why a role but the one of now can still sign in, and what closes it; `""` when none can."""
    now = Login.of(here.secrets.get()[DATABASE_LOGIN])
    others = [role for role in here.config.database_roles if role != now.role]
    still = [role for role in others if not await asyncio.to_thread(logins.is_closed, role)]
    if not still:
        return ""
    report = await report_of(here)
    if report.unknown or report.stale:
        why = report.unknown or f"{', '.join(report.stale)} was started with another login than the one of now"
        closes = proposal.SECRETS_ROTATE(env=here.name, name=DATABASE_LOGIN)
        return f"`{', '.join(still)}` can still sign in at the database: {why}. The next rotation closes it: `{closes}`"
    for role in still:
        await asyncio.to_thread(logins.close, role)
    return ""
