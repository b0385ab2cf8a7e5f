"""What services are told in one round of the rotation of a secret, whatever the store holds by then."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from dodai.core.database_url import with_login
from dodai.core.dataclass import dataclass
from dodai.operations.policy import Service
from dodai.operations.ports import Artifacts, Compute, Login
from dodai.operations.programs import Programs
from dodai.operations.run.service_steps import ReleasePackages, Settings
from dodai.operations.secret import RotationState

Target = Callable[[RotationState], str]
"""What a secret is in one round of its rotation."""


@dataclass(frozen=True, slots=True)
class RoundPorts:
    """What the steps of one round act through."""

    compute: Compute
    artifacts: Artifacts
    settings: Settings
    programs: Programs
    packages: ReleasePackages | None


@dataclass(frozen=True, slots=True)
class ToldSettings:
    """The settings of `inner`, with the value that a secret has in one round of its rotation.

    `in_url` is the variable whose URL has it in it, where it has no variable of its own.
    """

    inner: Settings
    name: str
    state: Callable[[], RotationState | None]
    value: Target
    in_url: str = ""

    async def missing(self) -> tuple[str, ...]:
        return await self.inner.missing()

    async def complete(self) -> None:
        await self.inner.complete()

    async def of_service(self, service: Service, release: str) -> Mapping[str, str]:
        told, state = await self.inner.of_service(service, release), self.state()
        held = self.value(state) if state and not state.over else ""
        if held and self.in_url in told:
            login = Login.of(held)
            return {**told, self.in_url: with_login(told[self.in_url], login.role, login.password)}
        return {**told, self.name: held} if held and self.name in told else told

    async def own_variables(self, service: Service) -> Mapping[str, str]:
        return await self.inner.own_variables(service)

    def secret_names(self, service: Service) -> tuple[str, ...]:
        return self.inner.secret_names(service)

    def digest(self, told: Mapping[str, str]) -> str:
        return self.inner.digest(told)
