"""Admission: what each command has to show before it may change what an environment serves or stores.

One table for every command that changes something. Gates come from the environment (the release in service, what this
machine remembers, then the working tree), so that no file of today's tree can take one away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Literal, cast

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import Code, DodaiError
from dodai.engine.journal import PlanEntry
from dodai.migrations.codes import DOWN_REFUSED
from dodai.operations import codes
from dodai.operations.freeze import frozen_until
from dodai.operations.gates import Gates, afterwards, in_force

Change = Literal[
    "up",
    "down",
    "deploy",
    "rollback",
    "restore",
    "resume",
    "undo",
    "restart",
    "rotate",
    "relieve",
    "trust",
    "take over",
    "exec",
    "install",
    "migrate up",
    "migrate down",
    "migrate adopt",
    "migrate repair",
]


@dataclass(frozen=True, slots=True)
class AdmissionRule:
    """What a change has to show on an environment with gates.

    `elsewhere`: not at all where protected, the command to use instead. `waits`: not in a freeze, unless a reason is
    recorded. `evidence` and `approvals`: those the gates ask for. `known_release`: only a release that came into
    service through the gates of its time. `reason`: where protected, what refuses it without one that is recorded.
    `tree`: the gates of the working tree count as well; what brings back or takes back asks for those of before only.
    """

    elsewhere: proposal.Proposal | None = None
    waits: bool = False
    evidence: bool = False
    approvals: bool = False
    known_release: bool = False
    reason: Code | None = None
    tree: bool = True


RULES: Mapping[Change, AdmissionRule] = {
    "up": AdmissionRule(elsewhere=proposal.DEPLOY, waits=True),
    "down": AdmissionRule(waits=True, tree=False),
    "deploy": AdmissionRule(waits=True, evidence=True, approvals=True),
    "rollback": AdmissionRule(known_release=True, tree=False),
    "restore": AdmissionRule(approvals=True, known_release=True, tree=False),
    "resume": AdmissionRule(tree=False),
    "undo": AdmissionRule(tree=False),
    "restart": AdmissionRule(known_release=True, tree=False),
    "rotate": AdmissionRule(known_release=True, tree=False),
    "relieve": AdmissionRule(known_release=True, tree=False),
    "trust": AdmissionRule(reason=codes.REASON_NEEDED, tree=False),
    "take over": AdmissionRule(reason=codes.REASON_NEEDED, tree=False),
    "exec": AdmissionRule(reason=codes.REASON_NEEDED, tree=False),
    "install": AdmissionRule(tree=False),
    "migrate up": AdmissionRule(waits=True, evidence=True, approvals=True),
    "migrate down": AdmissionRule(reason=DOWN_REFUSED),
    "migrate adopt": AdmissionRule(reason=codes.REASON_NEEDED),
    "migrate repair": AdmissionRule(reason=codes.REASON_NEEDED),
}
IMMEDIATE = frozenset({"up", "down", "migrate up"})
"""Changes that meet a freeze when they are asked for; a plan meets it in its first step, under the lock."""


@dataclass(frozen=True, slots=True)
class AdmissionState:
    """How an environment stands towards a change: its gates, whether its journal is in a control database, the time."""

    env: str
    gates: Gates
    controlled: bool
    now: datetime


def admit(change: Change, standing: AdmissionState, reason: str = "") -> Gates:
    """The gates that `change` still has to pass under the lock; open ones when there are none.

    Raises with exit 1: DOD361 where the change does not reach a protected environment, DOD360 in a freeze, DOD256
    or DOD363 without the reason it needs; DOD341 (exit 2) where protection lost the control database it rests on.
    """
    rule, gates, env = RULES[change], standing.gates, standing.env
    if gates.protected and not standing.controlled:
        said = f"`{env}` is protected by the release in service, and `[env.{env}]` has no `control_url` any more"
        raise DodaiError(codes.PROTECTION_INCOMPLETE, said, "put the `control_url` back", exit_code=2)
    if gates.protected and rule.elsewhere:
        said = f"`{env}` is protected: `{change}` does not reach it"
        raise DodaiError(codes.NOT_WHERE_PROTECTED, said, f"`{rule.elsewhere(env=env)}`", exit_code=1)
    if gates.protected and rule.reason and not reason:
        said = f"`{env}` is protected: `{change}` needs a reason"
        raise DodaiError(rule.reason, said, "give `--break-glass REASON`, which is recorded", exit_code=1)
    if rule.waits and change in IMMEDIATE and not reason:
        refuse_frozen(env, gates, standing.now)
    asked = Gates(freeze=gates.freeze if rule.waits else ())
    if rule.evidence:
        asked = replace(asked, evidence=gates.evidence, evidence_age_s=gates.evidence_age_s)
    if rule.approvals:
        asked = replace(asked, approvals=gates.approvals, approval_age_s=gates.approval_age_s, signers=gates.signers)
    return asked


def admit_resume(entry: PlanEntry, standing: AdmissionState, *, admitted: bool) -> None:
    """Let a plan that was interrupted go on: one that was let in, or whose own gates are no weaker than those of now.

    DOD361 (exit 1) for any other: it was begun around the gates, and can be taken back.
    """
    kind, env = entry.request.kind, standing.env
    if kind not in RULES:
        return  # it states something in the journal and changes nothing else
    kept = in_force(entry.request.arguments)
    try:
        needed = admit(cast("Change", kind), replace(standing, gates=replace(standing.gates, freeze=())))
    except DodaiError as error:
        raise replace(error, fix=f"take it back: `{proposal.RESUME_UNDO(env=env)}`") from None
    if not admitted and (needed.protected or needed.approvals) and needed.and_those_of(kept) != kept:
        said = f"plan `{entry.plan_id}` of `{env}` was made for weaker gates than those in force"
        raise DodaiError(
            codes.NOT_WHERE_PROTECTED, said, f"take it back: `{proposal.RESUME_UNDO(env=env)}`", exit_code=1
        )


def refuse_frozen(env: str, gates: Gates, now: datetime) -> None:
    """DOD360 (exit 1) with the window and its end, in a freeze."""
    if frozen := frozen_until(gates.freeze, now):
        window, ends = frozen
        raise DodaiError(
            codes.ENVIRONMENT_FROZEN,
            f"`{env}` is frozen until {ends.isoformat(timespec='minutes')} by `{window}`",
            "wait, or give `--break-glass REASON`, which is recorded",
            exit_code=1,
            data={"window": window, "until": ends.isoformat()},
        )


def let_in(served: Iterable[PlanEntry], admitted: frozenset[str]) -> frozenset[str]:
    """The releases that came into service through the gates of their time.

    `served` are the plans that brought them, the oldest first, `admitted` those that passed a gate. What came while
    nothing was asked counts; what came around a gate, as `up` once could, does not, however often it served.
    """
    good, before = set[str](), Gates()
    for plan in served:
        request = plan.request
        after, asked = afterwards(request.arguments), in_force(request.arguments)
        gated = before.protected or asked.protected or after.protected
        back = request.kind in ("rollback", "restore", "restart", "rotate") and request.release in good
        if not gated or plan.plan_id in admitted or back:
            good.add(request.release)
        before = after
    return frozenset(good)


def refuse_unknown(env: str, release: str, known: frozenset[str]) -> None:
    """DOD362 (exit 1) for a release that never came into service through a gate."""
    if release not in known:
        said = f"`{release}` never came into service through the gates of `{env}`"
        fix = f"go back to another one of `{proposal.RELEASES(env=env)}`, or bring it through the gates by a deploy"
        raise DodaiError(codes.NEVER_LET_IN, said, fix, exit_code=1)
