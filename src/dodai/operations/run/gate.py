"""The step that admits a plan: no freeze, fresh evidence of the same source, approvals. Once in, always in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Protocol, cast

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.journal import PlanEntry
from dodai.engine.plan import Observed, PlanRequest, Step, StepContext
from dodai.migrations.codes import EVIDENCE_NEEDED
from dodai.operations import codes
from dodai.operations.admission import RULES, Change, refuse_frozen, refuse_unknown
from dodai.operations.approval import Approval, ApprovalRequest, Count, Verifier, count
from dodai.operations.evidence import Demand, RehearsalRecord, Source
from dodai.operations.gates import Gates, afterwards, in_force

BREAK_GLASS = "break_glass"
"""The argument of a request that carries the reason."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A plan that was let in, at `seq` of the journal, and what let it in."""

    plan_id: str
    plan: str
    seq: int
    by: Mapping[str, Any]


class Statements(Protocol):
    """What the journal of an environment says beside its plans."""

    async def now(self) -> datetime:
        """The time by the journal's own clock."""
        ...

    async def rehearsals(self) -> tuple[RehearsalRecord, ...]: ...

    async def approvals(self) -> tuple[Approval, ...]: ...

    async def admitted(self) -> tuple[Admitted, ...]: ...

    async def let_in(self) -> frozenset[str]:
        """The releases that came into service through the gates of their time."""
        ...

    async def plan(self, plan_id: str) -> PlanEntry: ...

    async def admit(self, context: StepContext, plan: str, by: Mapping[str, Any]) -> None:
        """Write down that the plan was let in, and by what."""
        ...


@dataclass(frozen=True, slots=True)
class GatePorts:
    """What the gate asks: the journal, `ssh-keygen`, and the files of the release as they are now."""

    statements: Statements
    verifier: Verifier
    source: Callable[[], Source]


def admission(request: PlanRequest, tree: str, ports: GatePorts) -> Step:
    """The gate of `request`; `tree` is the SHA-256 over the release, so that a signature covers every byte of it.

    Refuses with exit 1: DOD360 in a freeze window, DOD257 without evidence, DOD369 without enough approvals, and where
    the release in service is protected DOD362 for going back to one that no gate ever let in.
    """
    gate = _Gate(request, in_force(request.arguments), ports)
    return Step(
        id="admission",
        title=Text("nothing forbids the deploy, and who has to agree did", "デプロイの条件と必要な承認がそろっている"),
        area="operations",
        observe=gate.observe,
        apply=gate.apply,
        verify=gate.observe,
        timeout_s=60.0,
        inputs={"tree": tree},
    )


@dataclass(frozen=True, slots=True)
class _Gate:
    request: PlanRequest
    gates: Gates
    ports: GatePorts

    async def observe(self, context: StepContext) -> Observed:
        """Done once it was let in: what it was let in by may have run out when the plan is resumed."""
        if any(one.plan_id == context.plan_id for one in await self.ports.statements.admitted()):
            return Observed("done", "was let in")
        return Observed("needed", ", ".join((await self._reasons(context)).values()) or "no gate is closed")

    async def apply(self, context: StepContext) -> None:
        by = await self._reasons(context)
        for reason in by.values():
            context.note(reason)
        entry = await self.ports.statements.plan(context.plan_id)
        await self.ports.statements.admit(context, entry.plan_hash, by)

    async def _reasons(self, context: StepContext) -> dict[str, str]:
        """What opens each gate, in words; raises at the first that stays closed."""
        now, found = await self.ports.statements.now(), dict[str, str]()
        if glass := self.request.arguments.get(BREAK_GLASS, ""):
            found["freeze"] = f"break-glass: {glass}"
        else:
            refuse_frozen(self.request.env, self.gates, now)
        if RULES[cast("Change", self.request.kind)].known_release and afterwards(self.request.arguments).protected:
            refuse_unknown(self.request.env, self.request.release, await self.ports.statements.let_in())
            source = await asyncio.to_thread(self.ports.source)
            found["release"] = f"tree {source.tree[:16]} was let in before"
        if self.gates.protected:
            proof = await self._evidence(now)
            found["evidence"] = f"rehearsal {proof.id} of commit {proof.commit[:12]}, level {proof.level}"
        if self.gates.approvals:
            good = (await self._approvals(context, now)).good
            found["approvals"] = "approved by " + ", ".join(f"{one.principal} ({key})" for one, key in good)
        return found

    async def _evidence(self, now: datetime) -> RehearsalRecord:
        source = await asyncio.to_thread(self.ports.source)
        found = await self.ports.statements.rehearsals()
        demand = Demand(self.request.env, source, self.gates, now, self.ports.verifier)
        good = await asyncio.to_thread(demand.those_that_count, found)
        if not good:
            raise no_evidence(found, demand)
        return good[0]

    async def _approvals(self, context: StepContext, now: datetime) -> Count:
        entry = await self.ports.statements.plan(context.plan_id)
        before = [one.seq for one in await self.ports.statements.admitted() if one.plan == entry.plan_hash]
        asked = ApprovalRequest(entry.plan_hash, self.request.env, entry.request.actor, now, max(before, default=0))
        found = await self.ports.statements.approvals()
        counted = await asyncio.to_thread(count, found, asked, self.gates, self.ports.verifier)
        if len(counted.good) < self.gates.approvals:
            raise _unapproved(entry, counted, self.gates)
        return counted


def no_evidence(found: tuple[RehearsalRecord, ...], demand: Demand) -> DodaiError:
    """DOD257 (exit 1): which source, and why the newest rehearsals do not count."""
    env, source = demand.env, demand.source
    return DodaiError(
        EVIDENCE_NEEDED,
        f"`{env}` has no fresh rehearsal of this source (tree `{source.tree[:16]}`, manifest `{source.config[:12]}`)",
        EVIDENCE_NEEDED.fix.en.replace("ENV", env),
        exit_code=1,
        details=tuple(f"{one.id} of {one.release} {demand.lacks(one)}" for one in found[:3]),
    )


def _unapproved(entry: PlanEntry, counted: Count, gates: Gates) -> DodaiError:
    env, missing = entry.request.env, gates.approvals - len(counted.good)
    return DodaiError(
        codes.APPROVAL_NEEDED,
        f"plan `{entry.plan_hash[:12]}` of `{env}` lacks {missing} of {gates.approvals} approvals",
        f"somebody else runs `{proposal.APPROVE(plan=entry.plan_id)}`",
        exit_code=1,
        details=counted.refused[-3:],
        data={"plan": entry.plan_hash, "planId": entry.plan_id},
    )
