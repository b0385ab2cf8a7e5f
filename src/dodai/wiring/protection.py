"""The gates of an environment: where they come from, and the steps of a deploy they become."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from dodai.core.errors import DodaiError
from dodai.engine.journal import Journal
from dodai.engine.plan import PlanRequest
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.run.production import belonging_step, evidence_step
from dodai.operations import codes
from dodai.operations.evidence import Source
from dodai.operations.freeze import window
from dodai.operations.gates import AFTERWARDS, IN_FORCE, Gates, afterwards, in_force
from dodai.operations.policy import EnvironmentPolicy
from dodai.operations.run import RESTORE, DeployPorts
from dodai.operations.run.gate import BREAK_GLASS, GatePorts, admission
from dodai.providers.local.release_tree import ReleaseTrees
from dodai.providers.local.signature import SshKeygen
from dodai.wiring.migrations import target
from dodai.wiring.statements import JournalStatements, SourceEvidence

if TYPE_CHECKING:
    from dodai.wiring.project import Project


class Database(Protocol):
    def url(self) -> str: ...


class Here(Protocol):
    """What an environment has to know about itself."""

    @property
    def project(self) -> Project: ...
    @property
    def environment(self) -> EnvironmentPolicy: ...
    @property
    def releases(self) -> ReleaseTrees: ...
    @property
    def database(self) -> Database: ...
    @property
    def statements(self) -> JournalStatements: ...
    @property
    def has_journal(self) -> bool: ...
    def journal(self) -> AbstractContextManager[Journal]: ...


def own_gates(project: Project, environment: EnvironmentPolicy, root: Path) -> Gates:
    """What the manifest of `project` asks for, signers read below `root`.

    Raises DOD340 and DOD341 (exit 2) for a gate that could not be kept: it is refused, never left open.
    """
    for text in environment.freeze:
        window(text)
    section = project.manifest.section("migrations") or {}
    age_s = MigrationsPolicy.from_manifest(section).evidence_age_s
    signers = ""
    if environment.protected:
        if environment.lacks:
            raise _incomplete(environment, f"no {environment.lacks}")
        signers = _signers(environment, root)
    return Gates.of(environment, age_s, signers)


def _signers(environment: EnvironmentPolicy, root: Path) -> str:
    if not environment.approvals:
        return ""
    try:
        return (root / environment.allowed_signers).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _incomplete(environment, f"`{environment.allowed_signers}` cannot be read: {reason}") from None


def _incomplete(environment: EnvironmentPolicy, lacks: str) -> DodaiError:
    said = f"`[env.{environment.name}]` is protected: {lacks}"
    return DodaiError(codes.PROTECTION_INCOMPLETE, said, codes.PROTECTION_INCOMPLETE.fix.en, exit_code=2)


async def gate_arguments(here: Here, kind: str, release: Project) -> dict[str, str]:
    """The gates that a request carries: of the release in service, of the new one and of the working tree.

    Going back changes none; where protected, its files have to be those that were published (DOD366). A rollback passes
    none, and one that puts older data back the approvals: people lose what they wrote since.
    """
    before = await gates_in_service(here)
    if kind != "deploy":
        if before.protected:
            here.releases.proven(release.root.parent.name)
        return _told({AFTERWARDS: before, **({IN_FORCE: before.signatures()} if kind == RESTORE else {})})
    name = here.environment.name
    known = release.policy.environments
    own = own_gates(release, known[name], release.root) if name in known else Gates()
    mine = own_gates(here.project, here.environment, here.project.root)
    return _told({IN_FORCE: own.and_those_of(mine).and_those_of(before), AFTERWARDS: own})


def _told(gates: Mapping[str, Gates]) -> dict[str, str]:
    """Without gates a request stays as it is."""
    return {name: one.as_text() for name, one in gates.items() if one != Gates()}


async def gates_in_service(here: Here) -> Gates:
    """What the release in service asks of the next one."""
    if not here.has_journal:
        return Gates()
    with here.journal() as journal:
        newest = next(iter(await journal.of_kind("released", 1)), None)
        entry = await journal.entry(newest.plan_id) if newest else None
    return afterwards(entry.request.arguments) if entry else Gates()


def gated(here: Here, request: PlanRequest, tree: Path, ports: DeployPorts) -> DeployPorts:
    """`ports` with what stands before the first step of a plan, and what before the migrations of a deploy."""
    gates = in_force(request.arguments)
    if request.kind not in ("deploy", RESTORE) or (gates == Gates() and not request.arguments.get(BREAK_GLASS)):
        return ports

    def source() -> Source:
        return Source(here.releases.proven(request.release), request.manifest_hash)

    asked = GatePorts(here.statements, SshKeygen(), source)
    ports = replace(ports, admission=(admission(request, here.releases.digest(request.release), asked),))
    if not (ports.migrate and gates.protected):
        return ports
    migrations = target(here.project, tree, here.database.url)
    store = SourceEvidence(here.statements, source, gates)
    proof = evidence_step(migrations, env=request.env, evidence=store)
    return replace(ports, migrate=(proof, belonging_step(migrations, request.env), *ports.migrate))
