"""The records of releases that were in service: events of the journal, and how the facts of one are gathered."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime

from dodai import __version__
from dodai.core.dataclass import dataclass
from dodai.engine.actor import actor
from dodai.engine.plan import StepContext, canonical
from dodai.migrations import run
from dodai.operations.environment import Environment
from dodai.operations.gates import Kept, afterwards
from dodai.operations.release import ReleaseRecord, RollbackTrial, find
from dodai.operations.run.dependencies import packages_of
from dodai.operations.run.gate_sources import keep
from dodai.operations.run.schema import ReleaseSchema
from dodai.operations.secret import EDGE_KEY, KEY_RINGS
from dodai.operations.setting import ServiceSettings

TRIED = 5
"""How many earlier releases are tried on the schema of a new one."""
KEPT = 10
"""How many releases keep their files, whether or not they ever served; those that were last in service always do."""


@dataclass(frozen=True, slots=True)
class ReleaseLog:
    """`operations.release.Book` of `environment`: a record is chained, copied and never changed."""

    environment: Environment

    async def records(self) -> tuple[ReleaseRecord, ...]:
        with self.environment.journal() as journal:
            events = await journal.of_kind("released")
        return tuple(ReleaseRecord.from_data(event.data, event.plan_id, event.at) for event in events)

    async def gather(self, release: str) -> ReleaseRecord:
        here, schema = self.environment, ReleaseSchema(self.environment)
        known = find(await self.records(), release)  # an earlier release comes from its own commit, not today's
        author = await asyncio.to_thread(run.author_of, here.project.root, __version__)
        return ReleaseRecord(
            release=release,
            config=here.project.manifest.hash,
            settings=settings_hash(await self._plain()),
            secrets=dict(here.secrets.versions()),
            required=await schema.required(release),
            schema=await schema.applied(),
            commit=known.commit if known else author.git_sha,
            dirty=known.dirty if known else author.git_dirty,
            dodai=__version__,
            earlier=await self._earlier(release, schema),
            actor=actor(),
        )

    async def write(self, record: ReleaseRecord, context: StepContext) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        token, step_id = context.fencing_token, context.step_id
        with self.environment.journal() as journal:
            if entry := await journal.entry(context.plan_id):
                keep(self.environment.folder, Kept(entry.plan_id, afterwards(entry.request.arguments)))
            await journal.append(
                context.plan_id, "released", step_id=step_id, data=record.as_data(), token=token, at=at
            )

    async def prune(self) -> tuple[str, ...]:
        """The releases whose files were removed: all but the newest, those that run, served last or are planned."""
        status = await self.environment.compute.status()
        running = [one.release for service in status.services for one in service.instances]
        live = [service.release for service in status.services]
        recorded = list(dict.fromkeys(record.release for record in await self.records()))[:KEPT]
        with self.environment.journal() as journal:
            asked = [entry.request.release for entry in await journal.history(self.environment.name, KEPT)]
        in_use = (*running, *live, *recorded, *asked)
        gone = await asyncio.to_thread(self.environment.artifacts.prune, KEPT, in_use)
        if packages := packages_of(self.environment):
            await asyncio.to_thread(packages.prune)
        return gone

    async def _plain(self) -> dict[str, dict[str, str]]:
        """Every setting that is not a secret, by service."""
        policy = self.environment.project.policy
        settings = ServiceSettings(self.environment, ReleaseSchema(self.environment).required)
        hidden = {*KEY_RINGS, EDGE_KEY, *policy.secrets, policy.database.variable}
        told = {name: await settings.of_service(service) for name, service in policy.services.items()}
        return {
            name: {key: value for key, value in values.items() if key not in hidden} for name, values in told.items()
        }

    async def _earlier(self, release: str, schema: ReleaseSchema) -> Mapping[str, RollbackTrial]:
        """What the newest other releases make of the schema as it is now."""
        names = dict.fromkeys(record.release for record in await self.records() if record.release != release)
        return {name: await schema.trial(name) for name in list(names)[:TRIED]}


def settings_hash(settings: Mapping[str, Mapping[str, str]]) -> str:
    """64 hex digits over the settings that are not secrets, by service."""
    return hashlib.sha256(canonical({name: dict(values) for name, values in settings.items()})).hexdigest()
