"""What running a plan came to, step by step, and what to type next."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError
from dodai.core.page import Text
from dodai.core.text import counted
from dodai.engine import codes
from dodai.engine.plan import EndState, Plan, Step

End = Literal["ok", "already", "refused", "restored", "needs_person", "interrupted"]
REHEARSAL = ["dodai", "rehearse"]
Result = Literal["done", "already", "failed", "undone", "undo_failed", "remains", "not_run"]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """How one step ended; `seconds` cover going forward and back."""

    id: str
    title: Text
    result: Result = "not_run"
    seconds: float = 0.0
    detail: str = ""

    def as_json(self) -> dict[str, Any]:
        return {"id": self.id, "result": self.result, "seconds": round(self.seconds, 3), "detail": self.detail}


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a plan turned back. `exit_code` is that of a complete undo: 3 failed, 130 or 143 interrupted, 0 asked for."""

    kind: Literal["failed", "interrupted", "requested"]
    exit_code: int
    step_id: str = ""
    message: str = ""
    error: DodaiError | None = None

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Cause:
        """The cause another process journalled."""
        return cls(data["kind"], data["exit_code"], data["step_id"], data["message"])

    def as_data(self) -> dict[str, Any]:
        code = self.error.code.id if self.error else ""
        return {"kind": self.kind, "exit_code": self.exit_code, "step_id": self.step_id, "message": self.message} | (
            {"code": code} if code else {}
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of one attempt at a plan.

    `ok` everything verified; `already` there was nothing to do; `refused` a gate was closed, and nothing was
    changed; `restored` failed or was taken back, and everything it
    had changed is undone; `needs_person` something remains; `interrupted` by a signal. `closed` is False while
    `dodai resume` has something to go on with; `settled` then means that a new plan may take this one's place instead.
    `seen` is how the world stood at the end; when that is not what the end means, `needs_person`.
    """

    plan: Plan
    plan_id: str
    state: End
    exit_code: int
    records: tuple[StepRecord, ...]
    seconds: float
    closed: bool = True
    cause: Cause | None = None
    halted_by: DodaiError | None = None
    settled: bool = False
    seen: EndState | None = None

    def ids(self, *results: Result) -> tuple[str, ...]:
        """Ids of the steps that ended in one of `results`, in plan order."""
        return tuple(record.id for record in self.records if record.result in results)

    @property
    def next_command(self) -> str:
        """What to type now; `""` when nothing is left to do."""
        request = self.plan.request
        if request.command.split()[:2] == REHEARSAL:  # its stage is gone when it ends: nothing could be resumed there
            return "" if self.exit_code == 0 else request.command
        if not self.closed:
            # An `up` takes back by itself what the one before it left, and serves what was corrected meanwhile.
            return request.command if self.settled and request.kind == "up" else proposal.RESUME(env=request.env)
        if self.seen and not self.seen.as_meant:
            return self.seen.next_command
        return "" if self.exit_code == 0 else request.command

    def lines(self) -> tuple[str, ...]:
        """What was done, what was undone, what remains and the next command, one line each."""
        parts = (
            ("done", self.ids("done")),
            ("already", self.ids("already")),
            ("undone", self.ids("undone")),
            ("remains", tuple(self._remaining())),
        )
        lines = [f"{word}: {', '.join(ids)}" for word, ids in parts if ids]
        if self.exit_code and not any(ids for _, ids in parts):
            lines.append("nothing was changed")
        if self.seen:
            lines.append(f"seen at the end: {self.seen.words}")
        if self.next_command:
            instead = f", or `{self._another}` with a fixed release" if self.settled else ""
            if self.settled and self.next_command == self.plan.request.command:
                instead = " once it is corrected"
            lines.append(f"next: `{self.next_command}`{instead}")
        return tuple(lines)

    def summary(self) -> str:
        """One sentence for the end of the report."""
        name = f"{self.plan.request.kind} of `{self.plan.request.env}`"
        undone = len(self.ids("undone"))
        if self.seen and not self.seen.as_meant:
            ended = f"taken back, {counted(undone, 'step')} undone" if self.cause else "carried out"
            return f"{name} was {ended}, but {self.seen.words}; a person must act"
        match self.state:
            case "ok":
                return f"{name} done in {self.seconds:.1f} s"
            case "already":
                return f"already done: {name} changed nothing"
            case "restored" if self.cause and self.cause.kind == "requested":
                return f"{name} taken back: {counted(undone, 'step')} undone"
            case "refused":
                return f"{name} refused; nothing {'that serves ' if self.ids('done') else ''}was changed"
            case "restored":
                return f"{name} failed and everything was restored: {counted(undone, 'step')} undone"
            case "interrupted" if self.closed:
                return f"{name} interrupted and taken back: {counted(undone, 'step')} undone"
            case "interrupted":
                return f"{name} interrupted; something remains"
            case _:
                return f"{name} failed and a person must act"

    def error(self) -> DodaiError | None:
        """The failure as the CLI prints it; None when the exit code is 0."""
        if self.exit_code == 0:
            return None
        root = self.halted_by or (self.cause.error if self.cause else None)
        reason = root.message if root else (self.cause.message if self.cause else "")
        fix = root.fix if root else ""
        then = f"run `{self.next_command}`" if self.next_command and f"`{self.next_command}`" not in fix else ""
        return DodaiError(
            root.code if root else self._code(),
            f"{self.summary()}: {reason}" if reason else self.summary(),
            "; then ".join(part for part in (fix, then) if part),
            fault=root.fault if root else "user",
            exit_code=self.exit_code,
            details=(*(root.details if root else ()), *self.lines()),
            data={"planId": self.plan_id},
        )

    def as_json(self) -> dict[str, Any]:
        """`dodai.outcome/1`."""
        error = self.error()
        return {
            "schema": "dodai.outcome/1",
            "planId": self.plan_id,
            "planHash": self.plan.hash,
            "kind": self.plan.request.kind,
            "environment": self.plan.request.env,
            "state": self.state,
            "exitCode": self.exit_code,
            "closed": self.closed,
            "seconds": round(self.seconds, 3),
            "steps": [record.as_json() for record in self.records],
            "seen": self.seen.words if self.seen else None,
            "next": self.next_command,
            "error": error.as_json() if error else None,
        }

    @property
    def _another(self) -> str:
        return proposal.DEPLOY(env=self.plan.request.env)

    def _remaining(self) -> list[str]:
        left = (record for record in self.records if record.result in ("remains", "undo_failed"))
        return [f"{record.id} ({record.detail})" if record.detail else record.id for record in left]

    def _code(self) -> Code:
        return codes.PLAN_INTERRUPTED if self.cause and self.cause.kind == "interrupted" else codes.STEP_FAILED


class Sink(Protocol):
    """Who is told about progress. Whatever a sink raises is ignored: a closed terminal never stops a plan."""

    def step_started(self, step: Step, number: int, total: int, *, undoing: bool) -> None: ...

    def noted(self, step: Step, text: str) -> None: ...

    def step_finished(self, step: Step, record: StepRecord) -> None:
        """`record.seconds` is the elapsed time of this step."""
        ...


class SilentSink:
    """Tells nobody."""

    def step_started(self, step: Step, number: int, total: int, *, undoing: bool) -> None: ...

    def noted(self, step: Step, text: str) -> None: ...

    def step_finished(self, step: Step, record: StepRecord) -> None: ...
