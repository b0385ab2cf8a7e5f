"""An environment as `watch` sees it: what is watched, whose turn it is to tell people, how the environment stands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.core.text import Text
from dodai.engine.actor import actor
from dodai.engine.lease import Lease
from dodai.observability.policy import ObservabilityPolicy
from dodai.observability.ports import Standing
from dodai.observability.run import Watched
from dodai.operations.next_command import State
from dodai.operations.project import Project

if TYPE_CHECKING:
    from dodai.operations.environment import Environment
    from dodai.operations.run.secret_status import SecretStatus

_PROBES = ("/healthz", "/readyz")


def watched(project: Project, env: str, *, fast: bool = False, state: Path | None = None) -> Watched:
    """The environment `env`, its lines below `state` (by default where dodai keeps them); DOD051 for another name."""
    config, policy = project.environment(env), project.policy
    public = policy.public_service
    steps = {
        journey.title or journey.name: tuple(f"{step.method} {step.path}" for step in journey.steps)
        for journey in policy.journeys
    }
    return Watched(
        project=project.manifest.name,
        env=config.name,
        state=state or project.state / "env" / config.name,
        policy=ObservabilityPolicy.from_manifest(project.manifest.section("observability") or {}),
        probes=frozenset({*_PROBES, *(service.health.path for service in policy.services.values())}),
        journeys=steps,
        public=public.name if public else "",
        fast=fast,
        runbook=f"{project.manifest.data['project']['docs']}/Phase2/observability.md",
    )


@dataclass(slots=True)
class LeasedTurn:
    """It is ours while we hold a lease of the control database."""

    open: Callable[[], Environment]
    lease: Lease | None = None

    async def taken_by(self) -> str:
        lease = self.lease = self.lease or await asyncio.to_thread(self._opened)
        if lease is None:
            return ""
        if lease.token:
            await lease.heartbeat()
            if await lease.held():
                return ""
            await lease.release()
        try:
            await lease.acquire()
        except DodaiError as error:
            if error.exit_code != 75:
                raise
            return error.message
        return ""

    async def end(self) -> None:
        if self.lease is not None:
            await self.lease.release()

    def _opened(self) -> Lease | None:
        return self.open().control.watch_lease(actor())


UNHEALTHY: frozenset[State] = frozenset(
    {"problem", "interrupted", "remainder", "unknown", "partly serving", "migrations pending", "not ready"}
)
"""The states that nobody wants for long. An environment that was stopped, or never served, is as somebody left it."""


Asked = tuple[tuple[tuple[str, float], ...], tuple[Text, ...]]
"""(what about, value) of a measure, and sentences about what could not be judged."""


@dataclass(frozen=True, slots=True)
class EnvironmentStandings:
    """Asks the environment itself: its status, its secrets, the certificates of its public origins."""

    project: Project
    env: str
    open: Callable[[], Environment]
    days_left: Callable[[str, float], float | None]

    def look(self) -> Standing:
        stated: dict[str, tuple[tuple[str, float], ...]] = {}
        unknown: list[Text] = []
        asked = (("unhealthy", self._health), ("overdue-days", self._secrets), ("restore-days", self._restores))
        for measure, ask in asked:
            try:
                stated[measure], unjudged = ask()
                unknown += unjudged
            except (DodaiError, OSError) as error:
                unknown.append(
                    Text(
                        f"`{self.env}` cannot be asked for `{measure}`: {error}",
                        f"`{self.env}` の `{measure}` を確認できません: {error}",
                    )
                )
        certificates: list[tuple[str, float]] = []
        for origin in self.project.environment(self.env).public_origins:
            try:
                certificates += [(origin, days)] if (days := self.days_left(origin, time.time())) is not None else []
            except OSError as error:
                said = f"the certificate of `{origin}` cannot be read: {error}"
                unknown.append(Text(said, f"`{origin}` の証明書を読み取れません: {error}"))
        if certificates:
            stated["certificate-days"] = tuple(certificates)
        return Standing(stated, tuple(unknown))

    def _health(self) -> Asked:
        from dodai.operations.run.status import status_of

        status = asyncio.run(status_of(self.open()))
        unwell = ", ".join([*status.facts.silent, *status.facts.unwell])
        said = f"{self.env} {status.state}{f': {unwell}' if unwell else ''}"
        return ((said, 1.0 if status.state in UNHEALTHY else 0.0),), ()

    def _secrets(self) -> Asked:
        """How long each secret is overdue; one whose age nobody knows, or without a value, is not judged."""
        from dodai.operations.run.secret_status import known_secrets, status_of_secret

        here, now_s = self.open(), time.time()
        seen = [status_of_secret(here, secret, now_s) for secret in known_secrets(here).values() if secret.every_s]
        aged = [one for one in seen if one.age_s is not None and one.version]
        overdue = tuple((one.secret.name, ((one.age_s or 0.0) - one.secret.every_s) / 86400.0) for one in aged)
        return overdue, tuple(self._unaged(one) for one in seen if one not in aged)

    def _unaged(self, one: SecretStatus) -> Text:
        name = f"`{self.env}` の `{one.secret.name}`"
        if one.state == "not made yet":
            ja = f"{name} の最初の値は次のデプロイで作られます"
        else:
            ja = f"{name} がいつ設定されたか記録がありません" if one.version else f"{name} に値がありません"
        return Text(one.in_words(self.env), ja)

    def _restores(self) -> Asked:
        """How long ago a restore was rehearsed, of a protected environment; if never, since its first release."""
        from dodai.operations.run.audit_log import AuditLog

        here = self.open()
        if not here.config.protected or not self.project.policy.database.used_by or not here.control.exists:
            return (), ()
        tested = asyncio.run(AuditLog(here.journal).restore_tested())
        days = None if tested is None else (time.time() - tested.timestamp()) / 86400.0
        return () if days is None else ((self.env, days),), ()
