"""Copies of one database to rehearse on, made on this machine: of the whole server, or out of a dump."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import field

from psycopg import conninfo, sql

from dodai.core.dataclass import dataclass
from dodai.migrations.ports import Copy
from dodai.providers.postgres.backup import BACKUP_TIMEOUT_S, binaries_for, copy_of, failed, run_tool
from dodai.providers.postgres.binaries import Binaries
from dodai.providers.postgres.cluster import Cluster, throw_away
from dodai.providers.postgres.connection import address, connect, parameters, without_secrets


@dataclass(frozen=True, slots=True)
class ServerCopies:
    """`dodai.migrations.ports.Copies`: the files of the server behind `dsn`, by `pg_basebackup`.

    The nearest to the original: the same bytes on the disk, roles included. DOD786 for a role without REPLICATION.
    """

    dsn: str = field(repr=False)
    production_data: bool

    @contextlib.contextmanager
    def copied(self, run: str) -> Iterator[Copy]:  # noqa: ARG002 - a local copy is found by its process, not by a name
        with copy_of(self.dsn) as cluster:
            url = cluster.dsn(address(self.dsn).database)
            yield Copy(url, "a physical copy of the server", self.production_data)


@dataclass(frozen=True, slots=True)
class DumpCopies:
    """`dodai.migrations.ports.Copies`: a dump of the database behind `dsn`, for a role without REPLICATION.

    Slower, and packed: a table that is bloated in production is not here. Roles come along without their passwords.
    """

    dsn: str = field(repr=False)
    production_data: bool

    @contextlib.contextmanager
    def copied(self, run: str) -> Iterator[Copy]:  # noqa: ARG002 - as above
        found = binaries_for(self.dsn, None)
        with throw_away(found) as cluster:
            name = address(self.dsn).database
            _make_roles(self.dsn, cluster)
            if name != "postgres":
                cluster.create_database(name, template="template0")
            _transfer(self.dsn, cluster, cluster.dsn(name), found)
            yield Copy(cluster.dsn(name), "a copy made of a dump", self.production_data)


def _make_roles(dsn: str, cluster: Cluster) -> None:
    """Those that own something or are granted something; a name is all that a dump asks for."""
    with connect(dsn) as source:
        names = [row[0] for row in source.execute("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'").fetchall()]
    for name in names:
        if name != cluster.user:
            cluster.administer(sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)), f"create role {name}")


def _transfer(dsn: str, cluster: Cluster, into: str, binaries: Binaries) -> None:
    """Through a file in the copy's own directory, which goes with it; the password travels in the environment."""
    words = dict(parameters(dsn))
    password = str(words.pop("password", "") or "")
    file = cluster.directory / "dump"
    dump = [str(binaries.tool("pg_dump")), "--format=custom", "--compress=0", f"--file={file}", "--no-password"]
    restore = [str(binaries.tool("pg_restore")), "--exit-on-error", "--no-password", f"--dbname={into}", str(file)]
    secret = {"PGPASSWORD": password} if password else {}
    for argv, env in (([*dump, f"--dbname={conninfo.make_conninfo('', **words)}"], secret), (restore, {})):
        said = run_tool(argv, env, BACKUP_TIMEOUT_S)
        if said:
            raise failed(dsn, f"`{address(dsn)}` could not be copied", without_secrets(said, dsn))
    file.unlink()
