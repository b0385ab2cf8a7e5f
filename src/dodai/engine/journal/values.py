"""What was asked for and what has happened, as values, and the seam behind which they are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, Protocol

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine import codes
from dodai.engine.plan import Plan, PlanRequest, canonical

Kind = Literal[
    "requested",  # the request is durable; nothing has happened
    "attempt",  # a process begins or resumes
    "intent",  # a step is about to be looked at
    "already",  # it was done before this plan
    "applying",  # durable before apply
    "applied",  # apply came back
    "done",  # verified
    "failed",  # with the reason
    "turning_back",  # from here on the plan is undone; a resume goes on undoing
    "cleared",  # a look showed that an unclear apply changed nothing
    "undoing",  # durable before undo
    "undone",
    "undo_failed",
    "kept",  # cannot or must not be undone
    "interrupted",  # a signal
    "note",
    "released",  # a release is in service: its record
    "rehearsed",  # a rehearsal of some source, for the gates of this environment
    "approved",  # a signature over a plan
    "admitted",  # a plan passed its gate, and by what
    "glass_broken",  # somebody went past a gate, and why
    "executed",  # a command was begun in the place of a service
    "execution_ended",  # how such a command ended
    "compatible",  # whether an earlier release fits the schema as it is now
    "halted",  # this attempt ended, the plan did not
    "closed",  # the plan ended
]
GENESIS = "0" * 64


@dataclass(frozen=True, slots=True)
class Head:
    """The last event: enough to notice elsewhere that a journal lost its tail."""

    seq: int = 0
    hash: str = GENESIS


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the journal. `at` is UTC in ISO 8601, `token` the fencing token it was written under."""

    seq: int
    plan_id: str
    step_id: str
    kind: Kind
    at: str
    token: int
    data: Mapping[str, Any]
    prev_hash: str
    hash: str

    def expected_hash(self) -> str:
        """The hash these fields should have."""
        fields = [self.seq, self.plan_id, self.step_id, self.kind, self.at, self.token, self.data, self.prev_hash]
        return hashlib.sha256(canonical(fields)).hexdigest()

    def follows(self, head: Head) -> bool:
        """Whether this is an untouched record right after `head`."""
        return self.seq == head.seq + 1 and self.prev_hash == head.hash and self.hash == self.expected_hash()

    @property
    def head(self) -> Head:
        return Head(self.seq, self.hash)


@dataclass(frozen=True, slots=True)
class PlanRow:
    """A plan's request in the form it is kept in; its digest is part of the chain of events."""

    plan_id: str
    env: str
    plan_hash: str
    steps: str
    request: str
    manifest: bytes

    @classmethod
    def of(cls, plan_id: str, plan: Plan) -> PlanRow:
        request = plan.request
        words = {name: getattr(request, name) for name in ("kind", "env", "release", "actor", "manifest_hash")}
        maps = {name: dict(getattr(request, name)) for name in ("secret_versions", "arguments")}
        steps = json.dumps([step.id for step in plan.ordered()])
        return cls(plan_id, request.env, plan.hash, steps, canonical(words | maps).decode(), request.manifest)

    @property
    def digest(self) -> str:
        manifest = hashlib.sha256(self.manifest).hexdigest()
        return hashlib.sha256(canonical([self.plan_hash, self.steps, self.request, manifest])).hexdigest()

    @property
    def is_of_its_environment(self) -> bool:
        """Whether it is found by the environment of its request: one under another name would be no unfinished plan."""
        return bool(json.loads(self.request)["env"] == self.env)

    @property
    def announcement(self) -> dict[str, str]:
        """The data of its `requested` event."""
        return {"digest": self.digest, "actor": json.loads(self.request)["actor"]}

    def entry(self, begun_at: str, ending_kind: str | None, ending: str | None) -> PlanEntry:
        """The plan as people see it; `ending` is the JSON of its last `halted` or `closed` event."""
        ended = json.loads(ending) if ending else {}
        return PlanEntry(
            self.plan_id,
            self.plan_hash,
            PlanRequest(manifest=self.manifest, **json.loads(self.request)),
            tuple(json.loads(self.steps)),
            begun_at,
            ended.get("state", ""),
            ended.get("exit_code"),
            ending_kind == "closed",
            ended.get("settled", False),
        )


@dataclass(frozen=True, slots=True)
class PlanEntry:
    """A plan as the journal knows it; `state` is that of its last ending, `""` while it never ended.

    `settled` marks an open plan of which only verified steps that cannot be undone remain: `resume` may try it again,
    and a new plan may take its place.
    """

    plan_id: str
    plan_hash: str
    request: PlanRequest
    steps: tuple[str, ...]
    begun_at: str
    state: str = ""
    exit_code: int | None = None
    closed: bool = False
    settled: bool = False

    def superseded_by(self, plan_id: str) -> dict[str, Any]:
        """The data of the event that closes it for a newer plan."""
        return {"state": self.state, "exit_code": self.exit_code, "superseded_by": plan_id}


class Journal(Protocol):
    """Where plans are written down. The seam for a control database: nothing here is particular to a file.

    Every write is durable when it returns and refused (DOD351) when a newer fencing token has written before.
    """

    async def begin(self, plan_id: str, plan: Plan, *, token: int, at: str) -> None:
        """Write the request down and close a settled plan before it; DOD355 when one is open and not settled.

        One that may stand beside an open plan leaves that as it is.
        """
        ...

    async def append(
        self, plan_id: str, kind: Kind, *, step_id: str = "", data: Mapping[str, Any] | None = None, token: int, at: str
    ) -> Event: ...

    async def unfinished(self, env: str) -> PlanEntry | None:
        """The newest plan that has not ended; None when every one has."""
        ...

    async def history(self, env: str, limit: int = 50) -> tuple[PlanEntry, ...]:
        """The newest plans first."""
        ...

    async def entry(self, plan_id: str) -> PlanEntry | None: ...

    async def events(self, plan_id: str) -> tuple[Event, ...]: ...

    async def of_kind(self, kind: Kind, limit: int = 100) -> tuple[Event, ...]:
        """The newest events of one kind, the newest first."""
        ...

    async def verify_chain(self) -> Head:
        """The head, when every record fits the one before it; DOD353 otherwise."""
        ...

    async def highest_token(self) -> int: ...

    async def now(self) -> datetime:
        """The time of day by the clock that goes with the journal: the database's, else this machine's."""
        ...


def next_event(
    head: Head, plan_id: str, kind: Kind, step_id: str, data: Mapping[str, Any], token: int, at: str
) -> Event:
    """The event that follows `head`, its hash included."""
    event = Event(head.seq + 1, plan_id, step_id, kind, at, token, json.loads(canonical(data)), head.hash, "")
    return replace(event, hash=event.expected_hash())


def refuse_unfinished(entry: PlanEntry | None) -> None:
    """Raises DOD355 for a plan that is open and not settled."""
    if entry is None or entry.settled:
        return
    env = entry.request.env
    raise DodaiError(
        codes.PLAN_UNFINISHED,
        f"plan `{entry.plan_id}` of `{env}` (begun {entry.begun_at} by {entry.request.actor}) has not ended",
        f"finish it with `{proposal.RESUME(env=env)}` or take it back with `{proposal.RESUME_UNDO(env=env)}`",
        exit_code=1,
    )


def stale_token(token: int, newest: int) -> DodaiError:
    """What a holder gets whose environment somebody else took over."""
    return DodaiError(
        codes.LEASE_LOST,
        f"token {token} is older than {newest}: somebody else took over this environment",
        f"see who works there with `{proposal.STATUS(env='ENV')}`",
        exit_code=75,
    )
