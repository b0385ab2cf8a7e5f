"""Any PostgreSQL by its address: run by somebody else, copied by `pg_dump` into the state folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import field
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from psycopg import conninfo

from dodai.core import proposal
from dodai.core.database_url import endpoints, refuse_unfit
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations.policy import SIDE_SCHEMA
from dodai.operations.ports import DatabaseSeen, RestorePoint
from dodai.providers.postgres.clock import offset_s
from dodai.providers.postgres.codes import COPY_FAILED
from dodai.providers.postgres.connection import address, connect, parameters
from dodai.providers.postgres.control.inspect import server_version, size_bytes
from dodai.providers.postgres.dump import Dump, dump, dumps
from dodai.providers.postgres.restore_beside import restore_beside, restored_by

KEPT_DUMPS = 3
ANSWER_S = 5


@dataclass(frozen=True, slots=True)
class PostgresByUrl:
    """`dodai.operations.ports.DatabaseService` of the server at `direct`; `pooled` is what services get, if any.

    `password` is asked when a connection is made. `folder` keeps the restore points. `plain_hosts` are private networks
    that encrypt by themselves. `log_schema` has dodai's own tables.
    """

    direct: str
    pooled: str
    password: Callable[[], str] = field(repr=False)
    folder: Path
    control_url: str = ""
    plain_hosts: tuple[str, ...] = ()
    log_schema: str = SIDE_SCHEMA

    @property
    def restore_points(self) -> DumpPoints:
        return DumpPoints(self)

    def url(self, *, direct: bool = True) -> str:
        return with_password(self.direct if direct or not self.pooled else self.pooled, self.password())

    def fit_url(self) -> str:
        """The direct URL; DOD066 or DOD067, before a password is sent, where it leads to a pooler or to anybody."""
        refuse_unfit(parameters(self.direct), os.environ, self.plain_hosts)
        return self.url()

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        yield self.url()

    async def running(self) -> str:
        """Raises DOD784 or DOD785 where it does not answer: nobody here can start it."""
        await asyncio.to_thread(self._answers)
        return str(address(self.direct))

    def _answers(self) -> None:
        connect(self.fit_url(), timeout_s=ANSWER_S).close()

    async def start(self, token: int, /) -> None:  # noqa: ARG002 - it is not ours to run
        await self.running()

    async def clock_offset_s(self) -> float | None:
        return await asyncio.to_thread(offset_s, self.fit_url())

    def inspect(self) -> DatabaseSeen:
        url = self.fit_url()
        room = self.folder if self.folder.exists() else Path.cwd()
        return DatabaseSeen(server_version(url), size_bytes(url), shutil.disk_usage(room).free)


@dataclass(frozen=True, slots=True)
class DumpPoints:
    """`dodai.operations.ports.RestorePoints`: dumps, each read back and counted; the newest few are kept."""

    database: PostgresByUrl

    @property
    def _folder(self) -> Path:
        return self.database.folder / "restore-points"

    async def find(self, name: str, /) -> str:
        found = next((one for one in dumps(self._folder) if one.name == name), None)
        return str(found.path) if found else ""

    async def make(self, name: str, /) -> str:
        made = await asyncio.to_thread(dump, self.database.fit_url(), self._folder, name)
        for old in dumps(self._folder)[KEPT_DUMPS:]:
            old.remove()
        return str(made)

    async def put_back(self, name: str, mark: str, token: int, /) -> str:
        point = self._named(name)
        self._refuse_own_journal()
        url = self.database.fit_url()
        kept = await asyncio.to_thread(restore_beside, url, point, mark, token, self.database.log_schema)
        return f"the database `{kept}` of the same server"

    async def is_back(self, mark: str, /) -> bool:
        return await asyncio.to_thread(restored_by, self.database.fit_url(), self.database.log_schema) == mark

    def all(self) -> tuple[RestorePoint, ...]:
        return tuple(RestorePoint(one.name, str(one.path)) for one in dumps(self._folder))

    def _named(self, name: str) -> Dump:
        for one in dumps(self._folder):
            if one.name == name:
                return one
        said = f"there is no restore point `{name}` in `{self._folder}`"
        raise DodaiError(COPY_FAILED, said, f"name one that `{proposal.RELEASES(env='ENV')}` shows", reply="rejected")

    def _refuse_own_journal(self) -> None:
        """The journal of the plan that runs would go with the data that it replaces."""
        control = self.database.control_url
        if control and _place(control) == _place(self.database.direct):
            said = f"`{address(control)}` keeps the journal too, which would be replaced with the data"
            fix = "give `control_url` a database of its own, then restore"
            raise DodaiError(COPY_FAILED, said, fix, exit_code=1, reply="rejected")


def _place(url: str) -> tuple[str, str]:
    words = parameters(url)
    return ",".join(map(str, endpoints(words, os.environ))), address(url).database


def with_password(url: str, password: str) -> str:
    """`url` with the password in it, in the form that it has: a URL, or libpq's words."""
    if not password:
        return url
    if "://" not in url:
        return conninfo.make_conninfo(url, password=password)
    parts = urlsplit(url)
    login, mark, place = parts.netloc.rpartition("@")
    user = login.partition(":")[0] if mark else ""
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))
