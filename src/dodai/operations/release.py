"""A release as it is remembered, and whether one may come back on the schema there is now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, field
from typing import Any, Literal, Protocol

from dodai.core.dataclass import dataclass
from dodai.engine.plan import StepContext

Fits = Literal["yes", "no", "unknown"]


@dataclass(frozen=True, slots=True)
class RollbackTrial:
    """Whether every query of a release could be prepared on a schema; `problems` name what could not."""

    fits: Fits
    queries: int = 0
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleaseRecord:
    """What was put into service, once and for ever; secrets appear as keyed digests only.

    `release` is the id of the tree, `config` the hash of the manifest, `settings` that of every non-secret setting.
    `required` are the migrations it needs, `schema` those that were applied when it came into service, `earlier` what
    the trial of older releases on that schema gave.
    """

    release: str
    config: str
    settings: str = ""
    secrets: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    schema: tuple[str, ...] = ()
    commit: str = ""
    dirty: bool = False
    dodai: str = ""
    earlier: Mapping[str, RollbackTrial] = field(default_factory=dict)
    plan_id: str = ""
    actor: str = ""
    at: str = ""

    @property
    def is_rollback(self) -> bool:
        return self.plan_id.startswith(("rollback-", "restore-", "restart-"))

    def as_data(self) -> dict[str, Any]:
        """The data of its journal event, which adds plan and time itself."""
        data = asdict(self)
        for name in ("plan_id", "at"):
            del data[name]
        return data

    @classmethod
    def from_data(cls, data: Mapping[str, Any], plan_id: str, at: str) -> ReleaseRecord:
        known = dict(data)
        for name in ("required", "schema"):
            known[name] = tuple(known[name])
        known["earlier"] = {
            release: RollbackTrial(trial["fits"], trial["queries"], tuple(trial["problems"]))
            for release, trial in known["earlier"].items()
        }
        return cls(**known, plan_id=plan_id, at=at)


class Book(Protocol):
    """Where the releases of one environment are recorded: immutable, newest first."""

    async def records(self) -> tuple[ReleaseRecord, ...]: ...

    async def gather(self, release: str) -> ReleaseRecord:
        """The facts about `release` as it runs now, older releases tried on the schema of now."""
        ...

    async def write(self, record: ReleaseRecord, context: StepContext) -> None: ...

    async def prune(self) -> tuple[str, ...]:
        """Remove the files of releases that nobody will go back to; which ones."""
        ...


class Schema(Protocol):
    """The schema of the application's database."""

    async def applied(self) -> tuple[str, ...]:
        """Migration ids in effect; empty without migrations."""
        ...

    async def trial(self, release: str) -> RollbackTrial:
        """The queries of `release` prepared on the schema of now."""
        ...


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a release may come back, why, and what to do instead when it may not."""

    allowed: bool
    reason: str
    details: tuple[str, ...] = ()


def evaluate_rollback(record: ReleaseRecord, applied: Iterable[str], trial: RollbackTrial) -> Verdict:
    """What a rollback must fit: everything it needs is applied, and everything newer fits its queries.

    What is not known is not allowed: a release that reads a dropped column fails people, not a check.
    """
    now = frozenset(applied)
    if missing := sorted(frozenset(record.required) - now):
        return Verdict(False, f"it needs migrations that are not applied: {_some(missing)}")
    newer = sorted(now - frozenset(record.schema))
    gone = sorted(frozenset(record.schema) - now)
    if not newer and not gone:
        return Verdict(True, "the schema is the one it ran on")
    changed = f"since it ran, {_some(newer)} came" if newer else f"since it ran, {_some(gone)} went"
    match trial.fits:
        case "yes":
            return Verdict(True, f"{changed}; all its {trial.queries} queries fit")
        case "no":
            return Verdict(False, f"{changed}; {len(trial.problems)} of its queries no longer fit", trial.problems)
        case _:
            return Verdict(False, f"{changed}; whether it fits is unknown", trial.problems)


def before(records: Iterable[ReleaseRecord], live: str) -> str:
    """The release that `live` replaced; `""` when there is none. `records` are the newest first.

    What was rolled back from is not gone back to: a second rollback goes one further.
    """
    stack: list[str] = []
    for record in reversed(list(records)):
        if record.release in stack:
            there = stack.index(record.release)
            stack = stack[:there] + ([] if record.is_rollback else stack[there + 1 :])
        stack.append(record.release)
    below = stack[: stack.index(live)] if live in stack else stack
    return below[-1] if below else ""


def find(records: Iterable[ReleaseRecord], release: str) -> ReleaseRecord | None:
    """The newest record of that release."""
    return next((record for record in records if record.release == release), None)


def _some(ids: list[str]) -> str:
    return ", ".join(f"`{one}`" for one in ids[:3]) + (f" and {len(ids) - 3} more" if len(ids) > 3 else "")
