"""The gates of an environment: where they come from, and the steps of a deploy they become."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from dodai.core.errors import DodaiError
from dodai.engine.journal import Journal
from dodai.engine.plan import PlanRequest
from dodai.engine.private_file import damaged, read_json, write_private
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.run.production import belonging_step, evidence_step
from dodai.operations import codes
from dodai.operations.admission import RULES, AdmissionState, Change, admit, refuse_unknown
from dodai.operations.environment import Environment
from dodai.operations.environment_policy import EnvironmentPolicy
from dodai.operations.evidence import Source
from dodai.operations.freeze import window
from dodai.operations.gates import AFTERWARDS, IN_FORCE, Gates, Kept, afterwards, in_force, in_service
from dodai.operations.project import Project
from dodai.operations.run.audit_log import AuditLog, SourceEvidence
from dodai.operations.run.deploy import DeployPorts
from dodai.operations.run.gate import BREAK_GLASS, GatePorts, admission
from dodai.operations.run.restore import RESTORE

KEPT = "protection.json"
_WITHOUT_KEPT = "move it away: what the release in service asks for is in the journal as well, as long as that is whole"


def own_gates(project: Project, environment: EnvironmentPolicy, root: Path) -> Gates:
    """What the manifest of `project` asks for, signers read below `root`.

    Raises DOD340 and DOD341 (exit 2) for a gate that could not be kept: it is refused, never left open.
    """
    for text in environment.freeze:
        window(text)
    section = project.manifest.section("migrations") or {}
    age_s = MigrationsPolicy.from_manifest(section).evidence_age_s
    signers = machines = ""
    if environment.protected:
        if environment.lacks:
            raise _incomplete(environment, f"no {environment.lacks}")
        signers = _keys(environment, root, environment.allowed_signers if environment.approvals else "")
        machines = _keys(environment, root, environment.evidence_signers)
        if environment.evidence_signers and not machines.strip():  # it would ask for no signature
            raise _incomplete(environment, f"`{environment.evidence_signers}` is empty")
    return Gates.of(environment, age_s, signers, machines)


def _keys(environment: EnvironmentPolicy, root: Path, path: str) -> str:
    """The text of a file of keys; `""` where none is named."""
    if not path:
        return ""
    try:
        return (root / path).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _incomplete(environment, f"`{path}` cannot be read: {reason}") from None


def _incomplete(environment: EnvironmentPolicy, lacks: str) -> DodaiError:
    said = f"`[env.{environment.name}]` is protected: {lacks}"
    return DodaiError(codes.PROTECTION_INCOMPLETE, said, codes.PROTECTION_INCOMPLETE.fix.en, exit_code=2)


async def standing(here: Environment, change: Change) -> AdmissionState:
    """How `here` stands towards `change`, whatever today's tree says."""
    gates = await gates_in_service(here)
    if RULES[change].tree:
        gates = own_gates(here.project, here.config, here.project.root).and_those_of(gates)
    now = datetime.now(UTC)
    if here.control.exists:
        with here.control.first_journal() as journal:
            now = await journal.now()
    return AdmissionState(here.name, gates, bool(here.config.control_url), now)


async def gate_arguments(here: Environment, change: Change, release: Project, reason: str = "") -> dict[str, str]:
    """The gates that a request carries: of the release in service, of the new one and of the working tree.

    Going back changes none; where protected, its files have to be those that were published (DOD366) and let in
    (DOD362). One that puts older data back passes the approvals: people lose what they wrote since.
    """
    before = await gates_in_service(here)
    if change not in ("deploy", "up"):
        if before.protected:
            here.artifacts.proven(release.root.parent.name)
            refuse_unknown(here.name, release.root.parent.name, await AuditLog(here.journal).let_in())
        return _told({AFTERWARDS: before, IN_FORCE: admit(change, await standing(here, change), reason)})
    there = await standing(here, change)
    name = here.name
    known = release.policy.environments
    own = own_gates(release, known[name], release.root) if name in known else Gates()
    asked = admit(change, replace(there, gates=own.and_those_of(there.gates)), reason)
    return _told(
        {IN_FORCE: asked if change == "deploy" else Gates(), AFTERWARDS: own if change == "deploy" else before}
    )


def _told(gates: Mapping[str, Gates]) -> dict[str, str]:
    """Without gates a request stays as it is."""
    return {name: one.as_text() for name, one in gates.items() if one != Gates()}


async def gates_in_service(here: Environment) -> Gates:
    """What the release in service asks of the next one: by the journal, by its copy here, and by `protection.json`.

    The last two count for what the journal lost or never had: a database that was emptied opens nothing, nor does a
    manifest that names another `folder`.
    """
    remembered = [read_kept(folder) for folder in {here.folder, here.project.state / "env" / here.name}]
    if not here.control.exists:
        return in_service(Kept(), remembered, lambda _: False)
    with here.control.first_journal() as journal:
        newest = await _kept_by(journal)
        others = [*remembered, await _kept_by_copy(here)]
        known = {one.plan_id for one in others if one.plan_id and await journal.entry(one.plan_id)}
    return in_service(newest, others, known.__contains__)


async def _kept_by(journal: Journal) -> Kept:
    newest = next(iter(await journal.of_kind("released", 1)), None)
    entry = await journal.entry(newest.plan_id) if newest else None
    return Kept(entry.plan_id, afterwards(entry.request.arguments)) if entry else Kept()


async def _kept_by_copy(here: Environment) -> Kept:
    """What the copy beside a control database says; nothing where there is none that can be read."""
    try:
        copy = here.control.copy()
        if copy is None:
            return Kept()
        with copy as journal:
            return await _kept_by(journal)
    except DodaiError:
        return Kept()


def read_kept(folder: Path) -> Kept:
    """The gates that the folder of an environment remembers."""
    found = read_json(folder / KEPT, dict, _WITHOUT_KEPT)
    try:
        return Kept(found["plan"], Gates.from_text(found["gates"])) if found is not None else Kept()
    except (KeyError, ValueError, TypeError) as error:
        raise damaged(folder / KEPT, f"{type(error).__name__} {error}", _WITHOUT_KEPT) from None


def keep(folder: Path, kept: Kept) -> None:
    """Remember them: whatever becomes of the journal, this machine knows what was asked for."""
    write_private(folder / KEPT, json.dumps({"plan": kept.plan_id, "gates": kept.gates.as_text()}).encode())


def gated(here: Environment, request: PlanRequest, tree: Path, ports: DeployPorts) -> DeployPorts:
    """`ports` with what stands before the first step of a plan, and what before the migrations of a deploy."""
    gates = in_force(request.arguments)
    back = request.kind in ("rollback", RESTORE, "restart", "rotate") and afterwards(request.arguments).protected
    if request.kind == "up" or (gates == Gates() and not back and not request.arguments.get(BREAK_GLASS)):
        return ports

    def source() -> Source:
        return Source(here.artifacts.proven(request.release), request.manifest_hash)

    asked = GatePorts(AuditLog(here.journal), here.signatures, source)
    ports = replace(ports, admission=(admission(request, here.artifacts.digest(request.release), asked),))
    if not (ports.migrate and gates.protected):
        return ports
    migrations = here.migrations.target(tree)
    store = SourceEvidence(AuditLog(here.journal), source, gates, here.signatures)
    proof = evidence_step(migrations, env=request.env, evidence=store)
    return replace(ports, migrate=(proof, belonging_step(migrations, request.env), *ports.migrate))
