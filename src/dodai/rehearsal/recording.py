"""A rehearsal as evidence for an environment: of a commit that is checked out without a change, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.journal import refuse_unfinished
from dodai.migrations.goose_file import history_of
from dodai.operations.environment import Environment
from dodai.operations.evidence import NAMESPACE, RehearsalRecord
from dodai.operations.run.audit_log import AuditLog
from dodai.operations.run.build import publish
from dodai.operations.run.gate_sources import standing
from dodai.operations.run.override import state
from dodai.rehearsal.commit import clean_commit, no_evidence
from dodai.rehearsal.drills.restore import ID as RESTORE_DRILL
from dodai.rehearsal.report import RehearsalReport


@dataclass(frozen=True, slots=True)
class Recording:
    """A rehearsal that is to count for `environment`; `commit` is what was checked out when it began.

    `key` is what this machine signs with, as `signer`; both empty where nobody asks for a signature.
    """

    environment: Environment
    commit: str
    signer: str = ""
    key: Path | None = None

    @classmethod
    async def begin(cls, environment: Environment, key: Path | None = None) -> Recording:
        """Refuse what could not be recorded before a minute is spent: DOD257 (exit 1), DOD355, DOD376."""
        commit = await asyncio.to_thread(clean_commit, environment.project.root, environment.name)
        if environment.control.exists:
            with environment.journal() as journal:
                refuse_unfinished(await journal.unfinished(environment.name))
        return cls(environment, commit, await _signer(environment, key), key)

    async def finish(self, report: RehearsalReport, note: Callable[[str], None]) -> RehearsalRecord:
        """What was written into the journal of the environment, the outcome included; a failed one counts for nothing.

        What is pending there is tried on a copy of its database as well, when that runs.
        """
        here, name = self.environment, self.environment.name
        root = here.project.root
        release = await asyncio.to_thread(publish, here)
        if release != report.tree or await asyncio.to_thread(clean_commit, root, name) != self.commit:
            raise no_evidence(name, "it changed while it was rehearsed")
        pending, problem = await self._migrations(note)
        rehearsed = RehearsalRecord(
            level="source",
            tree=here.artifacts.proven(release),
            config=here.project.manifest.hash,
            release=release,
            commit=self.commit,
            pending=pending,
            outcome=problem or report.outcome,
            at=(await AuditLog(here.journal).now()).isoformat(),
            drills=len(report.drills),
            restored=any(drill.id == RESTORE_DRILL and drill.outcome == "ok" for drill in report.drills),
        )
        rehearsed = await self._signed(rehearsed)
        await state(here, "rehearse", rehearsed.as_data(), release=release)
        return rehearsed

    async def _signed(self, rehearsed: RehearsalRecord) -> RehearsalRecord:
        if self.key is None:
            return rehearsed
        named = replace(rehearsed, signer=self.signer)
        words, ssh = named.signed(self.environment.name).message, self.environment.signatures
        return replace(named, signature=await asyncio.to_thread(ssh.sign, words, self.key, NAMESPACE))

    async def _migrations(self, note: Callable[[str], None]) -> tuple[tuple[str, ...], str]:
        """The checksums of what was tried, in order, and what went wrong with it on a copy of the target."""
        here = self.environment
        if here.project.migrations is None:
            return (), ""
        if not await here.database.running():
            return tuple(m.raw_sha256 for m in history_of(here.migrations.target(here.project.root)).sound()), ""
        seen = await asyncio.to_thread(here.migrations.try_on_copy, note)
        if seen.failure:
            note(f"on a copy of `{here.name}`: {seen.failure}")
        return seen.checksums, f"failed: {seen.failure.code.id}" if seen.failure else ""


async def _signer(here: Environment, key: Path | None) -> str:
    """Who signs by the keys that a deploy will ask for; DOD257 (exit 1) without one of them."""
    signers = (await standing(here, "deploy")).gates.evidence_signers
    if not signers:
        if key is not None:
            raise no_evidence(
                here.name, f"`[env.{here.name}]` names no `evidence_signers`, so `{key}` vouches for nothing"
            )
        return ""
    if key is None:
        raise no_evidence(here.name, "it counts with the signature of a machine only: add `--key FILE`")
    try:
        return await asyncio.to_thread(here.signatures.principal, key, signers)
    except DodaiError as error:
        raise no_evidence(here.name, f"`{key}` is none of `evidence_signers`: {error.message}") from None
