"""The only place that executes a Plan: forward step by step, back in reverse order, resumable after a crash anywhere.

The state of a step is the last thing the journal says about it (`Mark`). Running and resuming share that one table: a
live run sets a mark by writing the event, a resume reads the marks back, and whatever a mark leaves unclear is looked
at again before anything is done.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, Protocol, TypeVar, get_args

from dodai.core.errors import Code, DodaiError, Fault
from dodai.engine import codes
from dodai.engine.journal import Event, Journal, Kind
from dodai.engine.lease import Lease
from dodai.engine.outcome import Cause, End, Outcome, Result, SilentSink, Sink, StepRecord
from dodai.engine.plan import Observed, Plan, PlanRequest, Step, StepContext
from dodai.engine.stop import CUT_STEP, FINISH_STEP, LEAVE, Stop

T = TypeVar("T")
Mark = Literal["already", "applying", "applied", "done", "cleared", "undoing", "undone", "undo_failed"]
MARKS: frozenset[str] = frozenset(get_args(Mark))
UNCLEAR: frozenset[str] = frozenset({"applying", "undoing", "undo_failed"})
"""The world may or may not have changed: look before acting."""
OURS: frozenset[str] = UNCLEAR | {"applied", "done"}
"""This plan changed something, or may have."""

Build = Callable[[PlanRequest], Plan]
Confirm = Callable[[Step], Awaitable[bool]]


class Clock(Protocol):
    def now(self) -> datetime:
        """The time of day, UTC, for the journal."""
        ...

    def monotonic(self) -> float:
        """Seconds, for durations."""
        ...


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
    plan.ordered()
    async with _holding(journal, lease):
        plan_id = plan_id or _new_id(plan, clock.now())
        await journal.begin(plan_id, plan, token=lease.token, at=_stamp(clock))
        run = _Run(plan, plan_id, journal, lease, sink or SilentSink(), clock, stop or Stop(), confirm)
        return await run.to_the_end(None, mode="run")


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
    async with _holding(journal, lease):
        entry = await journal.unfinished(env)
        if entry is None:
            raise DodaiError(
                codes.NOTHING_UNFINISHED, f"no plan of `{env}` is unfinished", f"dodai history {env}", exit_code=1
            )
        plan = build(entry.request)
        if plan.hash != entry.plan_hash:
            raise _another_plan(entry.plan_hash, plan)
        marks, cause = _fold(await journal.events(entry.plan_id))
        run = _Run(
            plan, entry.plan_id, journal, lease, sink or SilentSink(), clock or SystemClock(), stop or Stop(), confirm
        )
        run.marks.update(marks)
        if undo and cause is None:
            cause = Cause("requested", 0, message=f"undo asked for after {entry.state or 'a crash'}")
        return await run.to_the_end(cause, mode="undo" if undo else "resume")


@dataclass(frozen=True, slots=True)
class _Context:
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


class _HaltError(BaseException):
    """The journal or the lease is gone: no further change may be made. Not an `Exception`, so no step swallows it."""

    def __init__(self, error: DodaiError) -> None:
        super().__init__(error)
        self.error = error


class _CutError(BaseException):
    """A signal cut a step short."""


@dataclass(slots=True)
class _Run:
    plan: Plan
    plan_id: str
    journal: Journal
    lease: Lease
    sink: Sink
    clock: Clock
    stop: Stop
    confirm: Confirm | None
    steps: tuple[Step, ...] = field(init=False)
    marks: dict[str, str] = field(default_factory=dict)
    records: dict[str, StepRecord] = field(init=False)
    notes: list[tuple[str, str]] = field(default_factory=list)
    started_at: float = field(init=False)

    def __post_init__(self) -> None:
        self.steps = self.plan.ordered()
        self.records = {step.id: StepRecord(step.id, step.title) for step in self.steps}
        self.started_at = self.clock.monotonic()

    async def to_the_end(self, cause: Cause | None, *, mode: str) -> Outcome:
        """Forward until something stops us, then back; `cause` is given when the way back was decided before."""
        try:
            await self._log("attempt", data={"mode": mode, "actor": self.plan.request.actor})
            cause = cause or await self._forward()
            return await (self._backward(cause) if cause else self._arrived())
        except _HaltError as halt:
            self._leave(going_back=cause is not None)
            code = 75 if halt.error.exit_code == 75 else 4
            return self._outcome("needs_person", code, closed=False, cause=cause, halted_by=halt.error)
        except _CutError:
            self._leave(going_back=True)
            await self._log("halted", data={"state": "interrupted", "exit_code": self.stop.exit_code, "settled": False})
            return self._outcome("interrupted", self.stop.exit_code, closed=False, cause=cause)

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
        await self._log("intent", step)
        with self._timed(step, undoing=False) as record:
            try:
                await self._bounded(step, self._bring_about, CUT_STEP)
            except _CutError:
                record("failed", "cut short by a signal")
                return await self._interrupted(step)
            except Exception as raised:  # noqa: BLE001 - whatever a step raises is its failure
                error = _explain(step, raised)
                record("failed", error.message)
                await self._log("failed", step, data={"code": error.code.id, "message": error.message})
                return Cause("failed", 3, step.id, error.message, error)
            record("already" if self.marks[step.id] == "already" else "done")
        return None

    async def _bring_about(self, step: Step, context: StepContext) -> None:
        await self._retrying(step, context, self._try)

    async def _try(self, step: Step, context: StepContext, attempt: int) -> None:  # noqa: ARG002 - each try looks anew
        seen = await step.observe(context)
        if seen.state == "blocked":
            raise _step_error(codes.STEP_BLOCKED, step, f"is blocked: {seen.detail}", "mend the named reason")
        if seen.state == "needed":
            await self._still_ours()
            await self._log("applying", step)
            await self._apply(step, context)
            await self._log("applied", step)
        elif self.marks.get(step.id) not in OURS:
            await self._log("already", step)
            return
        proof = await step.verify(context)
        if proof.state != "done":
            what = f"was carried out but is not verified: {proof.detail or proof.state}"
            raise _step_error(codes.STEP_UNVERIFIED, step, what, "mend the named reason")
        await self._log("done", step)

    async def _apply(self, step: Step, context: StepContext) -> None:
        if step.manual and self.confirm and not await self.confirm(step):
            raise _step_error(codes.STEP_DECLINED, step, "was not confirmed", f"do it: {step.manual.en}")
        await step.apply(context)

    async def _interrupted(self, step: Step) -> Cause:
        name = "SIGINT" if self.stop.exit_code == 130 else "a signal"
        message = f"interrupted by {name} at step `{step.id}`"
        await self._log("interrupted", step, data={"message": message})
        return Cause("interrupted", self.stop.exit_code, step.id, message)

    async def _arrived(self) -> Outcome:
        state: End = "already" if all(self.marks[step.id] == "already" for step in self.steps) else "ok"
        return await self._close(state, 0)

    # Back

    async def _backward(self, cause: Cause) -> Outcome:
        """Undo what this plan changed, newest first, up to what cannot or must not be undone."""
        await self._log("turning_back", data=cause.as_data())
        for step in self.steps:
            await self._clear_up(step)
        last_undoable = self._past_no_return()
        border = ""
        rested_on: dict[str, str] = {}  # step -> the one above it that could not be undone
        for number, step in reversed(list(enumerate(self.steps))):
            if self.marks.get(step.id) not in OURS or step.leaves_nothing:
                continue
            if number >= last_undoable or step.on_failure == "fix_forward":
                border = border or step.id
            if border:
                await self._keep(step, "cannot be undone" if step.id == border else f"cannot be undone past {border}")
            elif step.id in rested_on:
                await self._keep(step, f"{rested_on[step.id]} rests on it")
            elif not await self._undo(step):
                rested_on |= dict.fromkeys(self.plan.ancestors(step.id), step.id)
        return await self._turned_back(cause)

    async def _turned_back(self, cause: Cause) -> Outcome:
        results = {record.result for record in self.records.values()}
        if not results & {"remains", "undo_failed"}:
            return await self._close(
                "interrupted" if cause.kind == "interrupted" else "restored", cause.exit_code, cause
            )
        if "undo_failed" not in results and cause.kind == "interrupted":
            return await self._halt_settled("interrupted", cause.exit_code, cause)
        if "undo_failed" not in results and cause.kind == "requested":
            return await self._close("needs_person", 4, cause)  # all that can be undone is: nothing to resume
        return await self._halt_settled("needs_person", 4, cause)

    async def _clear_up(self, step: Step) -> None:
        """Settle an unclear step: when a look shows that nothing of it is there, there is nothing to undo."""
        mark = self.marks.get(step.id)
        if mark in UNCLEAR and not step.leaves_nothing and await self._is_absent(step):
            await self._log("cleared" if mark == "applying" else "undone", step)
            if mark != "applying":
                self._record(step, "undone")

    async def _is_absent(self, step: Step) -> bool:
        """False also when the look itself fails: what cannot be seen may be there."""
        try:
            return (await self._bounded(step, _observe, LEAVE)).absent
        except Exception as raised:  # noqa: BLE001
            self._note(step, f"cannot be observed: {raised}")
            return False

    async def _undo(self, step: Step) -> bool:
        await self._still_ours()
        await self._log("undoing", step)
        with self._timed(step, undoing=True) as record:
            try:
                await self._bounded(step, self._take_back, LEAVE)
            except Exception as raised:  # noqa: BLE001
                if not await self._is_absent(step):  # an unclear reply is settled by a look, never by the reply
                    detail = f"undo failed: {_explain(step, raised).message}"
                    record("undo_failed", detail)
                    await self._log("undo_failed", step, data={"message": detail})
                    return False
            await self._log("undone", step)
            record("undone")
        return True

    async def _take_back(self, step: Step, context: StepContext) -> None:
        await self._retrying(step, context, self._try_undo)

    async def _try_undo(self, step: Step, context: StepContext, attempt: int) -> None:
        if step.undo is None or (attempt > 1 and (await step.observe(context)).absent):
            return
        await step.undo(context)
        seen = await step.observe(context)
        if seen.state == "done" or seen.partial:
            raise _step_error(
                codes.UNDO_FAILED, step, f"is still there after undo: {seen.detail}", "take it back by hand"
            )

    async def _keep(self, step: Step, reason: str) -> None:
        await self._log("kept", step, data={"message": reason})
        self._record(step, "remains", reason)

    # Around a step

    async def _bounded(self, step: Step, work: Callable[[Step, StepContext], Awaitable[T]], cut_at: int) -> T:
        """What `work` returns within the step's deadline; `_CutError` when signals were faster."""
        ends_at = asyncio.get_running_loop().time() + step.timeout_s
        request = self.plan.request
        context = _Context(
            self.plan_id, step.id, request.env, request.actor, self.lease.token, ends_at, lambda t: self._note(step, t)
        )
        try:
            async with asyncio.timeout(step.timeout_s) as deadline:
                with self.stop.cutting(deadline, cut_at):
                    return await work(step, context)
        except TimeoutError:
            if not deadline.expired():
                raise
            if self.stop.count >= cut_at:
                raise _CutError from None
            what = f"did not end within {step.timeout_s:g} s"
            raise _step_error(codes.STEP_TIMED_OUT, step, what, "see what it waits for", fault="provider") from None

    async def _retrying(
        self, step: Step, context: StepContext, once: Callable[[Step, StepContext, int], Awaitable[None]]
    ) -> None:
        """Try until it works or the budget is spent; only what the provider may mend is worth another try."""
        for attempt in range(1, step.retry.attempts + 1):
            try:
                await once(step, context, attempt)
            except DodaiError as error:
                wait_s = float(error.data.get("retry_after_s", step.retry.wait_s))
                if error.fault != "provider" or attempt == step.retry.attempts or wait_s >= context.remaining_s():
                    raise
                context.note(f"try {attempt} of {step.retry.attempts}: {error.message}; again in {wait_s:g} s")
                await asyncio.sleep(wait_s)
            else:
                return

    @contextmanager
    def _timed(self, step: Step, *, undoing: bool) -> Iterator[Callable[..., None]]:
        """Tell the sink that a step begins and, with its seconds, how it ended."""
        started = self.clock.monotonic()
        with suppress(Exception):
            self.sink.step_started(step, self.steps.index(step) + 1, len(self.steps), undoing=undoing)
        yield lambda result, detail="": self._record(step, result, detail)
        elapsed = self.clock.monotonic() - started
        record = self.records[step.id]
        self.records[step.id] = replace(record, seconds=record.seconds + elapsed)
        with suppress(Exception):
            self.sink.step_finished(step, replace(record, seconds=elapsed))

    def _record(self, step: Step, result: Result, detail: str = "") -> None:
        self.records[step.id] = replace(self.records[step.id], result=result, detail=detail)

    def _note(self, step: Step, text: str) -> None:
        self.notes.append((step.id, text))
        with suppress(Exception):
            self.sink.noted(step, text)

    # Around the run

    async def _log(self, kind: Kind, step: Step | None = None, data: Mapping[str, Any] | None = None) -> None:
        """Make an event durable; only then the run's own view of the step changes."""
        step_id = step.id if step else ""
        try:
            while self.notes:
                noted, text = self.notes[0]
                await self._append("note", noted, {"text": text})
                self.notes.pop(0)
            await self._append(kind, step_id, data or {})
        except DodaiError as error:
            raise _HaltError(error) from error
        if kind in MARKS:
            self.marks[step_id] = kind

    async def _append(self, kind: Kind, step_id: str, data: Mapping[str, Any]) -> None:
        await self.journal.append(
            self.plan_id, kind, step_id=step_id, data=data, token=self.lease.token, at=_stamp(self.clock)
        )

    async def _still_ours(self) -> None:
        if not await self.lease.held():
            env = self.plan.request.env
            raise _HaltError(
                DodaiError(
                    codes.LEASE_LOST,
                    f"the lock on `{env}` was lost; stopped before the next change",
                    f"see who works there with `dodai status {env}`",
                    exit_code=75,
                )
            )

    def _past_no_return(self) -> int:
        """The number of the first step that may not be undone because a point of no return was passed."""
        passed = (n for n, s in enumerate(self.steps) if s.point_of_no_return and self.marks.get(s.id) in OURS)
        return next(passed, len(self.steps))

    def _leave(self, *, going_back: bool) -> None:
        """Say in the records what an attempt that ends early leaves behind."""
        for step in self.steps:
            mark = self.marks.get(step.id)
            if mark in OURS and not step.leaves_nothing and (going_back or mark != "done"):
                self._record(step, "remains", "unclear" if mark in UNCLEAR else "not undone")

    async def _close(self, state: End, exit_code: int, cause: Cause | None = None) -> Outcome:
        await self._log("closed", data={"state": state, "exit_code": exit_code})
        return self._outcome(state, exit_code, closed=True, cause=cause)

    async def _halt_settled(self, state: End, exit_code: int, cause: Cause) -> Outcome:
        """The way back was gone to its end and something remains: the next resume may go either way."""
        await self._log("halted", data={"state": state, "exit_code": exit_code, "settled": True})
        return self._outcome(state, exit_code, closed=False, cause=cause)

    def _outcome(
        self, state: End, exit_code: int, *, closed: bool, cause: Cause | None, halted_by: DodaiError | None = None
    ) -> Outcome:
        records = tuple(self.records[step.id] for step in self.steps)
        seconds = self.clock.monotonic() - self.started_at
        return Outcome(self.plan, self.plan_id, state, exit_code, records, seconds, closed, cause, halted_by)


