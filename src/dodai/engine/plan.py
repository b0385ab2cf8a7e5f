"""A production procedure as a value: what is looked at, done, verified and undone, in which order, by when."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import field
from typing import Literal, Protocol

from dodai.core.dataclass import dataclass
from dodai.core.page import Text

State = Literal["done", "needed", "blocked"]
OnFailure = Literal["undo", "fix_forward"]


@dataclass(frozen=True, slots=True)
class Observed:
    """What a look at the world came to.

    `done`: nothing to do. `needed`: apply would change something. `blocked`: apply must not be tried (see `detail`).
    `partial` marks a `needed` of which something is already there (a process that never became ready): going forward
    applies it, going back undoes it. Without `partial`, `needed` promises that undo would find nothing.
    """

    state: State
    detail: str = ""
    partial: bool = False

    @property
    def absent(self) -> bool:
        """True when nothing of the step is in the world."""
        return self.state == "needed" and not self.partial


class StepContext(Protocol):
    """What every step function gets."""

    @property
    def plan_id(self) -> str: ...
    @property
    def step_id(self) -> str: ...
    @property
    def env(self) -> str: ...
    @property
    def actor(self) -> str: ...
    @property
    def fencing_token(self) -> int: ...

    def remaining_s(self) -> float:
        """Seconds of the step's deadline that are left; never negative."""
        ...

    def note(self, text: str) -> None:
        """Show a progress line at once; the journal keeps it with the step's next event."""
        ...


Look = Callable[[StepContext], Awaitable[Observed]]
Act = Callable[[StepContext], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Retry:
    """How often a step is tried in all, and the seconds between: one budget for observe, apply and verify together.

    What was `throttled`, `unavailable` or `ambiguous` is tried again, each time after a fresh look at the world; what
    was `rejected` is not. Whoever said how long to wait (`data["retry_after_s"]`) is obeyed instead of `wait_s`.
    Without another try, an `ambiguous` apply is still looked at before it counts as failed.
    """

    attempts: int = 1
    wait_s: float = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that is done to the world, and how one knows.

    `undo` None with `on_failure="undo"` means the step leaves nothing behind (a check, a probe). A step that changes
    something it cannot take back is `fix_forward`; a step after which nothing at all may be taken back is the
    `point_of_no_return`. `timeout_s` bounds observe, apply and verify together, and undo once more.
    """

    id: str
    title: Text
    area: str
    observe: Look
    apply: Act
    verify: Look
    undo: Act | None = None
    undo_title: Text | None = None
    needs: tuple[str, ...] = ()
    on_failure: OnFailure = "undo"
    timeout_s: float = 60.0
    retry: Retry = Retry()
    manual: Text | None = None
    command: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)
    point_of_no_return: bool = False

    @property
    def leaves_nothing(self) -> bool:
        """True when there is never anything to undo."""
        return self.undo is None and self.on_failure == "undo" and not self.point_of_no_return


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """Everything a plan is built from. It is journalled before anything happens, so a resume never reads the tree."""

    kind: str
    env: str
    release: str = ""
    actor: str = ""
    manifest: bytes = b""
    manifest_hash: str = ""
    secret_versions: Mapping[str, str] = field(default_factory=dict)
    arguments: Mapping[str, str] = field(default_factory=dict)

    @property
    def command(self) -> str:
        """What a person types to ask for this plan again."""
        return self.arguments.get("command") or " ".join(w for w in ("dodai", self.kind, self.env, self.release) if w)


@dataclass(frozen=True, slots=True)
class EndState:
    """How the world stands after a plan ended: whether it is what that end means, what was seen, and what to type."""

    as_meant: bool
    words: str
    next_command: str = ""


Meant = Literal["after", "before"]
"""What an end means: the plan was carried out, or everything is as it was before it."""
Afterwards = Callable[[Meant], Awaitable[EndState]]


@dataclass(frozen=True, slots=True)
class Plan:
    """A request and the steps it came to. Building one changes nothing; only `engine.execute` carries it out.

    `afterwards` looks at the world once the plan has ended: what an operator is told then comes from what it saw, not
    from what the steps came to. None: the steps are all there is to see. `beside`: it may be carried out while another
    plan is unfinished, which stays so.
    """

    request: PlanRequest
    title: Text
    steps: tuple[Step, ...]
    afterwards: Afterwards | None = None
    beside: bool = False

    def ordered(self) -> tuple[Step, ...]:
        """The steps so that each follows what it needs, otherwise as they were written.

        Raises `ValueError` naming the steps when an id is used twice, a need is unknown or needs form a cycle.
        """
        by_id = {step.id: step for step in self.steps}
        _refuse_malformed(self.steps, by_id)
        placed: dict[str, Step] = {}
        waiting = list(self.steps)
        while waiting:
            ready = next((step for step in waiting if all(need in placed for need in step.needs)), None)
            if ready is None:
                raise ValueError(f"steps need each other in a cycle: {_names(_cycle(waiting))}")
            placed[ready.id] = ready
            waiting.remove(ready)
        return tuple(placed.values())

    @property
    def hash(self) -> str:
        """64 hex digits over what an approver agrees to: request (without actor), ids, needs, inputs, policy, order."""
        request = self.request
        body = {
            "kind": request.kind,
            "env": request.env,
            "release": request.release,
            "manifest": request.manifest_hash,
            "secrets": dict(request.secret_versions),
            "arguments": dict(request.arguments),
            "steps": [
                [s.id, sorted(s.needs), dict(s.inputs), s.on_failure, s.point_of_no_return] for s in self.ordered()
            ],
        }
        return hashlib.sha256(canonical(body)).hexdigest()

    @property
    def short_hash(self) -> str:
        """The 12 hex digits that people see."""
        return self.hash[:12]

    def ancestors(self, step_id: str) -> frozenset[str]:
        """Ids of every step that `step_id` needs, directly or through others."""
        needs = {step.id: step.needs for step in self.steps}
        found: set[str] = set()
        open_ids = list(needs[step_id])
        while open_ids:
            step_id = open_ids.pop()
            if step_id not in found:
                found.add(step_id)
                open_ids.extend(needs[step_id])
        return frozenset(found)


def canonical(value: object) -> bytes:
    """`value` as JSON bytes that are the same on every machine: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


def _refuse_malformed(steps: Iterable[Step], by_id: Mapping[str, Step]) -> None:
    ids = [step.id for step in steps]
    if twice := sorted({step_id for step_id in ids if ids.count(step_id) > 1}):
        raise ValueError(f"step ids are used twice: {_names(twice)}")
    for step in by_id.values():
        if unknown := [need for need in step.needs if need not in by_id]:
            raise ValueError(f"step `{step.id}` needs unknown steps: {_names(unknown)}")
        if step.retry.attempts < 1 or step.timeout_s <= 0:
            raise ValueError(f"step `{step.id}` needs at least one attempt and a timeout above 0 s")


def _cycle(waiting: list[Step]) -> list[str]:
    """One cycle among steps that all wait: follow an unmet need until a step comes back."""
    by_id = {step.id: step for step in waiting}
    path: list[str] = [waiting[0].id]
    while True:
        following = next(need for need in by_id[path[-1]].needs if need in by_id)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)


def _names(ids: Iterable[str]) -> str:
    return ", ".join(f"`{step_id}`" for step_id in ids)
