"""The only place that executes a Plan: forward step by step, back in reverse order, resumable after a crash anywhere.

The state of a step is the last thing the journal says about it (`record.Mark`). Running and resuming share that: a live
run sets a mark by writing the event, a resume reads the marks back, and whatever a mark leaves unclear is looked at
again before anything is done.

    intent -> observe -> already
                      -> applying -> applied -> done             going forward, one step after the other
    turning_back -> (cleared | undoing -> undone | undo_failed | kept) for each, newest first
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import field, replace
from datetime import UTC, datetime
from typing import TypeVar

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine import codes
from dodai.engine.attempt import (
    Context,
    CutError,
    blocked,
    bounded,
    explain,
    in_time,
    observe,
    retrying,
    scrub,
    step_error,
    take_back,
)
from dodai.engine.journal import Journal
from dodai.engine.lease import Lease, holding
from dodai.engine.outcome import Cause, End, Outcome, SilentSink, Sink
from dodai.engine.plan import EndState, Meant, Plan, PlanRequest, Step, StepContext
from dodai.engine.record import OURS, Clock, HaltError, Recorder, fold, stamp
from dodai.engine.stop import CUT_STEP, FINISH_STEP, LEAVE, Stop

T = TypeVar("T")
LOOK_S = 30.0
"""What is coming back by itself is waited for no longer than this."""
Build = Callable[[PlanRequest], Plan]
Confirm = Callable[[Step], Awaitable[bool]]


class SystemClock:
    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


async def execute(
    plan: Plan,
    journal: Journal,
    lease: Lease,
    *,
    sink: Sink | None = None,
    clock: Clock | None = None,
    stop: Stop | None = None,
    confirm: Confirm | None = None,
    plan_id: str = "",
) -> Outcome:
    """How the plan ended. Takes the lease, writes the request down, then changes the world.

    Raises `DodaiError` only before the first change: DOD350 (locked, 75), DOD352-354 (journal), DOD355 (another plan
    is unfinished). `confirm` asks a person to do a `manual` step. Cancelling the task leaves the plan unfinished.
    """
    clock = clock or SystemClock()
    plan.ordered()  # a malformed plan fails here, before anything is written
    async with holding(journal, lease):
        plan_id = plan_id or _new_id(plan, clock.now())
        await journal.begin(plan_id, plan, token=lease.token, at=stamp(clock))
        return await _run(plan, plan_id, journal, lease, sink, clock, stop, confirm).to_the_end(
            mode="run", actor=lease.actor
        )


async def resume(
    journal: Journal,
    lease: Lease,
    env: str,
    build: Build,
    *,
    undo: bool = False,
    sink: Sink | None = None,
    clock: Clock | None = None,
    stop: Stop | None = None,
    confirm: Confirm | None = None,
) -> Outcome:
    """How the unfinished plan of `env` ended, this time.

    The plan is rebuilt from the journalled request. One that was going back goes on going back; any other goes forward,
    or back with `undo`. Raises as `execute` does, and DOD357 (exit 1: nothing unfinished), DOD356 (another plan).
    """
    async with holding(journal, lease):
        entry = await journal.unfinished(env)
        if entry is None:
            message, fix = f"no plan of `{env}` is unfinished", f"nothing to do; see `{proposal.HISTORY(env=env)}`"
            raise DodaiError(codes.NOTHING_UNFINISHED, message, fix, exit_code=1)
        plan = build(entry.request)
        if plan.hash != entry.plan_hash:
            raise _another_plan(entry.plan_hash, plan)
        run = _run(plan, entry.plan_id, journal, lease, sink, clock or SystemClock(), stop, confirm)
        marks, cause = fold(await journal.events(entry.plan_id))
        run.recorder.recall(marks)
        asked = Cause("requested", 0, message=f"undo asked for after {entry.state or 'a crash'}")
        run.cause = cause or (asked if undo else None)
        return await run.to_the_end(mode="undo" if undo else "resume", actor=lease.actor)


@dataclass(slots=True)
class _Run:
    plan: Plan
    recorder: Recorder
    stop: Stop
    confirm: Confirm | None
    cause: Cause | None = None
    started_at: float = field(init=False)
    _found: dict[str, str] = field(default_factory=dict, init=False)
    """What was seen of the steps that had nothing to do."""

    def __post_init__(self) -> None:
        self.started_at = self.recorder.clock.monotonic()

    @property
    def steps(self) -> tuple[Step, ...]:
        return tuple(self.recorder.steps)

    async def to_the_end(self, *, mode: str, actor: str) -> Outcome:
        """The outcome, also when the journal or the lease was lost on the way: then nothing more was changed."""
        try:
            await self.recorder.log("attempt", mode=mode, actor=actor)
            return await self._there_or_back()
        except HaltError as halt:
            self.recorder.leave(going_back=self.cause is not None)
            code = 75 if halt.error.exit_code == 75 else 4
            return self._outcome("needs_person", code, closed=False, halted_by=halt.error)

    async def _there_or_back(self) -> Outcome:
        """Forward until something stops us, then back; `cause` is set from the start when that was decided before."""
        try:
            self.cause = self.cause or await self._forward()
            return await (self._backward(self.cause) if self.cause else self._arrived())
        except CutError:
            self.recorder.leave(going_back=True)
            return await self._halt("interrupted", self.stop.exit_code, turned=False)

    # Forward

    async def _forward(self) -> Cause | None:
        for step in self.steps:
            if self.stop.count >= FINISH_STEP:
                return await self._interrupted(step)
            if cause := await self._advance(step):
                return cause
        return None

    async def _advance(self, step: Step) -> Cause | None:
        """Bring one step about; what stopped it, or None."""
        await self.recorder.log("intent", step)
        with self.recorder.timed(step, undoing=False) as ended:
            try:
                await self._bounded(step, self._bring_about, CUT_STEP)
            except CutError:
                ended("failed", "cut short by a signal")
                return await self._interrupted(step)
            except Exception as raised:  # noqa: BLE001 - whatever a step raises is its failure
                error = explain(step, raised)
                ended("failed", error.message)
                await self.recorder.log("failed", step, code=error.code.id, message=error.message)
                return Cause("failed", self._failed_code(error), step.id, error.message, error)
            if self.recorder.marks[step.id] == "already":
                ended("already", self._found.get(step.id, ""))
            else:
                ended("done")
        return None

    def _failed_code(self, error: DodaiError) -> int:
        """1 when a gate refused before the first change, else 3; 4 is for a way back that fails."""
        gate = error.exit_code == 1 and error.code.found == "run time"
        return 1 if gate and not any(self.recorder.changed(step) for step in self.steps) else 3

    async def _bring_about(self, step: Step, context: StepContext) -> None:
        async def once(_attempt: int) -> None:
            seen = await step.observe(context)
            in_time(step, context)
            if seen.state == "blocked":
                raise blocked(step, seen.detail)
            if seen.state == "needed":
                await self._apply(step, context)
            elif self.recorder.marks.get(step.id) not in OURS:
                await self.recorder.log("already", step)
                self._found[step.id] = seen.detail
                return
            await self._verify(step, context)

        await retrying(step, context, once)

    async def _apply(self, step: Step, context: StepContext) -> None:
        if step.manual and self.confirm and not await self.confirm(step):
            raise step_error(codes.STEP_DECLINED, step, "was not confirmed", f"do it: {step.manual.en}")
        await self.recorder.still_ours()
        await self.recorder.log("applying", step)
        try:
            await step.apply(context)
        except DodaiError as error:
            if error.reply != "ambiguous" or (await step.observe(context)).state != "done":
                raise
            context.note(f"no clear answer ({error.message}), but it is there")
        await self.recorder.log("applied", step)
        in_time(step, context)

    async def _verify(self, step: Step, context: StepContext) -> None:
        proof = await step.verify(context)
        if proof.state != "done":
            what = f"was carried out but is not verified: {proof.detail or proof.state}"
            raise step_error(codes.STEP_UNVERIFIED, step, what, "resolve the named reason")
        await self.recorder.log("done", step)

    async def _interrupted(self, step: Step) -> Cause:
        name = "SIGINT" if self.stop.exit_code == 130 else "a signal"
        message = f"interrupted by {name} at step `{step.id}`"
        await self.recorder.log("interrupted", step, message=message)
        return Cause("interrupted", self.stop.exit_code, step.id, message)

    async def _arrived(self) -> Outcome:
        """Every step is verified. A signal during the last step came too late to stop anything."""
        untouched = all(self.recorder.marks[step.id] == "already" for step in self.steps)
        seen = await self._look("after")
        if seen and not seen.as_meant:
            return await self._halt("needs_person", 4, turned=False, seen=seen)
        return await self._close("already" if untouched else "ok", 0, seen)

    # Back

    async def _backward(self, cause: Cause) -> Outcome:
        """Undo what this plan changed, newest first, up to what cannot or must not be undone."""
        await self.recorder.log("turning_back", **cause.as_data())
        for step in self.steps:
            await self._settle(step)
        no_return = self._no_return()
        barrier = ""
        rested_on: dict[str, str] = {}  # step -> the one above it that could not be undone
        for number, step in reversed(list(enumerate(self.steps))):
            if not self.recorder.changed(step):
                continue
            if number >= no_return or step.on_failure == "fix_forward":
                barrier = barrier or step.id
            if barrier:
                await self._keep(step, "cannot be undone" if step.id == barrier else f"not undone past {barrier}")
            elif step.id in rested_on:
                await self._keep(step, f"{rested_on[step.id]} rests on it")
            elif not await self._undo(step):
                rested_on |= dict.fromkeys(self.plan.ancestors(step.id), step.id)
        return await self._gone_back(cause)

    async def _gone_back(self, cause: Cause) -> Outcome:
        """The end of the way back: closed when nothing of the plan is left, or nothing that could ever be undone."""
        results = {record.result for record in self.recorder.records.values()}
        if not results & {"remains", "undo_failed"}:
            return await self._as_before(cause)
        if "undo_failed" in results or cause.kind == "failed":
            return await self._halt("needs_person", 4, turned=True)
        if cause.kind == "interrupted":
            return await self._halt("interrupted", cause.exit_code, turned=True)
        return await self._close("needs_person", 4)

    async def _as_before(self, cause: Cause) -> Outcome:
        """Nothing of the plan is left; whether the world is as it was before is seen, not concluded."""
        refused = cause.exit_code == 1
        seen = None if refused else await self._look("before")
        if seen and not seen.as_meant:
            return await self._close("needs_person", 4, seen)
        ended: End = "refused" if refused else "interrupted" if cause.kind == "interrupted" else "restored"
        return await self._close(ended, cause.exit_code, seen)

    async def _look(self, meant: Meant) -> EndState | None:
        """How the world stands now; a look that fails or takes too long saw nothing, and says so."""
        if self.plan.afterwards is None:
            return None
        try:
            async with asyncio.timeout(LOOK_S):
                return await self.plan.afterwards(meant)
        except Exception as raised:  # noqa: BLE001 - whatever it is, nothing was seen
            words = scrub(str(raised)) or f"no answer within {LOOK_S:g} s"
            return EndState(
                False, f"how it stands could not be seen: {words}", proposal.STATUS(env=self.plan.request.env)
            )

    async def _settle(self, step: Step) -> None:
        """Settle an unclear step: when a look shows that nothing of it is there, there is nothing to undo."""
        if self.recorder.unclear(step) and await self._is_absent(step):
            was_undone = self.recorder.marks[step.id] in ("undoing", "undo_failed")
            await self.recorder.log("undone" if was_undone else "cleared", step)
            if was_undone:
                self.recorder.ended(step, "undone")

    async def _is_absent(self, step: Step) -> bool:
        """False also when the look itself fails: what cannot be seen may be there."""
        try:
            return (await self._bounded(step, observe, LEAVE)).absent
        except Exception as raised:  # noqa: BLE001
            self.recorder.note(step, f"cannot be observed: {raised}")
            return False

    async def _undo(self, step: Step) -> bool:
        await self.recorder.still_ours()
        await self.recorder.log("undoing", step)
        with self.recorder.timed(step, undoing=True) as ended:
            try:
                await self._bounded(step, take_back, LEAVE)
            except Exception as raised:  # noqa: BLE001
                if not await self._is_absent(step):  # an unclear reply is settled by a look, never by the reply
                    detail = f"undo failed: {explain(step, raised).message}"
                    ended("undo_failed", detail)
                    await self.recorder.log("undo_failed", step, message=detail)
                    return False
            await self.recorder.log("undone", step)
            ended("undone")
        return True

    async def _keep(self, step: Step, reason: str) -> None:
        await self.recorder.log("kept", step, message=reason)
        self.recorder.ended(step, "remains", reason)

    def _no_return(self) -> int:
        """The number of the first step that may not be undone because a point of no return was passed."""
        passed = (n for n, s in enumerate(self.steps) if s.point_of_no_return and self.recorder.marks.get(s.id) in OURS)
        return next(passed, len(self.steps))

    # Both ways

    async def _bounded(self, step: Step, work: Callable[[Step, StepContext], Awaitable[T]], cut_at: int) -> T:
        request = self.plan.request
        context = Context(
            plan_id=self.recorder.plan_id,
            step_id=step.id,
            env=request.env,
            actor=request.actor,
            fencing_token=self.recorder.lease.token,
            ends_at=asyncio.get_running_loop().time() + step.timeout_s,
            say=lambda text: self.recorder.note(step, text),
        )
        return await bounded(step, context, self.stop, cut_at, work)

    async def _close(self, state: End, exit_code: int, seen: EndState | None = None) -> Outcome:
        told = {"seen": seen.words} if seen else {}
        await self.recorder.log("closed", state=state, exit_code=exit_code, **told)
        return replace(self._outcome(state, exit_code, closed=True), seen=seen)

    async def _halt(self, state: End, exit_code: int, *, turned: bool, seen: EndState | None = None) -> Outcome:
        """End the attempt, not the plan. `turned`: the way back was gone to its end, a resume may go either way."""
        settled = turned and self.recorder.only_verified_remains()
        told = {"seen": seen.words} if seen else {}
        await self.recorder.log("halted", state=state, exit_code=exit_code, turned=turned, settled=settled, **told)
        return replace(self._outcome(state, exit_code, closed=False), settled=settled, seen=seen)

    def _outcome(self, state: End, exit_code: int, *, closed: bool, halted_by: DodaiError | None = None) -> Outcome:
        records = tuple(self.recorder.records[step.id] for step in self.steps)
        seconds = self.recorder.clock.monotonic() - self.started_at
        plan_id = self.recorder.plan_id
        return Outcome(self.plan, plan_id, state, exit_code, records, seconds, closed, self.cause, halted_by)


def _run(
    plan: Plan,
    plan_id: str,
    journal: Journal,
    lease: Lease,
    sink: Sink | None,
    clock: Clock,
    stop: Stop | None,
    confirm: Confirm | None,
) -> _Run:
    recorder = Recorder(plan_id, plan.request.env, plan.ordered(), journal, lease, sink or SilentSink(), clock)
    return _Run(plan, recorder, stop or Stop(), confirm)


def _another_plan(journalled: str, plan: Plan) -> DodaiError:
    env, mine = plan.request.env, plan.short_hash
    return DodaiError(
        codes.PLAN_CHANGED,
        f"the journal of `{env}` holds plan `{journalled[:12]}`, this dodai builds `{mine}` from it",
        "resume with the dodai version that started it",
        exit_code=4,
    )


def _new_id(plan: Plan, now: datetime) -> str:
    return f"{plan.request.kind}-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
