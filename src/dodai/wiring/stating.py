"""What passes the gates of an environment, or states something in its journal, outside of a deploy."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from dodai.core.errors import DodaiError
from dodai.engine.execute import execute
from dodai.migrations.ports import Target
from dodai.migrations.run.production import require_evidence
from dodai.operations import codes
from dodai.operations.evidence import Source
from dodai.operations.run.gate import refuse_frozen
from dodai.operations.run.statement import stated
from dodai.wiring.local import LocalEnvironment, actor
from dodai.wiring.protection import gates_in_service, own_gates
from dodai.wiring.statements import SourceEvidence


async def state(here: LocalEnvironment, kind: str, words: Mapping[str, Any], *, release: str = "") -> str:
    """The plan id under which `words` were written down, with the lock held; raises what kept it from being written."""
    request = stated(kind, here.environment.name, actor(), words, release=release)
    with here.journal() as journal:
        outcome = await execute(here.build(request), journal, here.lease(request))
    if error := outcome.error():
        raise error
    return outcome.plan_id


def pass_outside_of_a_deploy(here: LocalEnvironment, target: Target, command: str, glass: str) -> None:
    """Let `migrate up` through the gates of `here`, or refuse it (exit 1).

    Evidence as for a deploy, no freeze (DOD360), unless `glass` says why it cannot wait. What needs approvals is a
    deploy (DOD369): only a plan can be signed. `migrate down` has its own rule, see `break_glass`.
    """
    gates = own_gates(here.project, here.environment, here.project.root)
    gates = gates.and_those_of(asyncio.run(gates_in_service(here)))
    env = here.environment.name
    if gates.approvals:
        said = f"`{env}` asks for {gates.approvals} approvals, and `{command}` is no plan that could be signed"
        raise DodaiError(codes.APPROVAL_NEEDED, said, f"`dodai deploy {env}` migrates as well", exit_code=1)
    if glass:
        break_glass(here, command, glass)
    elif gates.freeze:
        refuse_frozen(env, gates, asyncio.run(here.statements.now()))
    if gates.protected:
        require_evidence(target, env=env, evidence=SourceEvidence(here.statements, lambda: _working(here), gates))


def break_glass(here: LocalEnvironment, command: str, reason: str) -> None:
    """Write down, before anything is done, that a gate was passed, by whom and why."""
    asyncio.run(state(here, "break-glass", {"command": command, "reason": reason}))


def is_protected(here: LocalEnvironment) -> bool:
    """By the working tree, or by the release in service."""
    return here.environment.protected or asyncio.run(gates_in_service(here)).protected


def _working(here: LocalEnvironment) -> Source:
    """The working tree as a release of it would be."""
    release = here.releases.publish(str(here.project.root))
    return Source(here.releases.proven(release), here.project.manifest.hash)
