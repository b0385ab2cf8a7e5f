"""The audit log of an environment: rehearsals, approvals, admissions, overrides, each an event of its journal."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any

from dodai.core import codes, proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.journal import Journal, Kind, PlanEntry
from dodai.engine.plan import Observed, Plan, PlanRequest, Step, StepContext
from dodai.migrations.ports import Evidence
from dodai.operations.admission import let_in
from dodai.operations.approval import Approval, Verifier
from dodai.operations.evidence import Demand, RehearsalRecord, Source
from dodai.operations.gates import Gates
from dodai.operations.run.gate import Admitted

STATEMENT = "statement"
"""The argument of a request that carries the words."""
KINDS: Mapping[str, Kind] = {
    "rehearse": "rehearsed",
    "approve": "approved",
    "break-glass": "glass_broken",
    "exec": "executed",
    "exec-ended": "execution_ended",
}
"""Which kind of event each kind of plan writes."""
_TITLES = {
    "rehearse": Text("a rehearsal is on record", "リハーサルを記録"),
    "approve": Text("an approval is on record", "承認を記録"),
    "break-glass": Text("a broken glass is on record", "緊急解除を記録"),
    "exec": Text("a command in the place of a service is on record", "サービス環境でのコマンド実行を記録"),
    "exec-ended": Text("the end of a command is on record", "コマンドの終了を記録"),
}


@dataclass(frozen=True, slots=True)
class AuditLog:
    """`operations.run.gate.Statements`: events of the journal, so they are chained, copied and never changed."""

    open: Callable[[], AbstractContextManager[Journal]]

    async def now(self) -> datetime:
        with self.open() as journal:
            return await journal.now()

    async def rehearsals(self) -> tuple[RehearsalRecord, ...]:
        with self.open() as journal:
            events = await journal.of_kind("rehearsed")
        return tuple(RehearsalRecord.from_data(event.data, event.plan_id) for event in events)

    async def restore_tested(self) -> datetime | None:
        """When a restore was last rehearsed for this environment, or, if it never was, when its first release got in;
        None for one that has no release either.
        """
        tested = [record.at for record in await self.rehearsals() if record.restored]
        with self.open() as journal:
            released = [event.at for event in await journal.of_kind("released", limit=10_000)]
        moments = [datetime.fromisoformat(at) for at in tested or released]
        return (max(moments) if tested else min(moments)) if moments else None

    async def approvals(self) -> tuple[Approval, ...]:
        with self.open() as journal:
            events = await journal.of_kind("approved", limit=10_000)
        return tuple(Approval.from_data(event.data, event.seq) for event in events)

    async def admitted(self) -> tuple[Admitted, ...]:
        with self.open() as journal:
            events = await journal.of_kind("admitted", limit=10_000)
        return tuple(Admitted(event.plan_id, event.data["plan"], event.seq, event.data["by"]) for event in events)

    async def let_in(self) -> frozenset[str]:
        with self.open() as journal:
            events = reversed(await journal.of_kind("released", limit=10_000))
            plans = [entry for event in events if (entry := await journal.entry(event.plan_id))]
            admitted = frozenset(event.plan_id for event in await journal.of_kind("admitted", limit=10_000))
        return let_in(plans, admitted)

    async def plan(self, plan_id: str) -> PlanEntry:
        with self.open() as journal:
            entry = await journal.entry(plan_id)
        if entry is None:
            fix = f"see `{proposal.HISTORY(env='ENV')}`"
            raise DodaiError(codes.UNKNOWN_WORD, f"the journal has no plan `{plan_id}`", fix, exit_code=2)
        return entry

    async def admit(self, context: StepContext, plan: str, by: Mapping[str, Any]) -> None:
        await self._write(context, "admitted", {"plan": plan, "by": dict(by)})

    def statement(self, request: PlanRequest) -> Plan:
        """The plan that writes a statement down."""

        async def is_there(context: StepContext) -> bool:
            with self.open() as journal:
                return any(event.kind == KINDS[request.kind] for event in await journal.events(context.plan_id))

        return statement(request, is_there, self._write)

    async def _write(self, context: StepContext, kind: Kind, data: Mapping[str, Any]) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        token, step_id = context.fencing_token, context.step_id
        with self.open() as journal:
            await journal.append(context.plan_id, kind, step_id=step_id, data=data, token=token, at=at)


@dataclass(frozen=True, slots=True)
class SourceEvidence:
    """`migrations.ports.EvidenceStore`: of all rehearsals only those that count for this source."""

    statements: AuditLog
    source: Callable[[], Source]
    gates: Gates
    verifier: Verifier

    def rehearsals(self, env: str) -> tuple[Evidence, ...]:
        return asyncio.run(self._those_that_count(env))

    async def _those_that_count(self, env: str) -> tuple[Evidence, ...]:
        now, found = await self.statements.now(), await self.statements.rehearsals()
        good = Demand(env, self.source(), self.gates, now, self.verifier).those_that_count(found)
        return tuple(Evidence(one.id, one.pending, one.age_s(now), "done") for one in good)


def stated(kind: str, env: str, actor: str, words: Mapping[str, Any], *, release: str = "") -> PlanRequest:
    """The request to write `words` down."""
    return PlanRequest(kind, env, release, actor, arguments={STATEMENT: json.dumps(dict(words), sort_keys=True)})


def statement(
    request: PlanRequest,
    is_there: Callable[[StepContext], Awaitable[bool]],
    write: Callable[[StepContext, Kind, Mapping[str, Any]], Awaitable[None]],
) -> Plan:
    """The plan of one step that writes it, once: under the lock, in the chain, finished by a resume like any other."""

    async def observe(context: StepContext) -> Observed:
        return Observed("done" if await is_there(context) else "needed", "not on record yet")

    async def apply(context: StepContext) -> None:
        await write(context, KINDS[request.kind], json.loads(request.arguments[STATEMENT]))

    title = _TITLES[request.kind]
    step = Step(
        id="state",
        title=title,
        area="operations",
        observe=observe,
        apply=apply,
        verify=observe,
        on_failure="fix_forward",
        timeout_s=30.0,
    )
    return Plan(request, title, (step,), beside=True)
