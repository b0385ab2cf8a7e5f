"""The stage of a rehearsal over the ports of its environment: what an operator and a visitor can reach of it."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

from dodai.core import proposal
from dodai.core.dataclass import dataclass
from dodai.engine.execute import execute
from dodai.engine.outcome import Outcome, Sink
from dodai.operations.environment import Environment, host_of
from dodai.operations.policy import Secret
from dodai.operations.ports import Fault, Host, ReplacedTable
from dodai.operations.run.build import publish
from dodai.operations.run.plans import build, request_for
from dodai.operations.run.relief import RELIEVE, relief_arguments
from dodai.operations.run.replaced import replaced_report
from dodai.operations.run.restore import RESTORE
from dodai.operations.run.rollback_target import recorded
from dodai.operations.run.rotation import ROTATE, SecretChange, arguments_of
from dodai.operations.run.secret_status import known_secrets, secret_of
from dodai.operations.run.service_steps import RESTART
from dodai.rehearsal.ports import Difference, Visitor


@contextlib.asynccontextmanager
async def open_stage(environment: Environment, postgres: Callable[[], str]) -> AsyncIterator[LocalStage]:
    """The stage until the block ends, on the PostgreSQL that is named; of what it kept, lines and logs stay."""
    try:
        host = await host_of(environment).bind()
        try:
            stage = LocalStage(environment, postgres)
            try:
                yield stage
            finally:
                await stage.close()
        finally:
            await host.down()
    finally:
        await asyncio.to_thread(discard_data, environment.folder)


@dataclass(slots=True)
class LocalStage:
    """What an operator and a visitor can reach of a local environment, nothing else; `postgres` names its version."""

    environment: Environment
    postgres: Callable[[], str] = str
    url: str = ""
    _browser: Visitor | None = None

    async def close(self) -> None:
        if self._browser is not None:
            await self._browser.close()

    def browser_at(self, url: str) -> Visitor:
        """Who visits the edge."""
        return self.environment.visit(url)

    @property
    def env(self) -> str:
        return self.environment.name

    @property
    def host(self) -> Host:
        return host_of(self.environment)

    @property
    def database_url(self) -> str:
        return self.environment.database.url()

    @property
    def state(self) -> str:
        return str(self.environment.folder)

    def differences(self) -> tuple[Difference, ...]:
        return (
            Difference("edge", "Cloudflare: TLS, WAF, caches, many places", "one process on loopback, plain http"),
            Difference("compute", "Fly.io machines from an image", "processes on this machine from a copy of the tree"),
            Difference("database", "Neon: pooler, branches, TLS", f"PostgreSQL {self.postgres()} on this machine"),
            Difference("identity", "Authentik", "a stand-in where the manifest names one"),
            Difference("migrations, deploy, health, journeys", "the same code", "the same code"),
        )

    async def request(self, method: str, path: str, **options: Any) -> Any:
        if self._browser is None:
            raise RuntimeError("nothing was deployed to this stage yet")
        return await self._browser.send(method, path, **options)

    @contextlib.asynccontextmanager
    async def fault(self, name: str, mode: str, **settings: float) -> AsyncIterator[None]:
        standing: Any = {"mode": mode, **settings}
        await self.host.fault(name, Fault(**standing))
        try:
            yield
        finally:
            await self.host.fault(name, Fault())

    async def publish(self) -> str:
        return await asyncio.to_thread(publish, self.environment)

    async def read_file(self, release: str, path: str) -> bytes:
        return await asyncio.to_thread((Path(self.environment.artifacts.path(release)) / path).read_bytes)

    async def derive(self, release: str, changes: Mapping[str, bytes | None]) -> str:
        return await asyncio.to_thread(self.environment.artifacts.derive, release, changes)

    async def deploy(self, release: str = "", **options: Any) -> Outcome:
        # Nobody can deploy to the environment of a rehearsal: it is gone when the rehearsal is.
        kind = options.get("kind", "deploy")
        told = {"command": proposal.REHEARSE(), **({RESTART: secrets.token_hex(4)} if kind == "restart" else {})}
        return await self._carry_out(kind, release, told, options.get("sink"))

    async def relieve(self, limit: str, for_s: float) -> Outcome:
        release = await recorded(self.environment)
        told = await relief_arguments(self.environment, release, limit, for_s, "a rehearsal")
        return await self._carry_out(RELIEVE, release, {**told, "command": proposal.REHEARSE()})

    async def restore(self, release: str) -> Outcome:
        point = self.environment.database.restore_points.all()[0].name
        return await self._carry_out(RESTORE, release, {"command": proposal.REHEARSE(), RESTORE: point})

    async def replaced(self) -> tuple[ReplacedTable, ...]:
        return (await replaced_report(self.environment)).tables

    def rotates(self) -> tuple[Secret, ...]:
        return tuple(known_secrets(self.environment).values())

    async def rotate(self, secret: str, *, finish: bool = False) -> Outcome:
        found = secret_of(self.environment, secret)
        change: SecretChange = "finish" if finish else "overlap" if found.rotation == "overlap" else "replace"
        told = arguments_of(found, change, proposal.REHEARSE())
        return await self._carry_out(ROTATE, await recorded(self.environment), told)

    async def _carry_out(self, kind: str, release: str, told: Mapping[str, str], sink: Sink | None = None) -> Outcome:
        request = await request_for(self.environment, kind, release, told)
        with self.environment.journal() as journal:
            plan, lease = build(self.environment, request), self.environment.lease(request)
            outcome = await execute(plan, journal, lease, sink=sink)
        if self._browser is None and outcome.error() is None:
            self.url = (await self.environment.edge.observe()).url
            self._browser = self.browser_at(self.url)
        return outcome


def discard_data(folder: Path) -> None:
    """Remove what a rehearsal does not keep: the database and the copies of the tree. Lines and logs stay."""
    elsewhere = folder / "postgres" / "elsewhere"
    with contextlib.suppress(OSError):
        shutil.rmtree(elsewhere.read_text().strip(), ignore_errors=True)
    for name in ("postgres", "releases", "edge-keys"):
        shutil.rmtree(folder / name, ignore_errors=True)
    for name in ("secrets.json", "database.json", "edge.key"):
        (folder / name).unlink(missing_ok=True)
