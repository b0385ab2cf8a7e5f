"""A local environment: the Host, PostgreSQL, settings and releases of one folder, ready to be deployed to."""

from __future__ import annotations

import asyncio
import json
import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit, urlunsplit

from dodai.core.errors import DodaiError
from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.run import probe
from dodai.engine.codes import JOURNAL_BROKEN
from dodai.engine.journal import SqliteJournal, put_aside
from dodai.engine.lease import FileLease
from dodai.engine.plan import Plan, PlanRequest
from dodai.migrations.run.author import claimed_actor
from dodai.operations.admission import Change
from dodai.operations.codes import NO_SUCH_RELEASE, STALE_PLAN
from dodai.operations.policy import EnvironmentPolicy
from dodai.operations.ports import CacheRule, EdgeSpec
from dodai.operations.release import ReleaseRecord, Verdict, before, judge
from dodai.operations.run import DeployPorts, deploy, previous_releases
from dodai.operations.run.gate import BREAK_GLASS
from dodai.operations.run.statement import KINDS
from dodai.providers.local.browser import HttpBrowser
from dodai.providers.local.host import HostClient, LocalEdge, client, open_host
from dodai.providers.local.host.state import Folder, read_known
from dodai.providers.local.release_tree import ReleaseTrees
from dodai.wiring.migrations import announce, migration_steps, newest_token
from dodai.wiring.project import Project
from dodai.wiring.protection import gate_arguments, gated
from dodai.wiring.releases import (
    JournalBook,
    LocalRestorePoints,
    LocalSchema,
    LocalSurroundings,
    released,
    secret_digests,
)
from dodai.wiring.settings import LocalSettings, sections_of
from dodai.wiring.statements import JournalStatements

if TYPE_CHECKING:  # psycopg is an extra: a local environment without a control database does without
    from dodai.providers.postgres.control import PostgresJournal, PostgresLease
    from dodai.providers.postgres.control import Session as ControlSession

DATABASE = "database"
CLUSTER = "postgres"
STATIC_TTL_S = 3600.0


@dataclass(frozen=True, slots=True)
class LocalDatabase:
    """The environment's PostgreSQL, run by its Host behind a stable address; `folder` keeps the data."""

    project: Project
    host: HostClient
    folder: Path

    async def running(self) -> str:
        """Where it listens; empty when it does not run."""
        for process in (await self.host.status()).processes:
            if process.name == DATABASE and process.state == "running":
                return process.address or process.listens
        return ""

    async def start(self, token: int | None = None) -> None:
        """Run it, with a data directory and the application's database made when they are not there yet."""
        from dodai.providers.postgres.durable import prepare, process_spec

        policy = self.project.policy.database
        cluster = await asyncio.to_thread(prepare, self.folder / CLUSTER, major=policy.major)
        host = self.host if token is None else self.host.under(token)
        status = await host.run(process_spec(cluster, DATABASE, forward=True))
        await asyncio.to_thread(cluster.ensure_database, policy.name)
        self._remember(direct=cluster.dsn(policy.name, tcp=True), stable=status.address)
        if token is not None:
            await asyncio.to_thread(announce, self.project, self.url(), token)

    async def end(self, token: int) -> None:
        """Stop it; its data stays."""
        await self.host.under(token).end(DATABASE)

    def _remember(self, *, direct: str, stable: str) -> None:
        parts = urlsplit(direct)
        user = parts.netloc.rpartition("@")[0]
        through = urlunsplit(parts._replace(netloc=f"{user}@{stable}"))
        partial = self._file.with_suffix(".new")
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as stream:
            json.dump({"direct": direct, "stable": through}, stream)
        partial.replace(self._file)

    @property
    def _file(self) -> Path:
        return self.folder / "database.json"

    def url(self, *, direct: bool = True) -> str:
        """The URL, password included: `direct` for migrations and locks, else behind the stable address."""
        try:
            urls: dict[str, str] = json.loads(self._file.read_text("utf-8"))
        except FileNotFoundError:
            return ""
        return urls["direct" if direct else "stable"]


