"""What a run knows and tells: marks that are durable before they count, step records, progress."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import field, replace
from datetime import datetime
from typing import Any, Literal, Protocol, get_args

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine import codes
from dodai.engine.attempt import scrub
from dodai.engine.journal import Event, Journal, Kind
from dodai.engine.lease import Lease
from dodai.engine.outcome import Cause, Result, Sink, StepRecord
from dodai.engine.plan import Step

Mark = Literal["already", "applying", "applied", "done", "cleared", "undoing", "undone", "undo_failed"]
"""The state of a step: the last of these events that the journal has of it."""
MARKS: frozenset[str] = frozenset(get_args(Mark))
UNCLEAR: frozenset[str] = frozenset({"applying", "undoing", "undo_failed"})
"""The world may or may not have changed: look before acting."""
OURS: frozenset[str] = UNCLEAR | {"applied", "done"}
"""This plan changed something, or may have."""


class Clock(Protocol):
    def now(self) -> datetime:
        """The time of day, UTC, for the journal."""
        ...

    def monotonic(self) -> float:
        """Seconds, for durations."""
        ...


class HaltError(BaseException):
    """The journal or the lease is gone: no further change may be made. Not an `Exception`, so no step swallows it."""

    def __init__(self, error: DodaiError) -> None:
        super().__init__(error)
        self.error = error


@dataclass(slots=True)
class Recorder:
    """One run of one plan: every event goes to the journal first, then into `marks`, then to the sink."""

    plan_id: str
    env: str
    steps: Sequence[Step]
    journal: Journal
    lease: Lease
    sink: Sink
    clock: Clock
    marks: dict[str, str] = field(default_factory=dict)
    records: dict[str, StepRecord] = field(init=False)
    _hearsay: set[str] = field(default_factory=set)
    _notes: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.records = {step.id: StepRecord(step.id, step.title) for step in self.steps}

    def recall(self, marks: Mapping[str, str]) -> None:
        """Take over what an earlier attempt left; none of it is believed before a new look."""
        self.marks.update(marks)
        self._hearsay.update(marks)
        for step in self.steps:
            if marks.get(step.id) == "undone":
                self.ended(step, "undone")

    def unclear(self, step: Step) -> bool:
        """Whether only a look can say if there is something to undo."""
        return self.changed(step) and (self.marks[step.id] in UNCLEAR or step.id in self._hearsay)

    def changed(self, step: Step) -> bool:
        """Whether this plan has changed, or may have changed, something that undo would have to take back."""
        return self.marks.get(step.id) in OURS and not step.leaves_nothing

    async def log(self, kind: Kind, step: Step | None = None, /, **data: Any) -> None:
        """Make an event durable; only then the run's own view of the step changes. `HaltError` when it cannot be."""
        try:
            while self._notes:
                noted, text = self._notes[0]
                await self._append("note", noted, {"text": text})
                self._notes.pop(0)
            await self._append(kind, step.id if step else "", data)
        except DodaiError as error:
            raise HaltError(error) from error
        if step and kind in MARKS:
            self.marks[step.id] = kind
            self._hearsay.discard(step.id)

    async def still_ours(self) -> None:
        """Asked before every change: `HaltError` when the lease is no longer held."""
        try:
            held = await self.lease.held()
        except DodaiError as error:
            raise HaltError(error) from error
        if not held:
            message = f"the lock on `{self.env}` was lost; stopped before the next change"
            fix = f"see who works there with `{proposal.STATUS(env=self.env)}`"
            raise HaltError(DodaiError(codes.LEASE_LOST, message, fix, exit_code=75))

    def note(self, step: Step, text: str) -> None:
        text = scrub(text)
        self._notes.append((step.id, text))
        with suppress(Exception):
            self.sink.noted(step, text)

    def ended(self, step: Step, result: Result, detail: str = "") -> None:
        self.records[step.id] = replace(self.records[step.id], result=result, detail=detail)

    @contextmanager
    def timed(self, step: Step, *, undoing: bool) -> Iterator[Callable[..., None]]:
        """Tell the sink that a step begins and, with its seconds, how it ended; yields `ended` for this step."""
        started = self.clock.monotonic()
        with suppress(Exception):
            self.sink.step_started(step, self.steps.index(step) + 1, len(self.steps), undoing=undoing)
        yield lambda result, detail="": self.ended(step, result, detail)
        elapsed = self.clock.monotonic() - started
        record = self.records[step.id]
        self.records[step.id] = replace(record, seconds=record.seconds + elapsed)
        with suppress(Exception):
            self.sink.step_finished(step, replace(record, seconds=elapsed))

    def only_verified_remains(self) -> bool:
        """True when every step that this plan leaves in the world is verified: nothing is in between."""
        return all(self.marks[step.id] == "done" for step in self.steps if self.changed(step))

    def leave(self, *, going_back: bool) -> None:
        """Say in the records what an attempt that ends early leaves behind."""
        for step in self.steps:
            if self.changed(step) and (going_back or self.marks[step.id] != "done"):
                self.ended(step, "remains", "unclear" if self.unclear(step) else "not undone")

    async def _append(self, kind: Kind, step_id: str, data: Mapping[str, Any]) -> None:
        at = stamp(self.clock)
        await self.journal.append(self.plan_id, kind, step_id=step_id, data=data, token=self.lease.token, at=at)


def fold(events: Sequence[Event]) -> tuple[dict[str, str], Cause | None]:
    """The marks a journal holds, and why the plan was going back if it was."""
    marks: dict[str, str] = {}
    cause: Cause | None = None
    for event in events:
        if event.kind in MARKS:
            marks[event.step_id] = event.kind
        elif event.kind == "turning_back":
            cause = Cause.from_data(event.data)
        elif event.kind == "halted" and event.data["turned"]:
            cause = None
    return marks, cause


def stamp(clock: Clock) -> str:
    return clock.now().isoformat(timespec="milliseconds")
