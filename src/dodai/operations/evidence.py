"""What a rehearsal proves, for how long, and for what."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.engine.moment import read_moment
from dodai.operations.approval import Signed, Verifier
from dodai.operations.environment_policy import Level
from dodai.operations.gates import Gates

NAMESPACE = "rehearsal@dodai"
"""The purpose of a machine's signature: one for a plan, for git or for a file is none for a rehearsal."""


@dataclass(frozen=True, slots=True)
class Source:
    """What was rehearsed, or is to be deployed: the SHA-256 over all its files, and that of the manifest."""

    tree: str
    config: str


@dataclass(frozen=True, slots=True)
class RehearsalRecord:
    """One rehearsal on record. `at` is the time of the journal's own clock; `pending` are checksums of migrations.

    `source` level: the same git tree and manifest, in local processes on one machine. `commit` is what was checked out,
    without a change. `restored`: data that a migration had destroyed was restored by it, row by row. `signer` and
    `signature`: the machine that vouches for it, where the environment asks for one.
    """

    level: Level
    tree: str
    config: str
    release: str
    commit: str
    pending: tuple[str, ...]
    outcome: str
    at: str
    drills: int = 0
    restored: bool = False
    signer: str = ""
    signature: str = ""
    id: str = ""

    @classmethod
    def from_data(cls, data: Mapping[str, Any], plan_id: str) -> RehearsalRecord:
        """As it was recorded. What is no text is empty: such a record proves nothing, and stops nobody else's."""
        texts = [one.name for one in fields(cls) if one.name not in ("pending", "drills", "restored", "id")]
        told: dict[str, Any] = {name: one if isinstance(one := data.get(name), str) else "" for name in texts}
        pending, drills = data.get("pending"), data.get("drills")
        told["pending"] = tuple(map(str, pending)) if isinstance(pending, list | tuple) else ()
        told["restored"] = data.get("restored") is True
        return cls(**told, drills=drills if isinstance(drills, int) else 0, id=plan_id)

    def as_data(self) -> dict[str, Any]:
        """The data of its journal event, which adds the id itself."""
        return {name: value for name, value in asdict(self).items() if name != "id"}

    def signed(self, env: str) -> Signed:
        """Everything it says, for the environment `env` and no other, with its signature."""
        said = {name: value for name, value in self.as_data().items() if name != "signature"}
        words = json.dumps({"env": env, **said}, sort_keys=True, ensure_ascii=True)
        return Signed(self.signer, self.signature, f"dodai rehearsal 1\n{words}\n".encode(), NAMESPACE)

    def age_s(self, now: datetime) -> float:
        """Below 0 when it is from the future; endless when nobody can read when it was."""
        at = read_moment(self.at)
        return float("inf") if at is None else (now - at).total_seconds()

    def lacks(self, source: Source, gates: Gates, now: datetime) -> str:
        """Why it does not count for `source`; `""` when it does."""
        if (self.tree, self.config) != (source.tree, source.config):
            return "is of another tree" if self.tree != source.tree else "is of another manifest"
        if self.outcome != "ok":
            return "failed"
        if self.level not in ("source", "artifact"):
            return f"is of no known level: `{self.level}`"
        if gates.evidence == "artifact" and self.level != "artifact":
            return f"is of level `{self.level}`, `artifact` is asked for"
        age_s = self.age_s(now)
        if age_s == float("inf"):
            return "has no time that can be read"
        if age_s < 0:
            return "is from the future by the clock of the control database"
        if age_s > gates.evidence_age_s:
            return f"is {age_s / 3600:.1f} h old, at most {gates.evidence_age_s / 3600:g} h count"
        return ""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a rehearsal has to be of, and signed by, to count for `env` now."""

    env: str
    source: Source
    gates: Gates
    now: datetime
    verifier: Verifier

    def lacks(self, record: RehearsalRecord) -> str:
        """Why it does not count; `""` when it does."""
        why, signers = record.lacks(self.source, self.gates, self.now), self.gates.evidence_signers
        if why or not signers:
            return why
        signed = record.signed(self.env)
        if not (signed.is_whole and self.verifier.key(signed, signers, self.now)):
            return "is not signed by a machine of `evidence_signers`"
        return ""

    def those_that_count(self, found: Iterable[RehearsalRecord]) -> tuple[RehearsalRecord, ...]:
        """In the order they came."""
        return tuple(one for one in found if not self.lacks(one))
