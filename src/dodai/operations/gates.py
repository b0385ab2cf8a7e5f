"""What stands before a deploy: taken from the manifest and from the release in service, the stricter of both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from typing import Any

from dodai.core.dataclass import dataclass
from dodai.operations.environment_policy import EnvironmentPolicy, Level

IN_FORCE, AFTERWARDS = "gates", "gates_afterwards"
"""The names of both in the arguments of a request, and so in its plan hash."""


@dataclass(frozen=True, slots=True)
class Gates:
    """The gates of one environment. `freeze` are windows as written.

    `signers` and `evidence_signers` are texts of files in the form of `allowed_signers`: who may sign plans, and which
    machines may vouch for rehearsals.
    """

    evidence: Level | None = None
    evidence_age_s: float = 86_400.0
    approvals: int = 0
    approval_age_s: float = 86_400.0
    signers: str = ""
    freeze: tuple[str, ...] = ()
    evidence_signers: str = ""

    @classmethod
    def of(
        cls, environment: EnvironmentPolicy, evidence_age_s: float, signers: str, evidence_signers: str = ""
    ) -> Gates:
        """What the manifest asks for."""
        if not environment.protected:
            return cls(freeze=environment.freeze)
        return cls(
            evidence=environment.evidence,
            evidence_age_s=evidence_age_s,
            approvals=environment.approvals,
            approval_age_s=environment.approval_age_s,
            signers=signers,
            freeze=environment.freeze,
            evidence_signers=evidence_signers,
        )

    @classmethod
    def from_text(cls, text: str) -> Gates:
        """The gates that `text`, made by `as_text`, describes; open ones for an empty text."""
        known: dict[str, Any] = json.loads(text) if text else {}
        return cls(**{**known, "freeze": tuple(known.get("freeze", ()))})

    def as_text(self) -> str:
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def protected(self) -> bool:
        return self.evidence is not None

    def and_those_of(self, before: Gates) -> Gates:
        """The stricter of each: a deploy cannot take away the gate it goes through, nor name who may open it."""
        if not before.protected:
            return replace(self, freeze=tuple(dict.fromkeys((*before.freeze, *self.freeze))))
        return Gates(
            evidence="artifact" if "artifact" in (self.evidence, before.evidence) else "source",
            evidence_age_s=min(self.evidence_age_s, before.evidence_age_s),
            approvals=max(self.approvals, before.approvals),
            approval_age_s=min(self.approval_age_s, before.approval_age_s),
            signers=before.signers or self.signers,
            freeze=tuple(dict.fromkeys((*before.freeze, *self.freeze))),
            evidence_signers=before.evidence_signers or self.evidence_signers,
        )


def in_force(arguments: Mapping[str, str]) -> Gates:
    """The gates that a request has to pass."""
    return Gates.from_text(arguments.get(IN_FORCE, ""))


def afterwards(arguments: Mapping[str, str]) -> Gates:
    """The gates that hold once the request was carried out."""
    return Gates.from_text(arguments.get(AFTERWARDS, ""))


@dataclass(frozen=True, slots=True)
class Kept:
    """The gates that a plan left, as they are kept beside the journal, so that a lost journal does not open them."""

    plan_id: str = ""
    gates: Gates = Gates()


def in_service(journal: Kept, others: Iterable[Kept], known: Callable[[str], bool]) -> Gates:
    """The gates of the release in service. `journal`: as the journal has it; `others`: as it is kept elsewhere.

    What the journal knows the plan of is older than, or the same as, what the journal says; what it does not know is
    of records that the journal lost, and counts as well.
    """
    gates = journal.gates
    for other in others:
        if other.plan_id and not known(other.plan_id):
            gates = gates.and_those_of(other.gates)
    return gates
