"""Approving a plan that waits in the journal: rebuilt, shown, signed, checked, then recorded."""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from dodai.core import codes as core
from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.actor import actor
from dodai.engine.codes import PLAN_CHANGED
from dodai.engine.journal import PlanEntry
from dodai.engine.plan import Plan
from dodai.operations import codes
from dodai.operations.approval import Approval, is_same_person
from dodai.operations.environment import Environment
from dodai.operations.gates import Gates, in_force
from dodai.operations.project import Project
from dodai.operations.run.audit_log import AuditLog
from dodai.operations.run.differences import PlanDifference, differences
from dodai.operations.run.override import state
from dodai.operations.run.plans import build
from dodai.operations.run.schema import ReleaseSchema

SHORTEST_HASH = 8


@dataclass(frozen=True, slots=True)
class Waiting:
    """A plan that asks for approvals, as the journal of `environment` has it and as this dodai builds it."""

    environment: Environment
    entry: PlanEntry
    plan: Plan

    @property
    def gates(self) -> Gates:
        return in_force(self.entry.request.arguments)

    @classmethod
    async def find(cls, environments: Iterable[Environment], word: str) -> Waiting:
        """The plan that `word` is the id of, or begins the hash of; DOD051 (exit 2) when there is none.

        The chain of its journal is whole, and the plan is rebuilt from the request: DOD353, DOD356 (exit 4) otherwise.
        """
        for environment in environments:
            if not environment.control.exists:
                continue
            with environment.journal() as journal:
                entry = await journal.entry(word) or _by_hash(await journal.history(environment.name), word)
                if entry:
                    await journal.verify_chain()
                    return cls(environment, entry, _rebuilt(environment, entry))
        fix = f"it is in the message of the deploy that was refused; see `{proposal.HISTORY(env='ENV')}`"
        raise DodaiError(core.UNKNOWN_WORD, f"no environment knows a plan `{word}`", fix, exit_code=2)

    async def approve(self, key: Path, name: str = "") -> tuple[Approval, str]:
        """The approval as it was recorded, and the print of its key; DOD369 (exit 1) for one that would not count."""
        entry, gates = self.entry, self.gates
        self.refuse_pointless()
        principal = name or self.environment.signatures.principal(key, gates.signers)
        if is_same_person(principal, entry.request.actor):
            raise _refused(f"`{principal}` is who deploys: `{entry.request.actor}`", "somebody else approves it")
        now = await AuditLog(self.environment.journal).now()
        ends = now + timedelta(seconds=gates.approval_age_s)
        unsigned = Approval(entry.plan_hash, entry.request.env, principal, now.isoformat(), ends.isoformat())
        ssh = self.environment.signatures
        signature = await asyncio.to_thread(ssh.sign, unsigned.message, key)
        approval = replace(unsigned, signature=signature, account=f"{actor()} on {platform.node()}")
        print_ = await asyncio.to_thread(ssh.key, approval.signed, gates.signers, now)
        if not print_:
            raise _refused(f"`{key}` may not sign as `{principal}`", "name the key that stands in `allowed_signers`")
        mine = [name for name in ssh.names(print_, gates.signers) if is_same_person(name, entry.request.actor)]
        if mine:
            said = f"`{key}` stands for `{mine[0]}` as well, who deploys: `{entry.request.actor}`"
            raise _refused(said, "somebody else approves it")
        await state(self.environment, "approve", approval.as_data(), release=entry.request.release)
        return approval, print_

    async def shown(self) -> tuple[PlanDifference, ...]:
        """What a signature is for: the commit that was rehearsed, then what would not be as it is."""
        request = self.entry.request
        rehearsed = await AuditLog(self.environment.journal).rehearsals()
        commits = dict.fromkeys(one.commit for one in rehearsed if one.release == request.release and one.commit)
        commit = ", ".join(commits) or "unknown: no rehearsal of this release is on record"
        found = await differences(self.environment, request)
        return (PlanDifference("commit", commit), *found)

    async def pending(self) -> tuple[Project, tuple[str, ...] | None]:
        """The project as the release has it, and the migrations that the plan would apply; None where nobody knows."""
        project = self.environment.released(self.entry.request.release)
        if self.entry.request.kind == "rollback" or project.migrations is None:
            return project, ()
        return project, await ReleaseSchema(self.environment).pending(project)

    def refuse_pointless(self) -> None:
        """DOD369 (exit 1) for a plan that asks for no approval, or was carried out."""
        if not self.gates.approvals:
            raise _refused(f"`{self.entry.plan_id}` asks for no approval", "carry it out")
        if self.entry.closed and self.entry.exit_code == 0:
            raise _refused(f"`{self.entry.plan_id}` was carried out already", "approve the plan of the next deploy")


def _by_hash(entries: tuple[PlanEntry, ...], word: str) -> PlanEntry | None:
    if len(word) < SHORTEST_HASH:
        return None
    return next((entry for entry in entries if entry.plan_hash.startswith(word)), None)


def _rebuilt(environment: Environment, entry: PlanEntry) -> Plan:
    plan = build(environment, entry.request)
    if plan.hash != entry.plan_hash:
        said = (
            f"plan `{entry.plan_id}` is `{entry.plan_hash[:12]}` in the journal, this dodai builds `{plan.short_hash}`"
        )
        raise DodaiError(PLAN_CHANGED, said, "approve with the dodai version that made it", exit_code=4)
    return plan


def _refused(message: str, fix: str) -> DodaiError:
    return DodaiError(codes.APPROVAL_NEEDED, message, fix, exit_code=1)
