"""The PostgreSQL of a local environment: run by its Host behind a stable address, its data kept in the folder."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.private_file import damaged, read_json, write_private
from dodai.migrations.policy import SIDE_SCHEMA
from dodai.operations.policy import Database
from dodai.operations.ports import DatabaseSeen, Host, ReplacedData, ReplacedRow, ReplacedTable, RestorePoint

# psycopg is an extra that an application without a database does not have: what needs it is imported where it is used.

PROCESS = "database"
CLUSTER = "postgres"
KEPT_COPIES = 3
COMES_BACK_S, ASKS_S = 20.0, 0.1  # a recovery of a server that was killed takes 1 to 5 s


@dataclass(frozen=True, slots=True)
class SupervisedPostgres:
    """`dodai.operations.ports.DatabaseService` of a server that `host` runs; everything about it is in `folder`."""

    policy: Database
    host: Host
    folder: Path
    ledger: str = ""  # the table of applied versions
    log_schema: str = SIDE_SCHEMA

    @property
    def restore_points(self) -> BaseBackups:
        return BaseBackups(self)

    @property
    def cluster(self) -> Path:
        """Where the server keeps its data."""
        return self.folder / CLUSTER

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        from dodai.providers.postgres.durable import durable

        if asyncio.run(self.running()):
            yield self.url()
            return
        with durable(self.cluster, major=self.policy.major) as cluster:
            cluster.ensure_database(self.policy.name)
            yield cluster.dsn(self.policy.name)

    async def running(self) -> str:
        for process in (await self.host.status()).processes:
            if process.name == PROCESS and process.state == "running":
                return process.address or process.listens
        return ""

    async def start(self, token: int, /) -> None:
        from dodai.providers.postgres.durable import prepare, process_spec

        if await self._comes_back():
            return
        cluster = await asyncio.to_thread(prepare, self.cluster, major=self.policy.major)
        status = await self.host.under(token).run(process_spec(cluster, PROCESS, forward=True))
        await asyncio.to_thread(cluster.ensure_database, self.policy.name)
        direct = cluster.dsn(self.policy.name, tcp=True)
        login = await asyncio.to_thread(self._service_login, direct) if self.policy.role else urlsplit(direct).netloc
        self._remember(direct=direct, login=login.rpartition("@")[0], stable=status.address)

    async def _comes_back(self) -> bool:
        """Whether it answers again by what the Host does anyway, where it ran before: it crashed, or the Host did."""
        end = time.monotonic() + COMES_BACK_S
        while (url := self.url()) and time.monotonic() < end:
            status = await self.host.status()
            state = next((one.state for one in status.processes if one.name == PROCESS), "exited")
            if state == "running" and await asyncio.to_thread(_answers, url):
                return True
            if state in ("exited", "crash_loop") and not status.returning:
                return False
            await asyncio.sleep(ASKS_S)
        return False

    def _service_login(self, direct: str) -> str:
        """`role:password@` of services; the password of last time, for processes that run may be started anew."""
        from dodai.providers.postgres.service_role import ensure_service_role, new_password

        known = urlsplit(self.url(direct=False))
        password = known.password if known.username == self.policy.role else None
        password = password or new_password()
        ensure_service_role(direct, self.policy.role, password, self.ledger, self.log_schema)
        return f"{self.policy.role}:{password}@"

    def role_differs(self) -> str:
        from dodai.providers.postgres.service_role import role_differs

        known = urlsplit(self.url(direct=False))
        if known.username != self.policy.role:
            return f"services sign in as `{known.username}`"
        return role_differs(self.url(), self.policy.role, known.password or "", self.ledger)

    def make_role(self) -> None:
        direct, stable = self.url(), urlsplit(self.url(direct=False)).netloc.rpartition("@")[2]
        self._remember(direct=direct, login=self._service_login(direct).rpartition("@")[0], stable=stable)

    async def end(self, token: int) -> None:
        """Stop it; its data stays."""
        await self.host.under(token).end(PROCESS)

    def _remember(self, *, direct: str, login: str, stable: str) -> None:
        through = urlunsplit(urlsplit(direct)._replace(netloc=f"{login}@{stable}"))
        write_private(self._file, json.dumps({"direct": direct, "stable": through}).encode())

    @property
    def _file(self) -> Path:
        return self.folder / "database.json"

    def url(self, *, direct: bool = True) -> str:
        urls = read_json(self._file, dict, "move it away: the next restart or deploy writes it anew")
        if urls is None:
            return ""
        try:
            owner, services = str(urls["direct"]), str(urls["stable"])
        except KeyError as missing:
            raise damaged(self._file, f"it has no {missing}", "move it away: the next deploy writes it anew") from None
        return owner if direct else services if self.policy.role else _signed_in(services, as_in=owner)

    async def clock_offset_s(self) -> float | None:
        url = self.url()
        if not url:
            return None
        from dodai.providers.postgres.clock import offset_s

        return await asyncio.to_thread(offset_s, url)

    def inspect(self) -> DatabaseSeen:
        from dodai.providers.postgres.control.inspect import server_version, size_bytes

        url = self.url()
        return DatabaseSeen(server_version(url), size_bytes(url), shutil.disk_usage(self.folder).free)


def _signed_in(url: str, *, as_in: str) -> str:
    """`url` with the user and password of another one: a release without a role signs in as the owner again."""
    login = urlsplit(as_in).netloc.rpartition("@")[0]
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{login}@{parts.netloc.rpartition('@')[2]}"))


def _answers(url: str) -> bool:
    from dodai.providers.postgres.control.inspect import server_version

    try:
        return bool(server_version(url))
    except (DodaiError, OSError):
        return False


@dataclass(frozen=True, slots=True)
class BaseBackups:
    """`dodai.operations.ports.RestorePoints`: verified base backups beside the data, the newest few kept."""

    database: SupervisedPostgres

    @property
    def _folder(self) -> Path:
        return self.database.folder / "restore-points"

    async def find(self, name: str, /) -> str:
        path = self._folder / name
        return str(path) if (path / "PG_VERSION").exists() else ""

    async def make(self, name: str, /) -> str:
        from dodai.providers.postgres.backup import base_backup

        point = await asyncio.to_thread(base_backup, self.database.url(), self._folder / name)
        for old in self._paths()[KEPT_COPIES:]:
            shutil.rmtree(old, ignore_errors=True)
        return f"{point.path} ({point.size_bytes // 2**20} MiB)"

    async def put_back(self, name: str, mark: str, token: int, /) -> str:
        from dodai.providers.postgres.backup import restore_point
        from dodai.providers.postgres.restore_data import restore

        await self.database.end(token)
        return str(await asyncio.to_thread(restore, restore_point(self._folder / name), self.database.cluster, mark))

    async def is_back(self, mark: str, /) -> bool:
        from dodai.providers.postgres.restore_data import restored_by

        return restored_by(self.database.cluster) == mark

    def replaced(self) -> tuple[ReplacedData, ...]:
        from dodai.providers.postgres.replaced_data import replaced_data

        return replaced_data(self.database.cluster)

    def compare(
        self, one: ReplacedData, ledgers: tuple[str, ...], tell: Callable[[ReplacedRow], None], /
    ) -> tuple[ReplacedTable, ...]:
        from dodai.providers.postgres.connection import address
        from dodai.providers.postgres.replaced_data import compare

        name = address(self.database.url()).database
        return compare(Path(one.path), self._folder / one.point, name, ledgers, tell)

    def all(self) -> tuple[RestorePoint, ...]:
        return tuple(RestorePoint(path.name, str(path)) for path in self._paths())

    def _paths(self) -> list[Path]:
        found = self._folder.glob("*/PG_VERSION") if self._folder.is_dir() else ()
        return sorted((path.parent for path in found), key=lambda path: path.stat().st_mtime_ns, reverse=True)