@dataclass(frozen=True, slots=True)
class LocalEnvironment:
    """One environment of a project on this machine. `folder` holds everything about it; `down` leaves the data."""

    project: Project
    environment: EnvironmentPolicy
    folder: Path

    @classmethod
    def of(cls, project: Project, name: str, folder: Path | None = None) -> LocalEnvironment:
        """The environment `name`; DOD051 when the manifest has none of that name."""
        return cls(project, project.environment(name), folder or project.state / "env" / name)

    @property
    def host(self) -> HostClient:
        return client(self.folder, self.environment.name)

    async def open(self, *, detached: bool) -> HostClient:
        """The Host, started when none runs; see `open_host`."""
        return await open_host(self.folder, self.environment.name, detached=detached)

    @property
    def database(self) -> LocalDatabase:
        return LocalDatabase(self.project, self.host, self.folder)

    @property
    def releases(self) -> ReleaseTrees:
        return ReleaseTrees(self.folder / "releases")

    @property
    def settings(self) -> LocalSettings:
        file, required = self.folder / "secrets.json", self.schema.required
        sections = sections_of(self.project.manifest.data, self.releases.path)
        return LocalSettings(self.project.policy, file, self.origins, self.database, self.host, required, sections)

    async def origins(self) -> tuple[str, ...]:
        """The origins people use: those of the manifest, else the edge's own on this machine."""
        if self.environment.public_origins:
            return self.environment.public_origins
        edge = (await self.host.status()).edge
        return (edge, edge.replace("127.0.0.1", "localhost")) if edge else ()

    @property
    def has_journal(self) -> bool:
        """Whether anything was ever done here; looking must not create a journal."""
        return bool(self.environment.control_url) or self.copy_path.exists()

    @property
    def copy_path(self) -> Path:
        """The journal of this machine: the only one without a control database, else the copy beside it."""
        return self.folder / "journal.sqlite"

    def journal(self) -> SqliteJournal | PostgresJournal:
        """The journal, open; DOD376 when it is in a control database that does not answer."""
        if not self.environment.control_url:
            return SqliteJournal(self.copy_path)
        from dodai.providers.postgres.control import PostgresJournal, knowing_better

        with knowing_better(self.environment.name):
            copy = SqliteJournal(self.copy_path)
        try:
            return PostgresJournal(self._control(), copy)
        except BaseException:
            copy.close()
            raise

    def first_journal(self) -> SqliteJournal | PostgresJournal:
        """The journal that counts, without its copy: it answers while the copy is broken or says something else."""
        if not self.environment.control_url:
            return SqliteJournal(self.copy_path)
        from dodai.providers.postgres.control import PostgresJournal

        return PostgresJournal(self._control())

    @property
    def statements(self) -> JournalStatements:
        return JournalStatements(self.journal)

    def lease(self, request: PlanRequest) -> FileLease | PostgresLease:
        """The lock; Host and database hear of a new token first, and it is newer than any that they have seen."""
        least = max(known_token(self.folder), newest_token(self.project, self.database.url()))
        if not self.environment.control_url:
            return FileLease(self.folder / "lease", actor=request.actor, command=request.command, least=least)
        from dodai.providers.postgres.control import PostgresLease

        return PostgresLease(self._control(), request.actor, request.command, fence=self._fence, least=least)

    def _control(self) -> ControlSession:
        from dodai.providers.postgres.control import Session

        return Session(self.environment.control_url, self.environment.name)

    async def _fence(self, token: int) -> None:
        """From now on Host and database refuse everybody with an older token."""
        public = self.project.policy.public_service
        if public is not None and (await self.host.status()).running:
            await self.host.under(token).address(public.name)
        await asyncio.to_thread(announce, self.project, self.database.url(), token)

    def ports(self, tree: Path) -> DeployPorts:
        """What a deploy of the release in `tree` acts through."""
        policy = self.project.policy
        url = self.database.url
        surroundings = self._surroundings(tree)
        return DeployPorts(
            compute=self.host,
            artifacts=self.releases,
            settings=self.settings,
            database=self.database if policy.database.used_by else None,
            migrate=migration_steps(self.project, tree, url),
            edge=LocalEdge(self.host),
            edge_spec=self._edge(),
            python=self.project.python,
            browser=HttpBrowser,
            surroundings=surroundings,
            book=self.book,
            schema=self.schema,
            restore_points=self.restore_points(surroundings) if policy.database.used_by else None,
            probe=self._probe if policy.public_service and policy.public_service.app else None,
        )

    def _edge(self) -> EdgeSpec:
        policy = self.project.policy
        public = policy.public_service
        return EdgeSpec(
            routes=(("/", public.name),) if public else (),
            port=self.environment.port,
            cache=tuple(CacheRule(prefix=path.rstrip("*"), ttl_s=STATIC_TTL_S) for path in policy.edge.static),
            body_bytes=policy.edge.max_body_bytes,
        )

    async def _probe(self, edge: str) -> str:
        """The request id of a valid form that passed, sent from the origin people use."""
        csrf = CsrfPolicy.from_manifest(self.project.manifest.section("csrf") or {})
        origins = await self.origins()
        async with HttpBrowser(edge) as browser:
            return await probe(browser.send, csrf, origins[0] if origins else edge)

    @property
    def schema(self) -> LocalSchema:
        return LocalSchema(self.project, self.releases, self.database.url)

    @property
    def book(self) -> JournalBook:
        return JournalBook(self.journal, self.project, self.schema, self.settings, self.folder, actor())

    def restore_points(self, surroundings: LocalSurroundings) -> LocalRestorePoints:
        folder, cluster = self.folder / "restore-points", self.folder / CLUSTER
        database = self.database
        return LocalRestorePoints(folder, self.schema, surroundings.pending, database.url, cluster, database.end)

    async def request(self, kind: str, release: str, arguments: Mapping[str, str] | None = None) -> PlanRequest:
        """What is journalled before anything happens: who wants which release where, over which one.

        The manifest is that of the release: going back to one brings its own journeys, services and limits back.
        """
        status = await self.host.status()
        previous = {f"previous:{s.name}": s.release for s in status.services if status.running and s.release}
        project = released(self.project, Path(self.releases.path(release))) if release else self.project
        reason = (arguments or {}).get(BREAK_GLASS, "")
        gates = await gate_arguments(self, cast("Change", kind), project, reason) if release else {}
        return PlanRequest(
            kind=kind,
            env=self.environment.name,
            release=release,
            actor=actor(),
            manifest=project.manifest.text,
            manifest_hash=project.manifest.hash,
            secret_versions=secret_digests(self.settings.values(), self.folder),
            arguments={**previous, **gates, **(arguments or {})},
        )

    def refuse_stale(self, shown: PlanRequest, now: PlanRequest) -> None:
        """DOD377 when other releases serve than those a person agreed to replace."""
        before, after = previous_releases(shown.arguments), previous_releases(now.arguments)
        changed = sorted(name for name in after if before.get(name, after[name]) != after[name])
        if changed:
            raise DodaiError(
                STALE_PLAN,
                f"`{changed[0]}` serves `{after[changed[0]]}` by now, `{before[changed[0]]}` when the plan was shown",
                f"look at `dodai status {now.env}`, then give the command again",
                exit_code=1,
            )

    async def live(self) -> str:
        """The release of the public service that runs now; `""` when none does."""
        status, public = await self.host.status(), self.project.policy.public_service
        service = status.service(public.name) if status.running and public else None
        return service.release if service else ""

    async def rollback_target(self, word: str) -> str:
        """The release to go back to: the one named, else the newest that was in service before the present one."""
        if word:
            return await self.find_release(word)
        records = await self.book.records() if self.has_journal else ()
        live = await self.live() or (records[0].release if records else "")
        if found := before(records, live):
            return found
        message = f"`{self.environment.name}` has no release before `{live or 'the first one'}`"
        raise DodaiError(NO_SUCH_RELEASE, message, f"see `dodai releases {self.environment.name}`", exit_code=1)

    async def verdict(self, record: ReleaseRecord) -> Verdict:
        """Whether a recorded release may come back on the schema of now."""
        try:
            return judge(record, await self.schema.applied(), await self.schema.trial(record.release))
        except DodaiError as error:
            return Verdict(False, f"whether it fits is unknown: {error.message}")

    def restore_points_there(self) -> tuple[Path, ...]:
        """The copies of the database, the newest first."""
        return tuple(self.restore_points(self._surroundings(self.project.root)).all())

    def surroundings(self, release: str) -> LocalSurroundings:
        """What this machine and the database say, seen from `release`."""
        return self._surroundings(Path(self.releases.path(release)))

    def _surroundings(self, tree: Path) -> LocalSurroundings:
        return LocalSurroundings(self.folder, self.project, tree, self.database.url, self.environment.control_url)

    def trust(self, which: str) -> str:
        """What was done after a person chose between two journals that differ, or gave a broken copy up."""
        if which == "database" and self.environment.control_url and not self._copy_is_readable:
            aside = put_aside(self.copy_path)
            with self.journal() as journal:
                asyncio.run(journal.verify_chain())
            return f"the copy was made anew from the database; the broken one is `{aside}`"
        with self.journal() as journal:
            return "there is one journal only" if isinstance(journal, SqliteJournal) else journal.trust(which)

    @property
    def _copy_is_readable(self) -> bool:
        try:
            with SqliteJournal(self.copy_path) as copy:
                asyncio.run(copy.verify_chain())
        except DodaiError as error:
            return error.code is not JOURNAL_BROKEN
        return True

    async def find_release(self, word: str) -> str:
        """The release that `word` begins or is; DOD368 when there is none, or more than one."""
        known = dict.fromkeys((*(record.release for record in await self.book.records()), *self.releases.published()))
        found = [name for name in known if name.startswith(word)] if word not in known else [word]
        if len(found) == 1:
            return found[0]
        said = f"`{word}` begins {len(found)} releases" if found else f"`{self.environment.name}` knows no `{word}`"
        fix = f"see `dodai releases {self.environment.name}`"
        raise DodaiError(NO_SUCH_RELEASE, said, fix, exit_code=2)

    def build(self, request: PlanRequest) -> Plan:
        """The plan of a request, from the manifest the request carries: never from the working tree."""
        if request.kind in KINDS:
            return self.statements.statement(request)
        project = Project.load(request.manifest, self.project.root, self.project.manifest.path)
        environment = LocalEnvironment(project, self.environment, self.folder)
        tree = Path(self.releases.path(request.release))
        return deploy(request, project.policy, gated(environment, request, tree, environment.ports(tree)))

    def build_for_document(self) -> Plan:
        """The deploy plan as a runbook shows it: for no release in particular, never carried out."""
        previous = {f"previous:{service}": "PREVIOUS" for service in self.project.policy.services}
        manifest = self.project.manifest
        request = PlanRequest(
            "deploy",
            self.environment.name,
            "RELEASE",
            manifest=manifest.text,
            manifest_hash=manifest.hash,
            arguments=previous,
        )
        return deploy(request, self.project.policy, self.ports(self.project.root))


def known_token(folder: Path) -> int:
    """The newest fencing token that the Host in `folder` has seen, running or not."""
    return read_known(Folder(folder.absolute())).fencing_token


def actor() -> str:
    """Who asks: the account that runs this, and before it whom a CI claims to work for."""
    try:
        account = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        account = f"uid-{os.getuid()}"
    claimed = claimed_actor()
    return f"{claimed} (claimed by CI, account {account})" if claimed else account
