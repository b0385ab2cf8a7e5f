"""One step function at work: within its deadline, cut short by signals, tried again only where that can help."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError, Fault
from dodai.core.extras import missing_extra
from dodai.engine import codes
from dodai.engine.plan import Observed, Step, StepContext
from dodai.engine.stop import Stop

T = TypeVar("T")
_PASSWORD = re.compile(r"(://[^:/@\s]*:)[^@\s]+(?=@)")


@dataclass(frozen=True, slots=True)
class Context:
    """The `StepContext` that step functions get."""

    plan_id: str
    step_id: str
    env: str
    actor: str
    fencing_token: int
    ends_at: float
    say: Callable[[str], None]

    def remaining_s(self) -> float:
        return max(0.0, self.ends_at - asyncio.get_running_loop().time())

    def note(self, text: str) -> None:
        self.say(text)


class CutError(BaseException):
    """A signal cut a step short. Not an `Exception`: it is no failure of the step."""


async def bounded(
    step: Step, context: Context, stop: Stop, cut_at: int, work: Callable[[Step, StepContext], Awaitable[T]]
) -> T:
    """What `work` returns by the context's deadline; DOD370 when it is late, `CutError` at stop request `cut_at`."""
    try:
        async with asyncio.timeout_at(context.ends_at) as deadline:
            with stop.cutting(deadline, cut_at, context.note):
                return await work(step, context)
    except TimeoutError:
        if not deadline.expired():
            raise
        if stop.count >= cut_at:
            raise CutError from None
        raise late(step) from None


async def retrying(step: Step, context: StepContext, once: Callable[[int], Awaitable[None]]) -> None:
    """Call `once(attempt)` until it works or the budget is spent; what was rejected is not tried again."""
    for attempt in range(1, step.retry.attempts + 1):
        try:
            await once(attempt)
        except DodaiError as error:
            wait_s = float(error.data.get("retry_after_s", step.retry.wait_s))
            if error.reply == "rejected" or attempt == step.retry.attempts or wait_s >= context.remaining_s():
                raise
            context.note(f"try {attempt} of {step.retry.attempts}: {error.message}; again in {wait_s:g} s")
            await asyncio.sleep(wait_s)
        else:
            return


async def observe(step: Step, context: StepContext) -> Observed:
    return await step.observe(context)


async def take_back(step: Step, context: StepContext) -> None:
    """Undo and see that it is gone; a repeated try looks first, so that nothing is undone twice."""
    undo = step.undo
    if undo is None:
        return

    async def once(attempt: int) -> None:
        if attempt > 1 and (await step.observe(context)).absent:
            return
        await undo(context)
        seen = await step.observe(context)
        if seen.state == "done" or seen.partial:
            what = f"is still there after undo: {seen.detail or seen.state}"
            raise step_error(codes.UNDO_FAILED, step, what, "take it back by hand")

    await retrying(step, context, once)


def in_time(step: Step, context: StepContext) -> None:
    """Raise DOD370 past the deadline: a step function that swallowed its cancellation gets no successor."""
    if context.remaining_s() <= 0:
        raise late(step)


def late(step: Step) -> DodaiError:
    return step_error(
        codes.STEP_TIMED_OUT, step, f"did not end within {step.timeout_s:g} s", "see what it waits for", "provider"
    )


def blocked(step: Step, detail: str) -> DodaiError:
    return step_error(codes.STEP_BLOCKED, step, f"is blocked: {detail}", "resolve the named reason", exit_code=1)


def explain(step: Step, raised: Exception) -> DodaiError:
    """What a step raised, as a coded error that names the step, fit for journal and terminal."""
    if isinstance(raised, ModuleNotFoundError):
        raised = missing_extra(raised) or raised
    if not isinstance(raised, DodaiError):
        what = f"failed: {type(raised).__name__}: {raised}" if str(raised) else f"failed: {type(raised).__name__}"
        return step_error(codes.STEP_FAILED, step, scrub(what), "resolve the cause", "dodai")
    named = f"step `{step.id}`" in raised.message
    message = scrub(raised.message if named else f"step `{step.id}` failed: {raised.message}")
    details = tuple(scrub(line) for line in raised.details)
    return replace(raised, message=message, fix=scrub(raised.fix), details=details)


def scrub(text: str) -> str:
    """`text` without the passwords of URLs: libraries put whole connection strings into their errors."""
    return _PASSWORD.sub(r"\1***", text)


def step_error(code: Code, step: Step, what: str, fix: str, fault: Fault = "user", *, exit_code: int = 3) -> DodaiError:
    return DodaiError(code, f"step `{step.id}` {what}", fix, fault, exit_code)
