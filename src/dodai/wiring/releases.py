"""Releases of a local environment: their records in the journal, their schema, the copies to come back to."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
import secrets
import shutil
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dodai import __version__
from dodai.core.errors import DodaiError
from dodai.engine.journal import Journal
from dodai.engine.plan import StepContext, canonical
from dodai.migrations import run
from dodai.migrations.check.queries import MISFITS, Query, read_queries
from dodai.migrations.ports import Connection, is_database_error, server_message, sqlstate
from dodai.operations.gates import Kept, afterwards
from dodai.operations.ports import Artifacts
from dodai.operations.release import ReleaseRecord, Schema, Trial, find
from dodai.wiring.migrations import policy_of, target
from dodai.wiring.project import Project
from dodai.wiring.protection import keep
from dodai.wiring.settings import KEY_RINGS, LocalSettings

TRIED = 5
"""How many earlier releases are tried on the schema of a new one."""
KEPT_COPIES = 3
UNTYPED = "42P18"
"""The server could not tell a placeholder's type: it had resolved every name by then."""
Url = Callable[[], str]


@dataclass(frozen=True, slots=True)
class LocalSchema:
    """`operations.release.Schema`: the application's database beside the trees of its releases."""

    project: Project
    releases: Artifacts
    url: Url

    async def applied(self) -> tuple[str, ...]:
        if policy_of(self.project) is None or not self.url():
            return ()
        return await asyncio.to_thread(run.applied_ids, target(self.project, self.project.root, self.url))

    async def required(self, release: str) -> tuple[str, ...]:
        """The migrations in the tree of `release`."""
        project = released(self.project, Path(self.releases.path(release)))
        policy = policy_of(project)
        if policy is None or not (project.root / policy.folder).is_dir():
            return ()
        return await asyncio.to_thread(run.required_ids, target(project, project.root, self.url))

    async def trial(self, release: str) -> Trial:
        try:
            project = released(self.project, Path(self.releases.path(release)))
        except DodaiError as error:
            return Trial("unknown", 0, (error.message,))
        policy = policy_of(project)
        if policy is None:
            return Trial("unknown", 0, ("it names no `[migrations]`",))
        queries = read_queries(project.root, policy.queries)
        if not queries:
            return Trial("unknown", 0, ("it names no queries in `[migrations].queries`",))
        return await asyncio.to_thread(_tried, queries, self.url)


def _tried(queries: Iterable[Query], url: Url) -> Trial:
    from dodai.providers.postgres.connection import connect

    known, misfits, unclear = 0, list[str](), list[str]()
    with connect(url(), autocommit=True) as connection:
        connection.execute("SET lock_timeout = '2s'")
        for query in queries:
            known += 1
            state, said = _prepared(connection, query)
            if state in MISFITS:
                misfits.append(f"{query.path}:{query.line}: {said}")
            elif state not in ("", UNTYPED):
                unclear.append(f"{query.path}:{query.line}: {said}")
    return Trial("no" if misfits else "unknown" if unclear else "yes", known, tuple(misfits or unclear))


def _prepared(connection: Connection, query: Query) -> tuple[str, str]:
    """The SQLSTATE and words of the server for a query it cannot prepare; both empty when it can."""
    try:
        connection.execute(f"PREPARE dodai_trial AS {query.sql}")
    except Exception as error:
        if not is_database_error(error):
            raise
        return sqlstate(error) or "?", server_message(error)
    connection.execute("DEALLOCATE dodai_trial")
    return "", ""


def released(project: Project, tree: Path) -> Project:
    """The project as the release in `tree` has it: with its own manifest, when it has one."""
    manifest = tree / Path(project.manifest.path).name
    return Project.load(manifest.read_bytes(), tree) if manifest.is_file() else Project(tree, project.manifest)


@dataclass(frozen=True, slots=True)
class JournalBook:
    """`operations.release.Book`: a record is an event of the journal, so it is chained, copied and never changed."""

    open: Callable[[], AbstractContextManager[Journal]]
    project: Project
    schema: LocalSchema
    settings: LocalSettings
    folder: Path
    actor: str

    async def records(self) -> tuple[ReleaseRecord, ...]:
        with self.open() as journal:
            events = await journal.of_kind("released")
        return tuple(ReleaseRecord.from_data(event.data, event.plan_id, event.at) for event in events)

    async def gather(self, release: str) -> ReleaseRecord:
        known = find(await self.records(), release)  # an earlier release comes from its own commit, not today's
        author = await asyncio.to_thread(run.author_of, self.project.root, __version__)
        return ReleaseRecord(
            release=release,
            config=self.project.manifest.hash,
            settings=settings_hash(await self._plain()),
            secrets=secret_digests(self.settings.values(), self.folder),
            required=await self.schema.required(release),
            schema=await self.schema.applied(),
            commit=known.commit if known else author.git_sha,
            dirty=known.dirty if known else author.git_dirty,
            dodai=__version__,
            earlier=await self._earlier(release, self.schema),
            actor=self.actor,
        )

    async def write(self, record: ReleaseRecord, context: StepContext) -> None:
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self.open() as journal:
            if entry := await journal.entry(context.plan_id):
                keep(self.folder, Kept(entry.plan_id, afterwards(entry.request.arguments)))
            await journal.append(
                context.plan_id,
                "released",
                step_id=context.step_id,
                data=record.as_data(),
                token=context.fencing_token,
                at=at,
            )

    async def _plain(self) -> dict[str, dict[str, str]]:
        """Every setting that is no secret, by service."""
        policy = self.project.policy
        hidden = {*KEY_RINGS, *policy.secrets, policy.database.variable}
        told = {name: await self.settings.environment(service) for name, service in policy.services.items()}
        return {
            name: {key: value for key, value in values.items() if key not in hidden} for name, values in told.items()
        }

    async def _earlier(self, release: str, schema: Schema) -> Mapping[str, Trial]:
        """What the newest other releases make of the schema as it is now."""
        names = dict.fromkeys(record.release for record in await self.records() if record.release != release)
        return {name: await schema.trial(name) for name in list(names)[:TRIED]}