async def _observe(step: Step, context: StepContext) -> Observed:
    return await step.observe(context)


def _fold(events: tuple[Event, ...]) -> tuple[dict[str, str], Cause | None]:
    """The marks of the steps, and why the plan was going back if it was."""
    marks: dict[str, str] = {}
    cause: Cause | None = None
    for event in events:
        if event.kind in MARKS:
            marks[event.step_id] = event.kind
        elif event.kind == "turning_back":
            cause = Cause.from_data(event.data)
        elif event.kind == "halted" and event.data["settled"]:
            cause = None
    return marks, cause


@asynccontextmanager
async def _holding(journal: Journal, lease: Lease) -> AsyncIterator[None]:
    """The lease, kept alive, over a journal that is whole; given back unless the caller already had it."""
    mine = not await lease.held()
    if mine:
        await lease.acquire(await journal.highest_token())
    beating = asyncio.create_task(_heartbeats(lease))
    try:
        await journal.verify_chain()
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        if mine:
            await lease.release()


async def _heartbeats(lease: Lease) -> None:
    """A failed heartbeat only ends the beating: `held()` is asked before every change and says what it means."""
    with suppress(DodaiError):
        while True:
            await asyncio.sleep(lease.interval_s)
            await lease.heartbeat()


def _explain(step: Step, raised: Exception) -> DodaiError:
    """What a step raised, as a coded error that names the step."""
    if not isinstance(raised, DodaiError):
        what = f"failed: {type(raised).__name__}: {raised}" if str(raised) else f"failed: {type(raised).__name__}"
        return _step_error(codes.STEP_FAILED, step, what, "mend the cause", fault="dodai")
    if f"`{step.id}`" in raised.message:
        return raised
    message = f"step `{step.id}` failed: {raised.message}"
    return DodaiError(raised.code, message, raised.fix, raised.fault, raised.exit_code, raised.details, raised.data)


def _step_error(code: Code, step: Step, what: str, fix: str, fault: Fault = "user") -> DodaiError:
    return DodaiError(code, f"step `{step.id}` {what}", fix, fault)


def _another_plan(journalled: str, plan: Plan) -> DodaiError:
    env = plan.request.env
    return DodaiError(
        codes.PLAN_CHANGED,
        f"the journal of `{env}` holds plan `{journalled[:12]}`, this dodai builds `{plan.short_hash}` from it",
        "resume with the dodai version that started it",
        exit_code=4,
    )


def _new_id(plan: Plan, now: datetime) -> str:
    return f"{plan.request.kind}-{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def _stamp(clock: Clock) -> str:
    return clock.now().isoformat(timespec="milliseconds")
