"""An environment: a named place where releases serve, as a value of ports."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal, Protocol

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.journal import Journal
from dodai.engine.lease import Lease
from dodai.engine.place import Claim, StatePlace, lives_elsewhere
from dodai.engine.plan import PlanRequest
from dodai.observability.ports import KeptCounters, PlatformLines
from dodai.operations import codes
from dodai.operations.approval import Signatures
from dodai.operations.environment_policy import FIT_NAME, EnvironmentPolicy
from dodai.operations.journey import Visit
from dodai.operations.ports import (
    Artifacts,
    Compute,
    Control,
    DatabaseService,
    DoctorRow,
    Edge,
    Host,
    IdentityService,
    Logins,
    Logs,
    MigrationsService,
    SecretStore,
)
from dodai.operations.project import Project


class Describe(Protocol):
    """Gives the same environment as another version of the manifest describes it."""

    def __call__(self, project: Project, config: EnvironmentPolicy | None = None, /) -> Environment: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Everything a command acts through; `wiring.environments.open` puts it together from the manifest.

    `folder` is what this machine knows of it. `host` is None unless its parts run as processes of this machine.
    `described_by` gives the same environment with the services of another version of the manifest, and with another
    `[env.NAME]` when that is given, `kept_in` with another folder. `logs` is None where nobody can be asked for the
    output of services, `lines` and `counters` where no platform keeps them, `edge_keys` where its edge has its own.
    `sends_key`: its edge sends a key that the public service is told, kept with all other secrets.
    `logins` is None where services sign in at the database as the role that migrates.
    `keeps_limits`: its edge can hold clients to the rate limits of the manifest.
    """

    project: Project
    config: EnvironmentPolicy
    folder: Path
    compute: Compute
    artifacts: Artifacts
    database: DatabaseService
    migrations: MigrationsService
    edge: Edge
    secrets: SecretStore
    control: Control
    signatures: Signatures
    visit: Visit
    described_by: Describe
    kept_in: Callable[[Path], Environment]
    host: Host | None = None
    keeps_limits: bool = True
    accounts: Callable[[], tuple[DoctorRow, ...]] = tuple
    identity: IdentityService | None = None
    logs: Logs | None = None
    lines: PlatformLines | None = None
    counters: KeptCounters | None = None
    edge_keys: SecretStore | None = None
    sends_key: bool = False
    logins: Logins | None = None

    @property
    def name(self) -> str:
        return self.config.name

    def journal(self) -> AbstractContextManager[Journal]:
        """The journal, open; DOD376 when it is in a control database that does not answer."""
        return self.control.journal()

    def lease(self, request: PlanRequest, *, claim: Literal["here", "take over", "none"] = "here") -> Lease:
        """The lock; compute and database hear of a new token first, and it is newer than any that they have seen.

        What runs as processes of a machine is changed at its one place only: DOD382. Who states something may do so
        from anywhere (`none`).
        """
        least = max(self.compute.newest_token(), self.migrations.newest_token())
        place = StatePlace.here(self.folder) if self.host and claim != "none" else None
        claimed = Claim(place, take_over=claim == "take over") if place else None
        return self.control.lease(request, least=least, fence=self._fence, claim=claimed)

    async def elsewhere(self) -> StatePlace | None:
        """The other place where its processes are; None when it is this one, or none yet."""
        found = await self.control.place() if self.host else None
        return None if found is None or found.is_same(StatePlace.here(self.folder)) else found

    async def refuse_elsewhere(self) -> None:
        """DOD382 (exit 1) before anything is started here of what lives at another place."""
        if place := await self.elsewhere():
            raise lives_elsewhere(self.name, place)

    async def _fence(self, token: int) -> None:
        """From now on compute and database refuse everybody with an older token."""
        public = self.project.policy.public_service
        if public is not None and (await self.compute.status()).running:
            await self.compute.under(token).address(public.name)
        await asyncio.to_thread(self.migrations.announce, token)

    async def origins(self) -> tuple[str, ...]:
        """The origins people use: those of the manifest, else the edge's own."""
        if self.config.public_origins:
            return self.config.public_origins
        url = (await self.edge.observe()).url
        return (url, url.replace("127.0.0.1", "localhost")) if url else ()

    async def live(self) -> str:
        """The release of the public service that runs now; `""` when none does."""
        status, public = await self.compute.status(), self.project.policy.public_service
        service = status.service(public.name) if status.running and public else None
        return service.release if service else ""

    def released(self, release: str) -> Project:
        """The project as `release` has it; DOD396 when its files are not there."""
        return self.project.at(Path(self.artifacts.path(release)))


def refuse_unfit_name(name: str) -> None:
    """DOD318 (exit 2) for a name that is more than a name: it becomes a folder of the state."""
    if not FIT_NAME.fullmatch(name):
        said = f"`{name}` cannot be the name of an environment"
        raise DodaiError(codes.UNFIT_NAME, said, codes.UNFIT_NAME.fix.en, exit_code=2)


def host_of(here: Environment) -> Host:
    """What runs its processes on this machine; DOD364 (exit 2) where they run elsewhere."""
    if here.host is None:
        raise DodaiError(
            codes.NOT_ON_THIS_MACHINE,
            f"`{here.name}` runs at `{here.config.provider_of('compute')}`, not on this machine",
            codes.NOT_ON_THIS_MACHINE.fix.en.replace("ENV", here.name),
            exit_code=2,
        )
    return here.host