def settings_hash(settings: Mapping[str, Mapping[str, str]]) -> str:
    """64 hex digits over the settings that are no secrets, by service."""
    return hashlib.sha256(canonical({name: dict(values) for name, values in settings.items()})).hexdigest()


def digest_key(folder: Path) -> bytes:
    """The key of this environment's secret digests, made once; without it a digest could be guessed from a value."""
    path = folder / "digest.key"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(secrets.token_bytes(32))
        stream.flush()
        os.fsync(stream.fileno())
    return path.read_bytes()


def secret_digests(values: Mapping[str, str], folder: Path) -> dict[str, str]:
    """12 hex digits for each secret: equal for equal values in this environment, and nothing about the value."""
    if not values:
        return {}
    key = digest_key(folder)
    return {
        name: hmac.new(key, f"{name}\0{value}".encode(), "sha256").hexdigest()[:12] for name, value in values.items()
    }


@dataclass(frozen=True, slots=True)
class LocalSurroundings:
    """`operations.run.preflight.Surroundings` on this machine."""

    folder: Path
    project: Project
    tree: Path
    url: Url
    control_url: str

    async def free_bytes(self) -> int:
        return shutil.disk_usage(self.folder if self.folder.exists() else self.project.root).free

    async def clock_offset_s(self) -> float | None:
        url = self.control_url or self.url()
        return await asyncio.to_thread(_offset, url) if url else None

    async def pending(self) -> tuple[str, ...] | None:
        policy = policy_of(self.project)
        if policy is None or not self.url() or not (self.tree / policy.folder).is_dir():
            return None
        try:
            seen = await asyncio.to_thread(run.status, target(self.project, self.tree, self.url))
        except DodaiError:  # it does not run yet; the step that starts it comes later
            return None
        return tuple(entry.id for entry in seen.pending)


def _offset(url: str) -> float | None:
    from dodai.providers.postgres.connection import connect

    try:
        with connect(url, autocommit=True, timeout_s=2) as connection:
            began = time.time()
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
            return (began + time.time()) / 2 - float(row[0]) if row else None
    except DodaiError:
        return None


@dataclass(frozen=True, slots=True)
class LocalRestorePoints:
    """`operations.run.record.RestorePoints`: verified base backups in the environment's folder, the newest kept."""

    folder: Path
    schema: LocalSchema
    pending: Callable[[], Awaitable[tuple[str, ...] | None]]
    url: Url
    cluster: Path
    end: Callable[[int], Awaitable[None]]

    async def needed(self) -> bool:
        return bool(await self.pending()) and bool(await self.schema.applied())

    async def find(self, name: str) -> str:
        path = self.folder / name
        return str(path) if (path / "PG_VERSION").exists() else ""

    async def make(self, name: str) -> str:
        from dodai.providers.postgres.backup import base_backup

        point = await asyncio.to_thread(base_backup, self.url(), self.folder / name)
        for old in self.all()[KEPT_COPIES:]:
            shutil.rmtree(old, ignore_errors=True)
        return f"{point.path} ({point.size_bytes // 2**20} MiB)"

    async def put_back(self, name: str, mark: str, token: int) -> str:
        from dodai.providers.postgres.backup import restore_point
        from dodai.providers.postgres.restore import restore

        await self.end(token)
        return str(await asyncio.to_thread(restore, restore_point(self.folder / name), self.cluster, mark))

    async def is_back(self, mark: str) -> bool:
        from dodai.providers.postgres.restore import restored_by

        return restored_by(self.cluster) == mark

    def all(self) -> list[Path]:
        """The newest first."""
        found = self.folder.glob("*/PG_VERSION") if self.folder.is_dir() else ()
        return sorted((path.parent for path in found), key=lambda path: path.stat().st_mtime_ns, reverse=True)
