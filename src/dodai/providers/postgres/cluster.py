"""PostgreSQL servers of our own: one that lives as long as a block, and one that keeps its data."""

from __future__ import annotations

import contextlib
import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from pathlib import Path
from urllib.parse import quote

from psycopg import sql

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.loopback_port import loopback_port
from dodai.providers.postgres.binaries import Binaries, find_binaries
from dodai.providers.postgres.connection import coded, connect
from dodai.providers.postgres.server_process import (
    BASE_SETTINGS,
    LOOPBACK,
    START_TIMEOUT_S,
    STOP_GRACE_S,
    THROW_AWAY_SETTINGS,
    ServerCommand,
    droppable,
    hba_text,
    ident_text,
    is_port_taken,
    launch,
    not_started,
    settings_text,
    stop,
    wait_ready,
)
from dodai.providers.postgres.server_user import (
    Identity,
    clean_environment,
    give,
    server_identity,
    user_name,
)
from dodai.providers.postgres.temp_directories import (
    open_place,
    owned_directory,
    remove,
    server_pid,
    server_status,
    sweep,
    wait_until,
    writing,
)
from dodai.providers.postgres.template import SUPERUSER, fill, runnable

SOCKET_PORT = 5432
PORT_ATTEMPTS = 3
THROW_AWAY_GRACE_S = 2.0  # nothing to save: a server that is slow to end is told to drop everything


@dataclass(frozen=True, slots=True)
class Cluster:
    """A server on this machine: where it keeps its data and how to reach it.

    `port` names the socket always, and a TCP port of 127.0.0.1 when `tcp`. `command` is how to run it.
    """

    binaries: Binaries
    identity: Identity
    directory: Path
    data_dir: Path
    socket_dir: Path
    port: int
    tcp: bool
    user: str
    password: str = field(repr=False)
    command: ServerCommand = field(repr=False)

    def dsn(self, database: str = "postgres", *, tcp: bool = False) -> str:
        """The URL of `database`: over the socket without a password, or with `tcp` over loopback with it.

        The loopback URL says `sslmode=disable`: some drivers (Go's lib/pq) demand TLS when nothing is said.
        """
        name = quote(database, safe="")
        if tcp and self.tcp:
            return (
                f"postgresql://{quote(self.user)}:{quote(self.password)}@{LOOPBACK}:{self.port}/{name}?sslmode=disable"
            )
        return f"postgresql://{quote(self.user)}@/{name}?host={quote(str(self.socket_dir), safe='/')}&port={self.port}"

    def wait_ready(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Return when the server says that it is ready, whoever runs it; raises DOD782 with its log otherwise."""
        if not wait_until(lambda: server_status(self.data_dir) == "ready" and server_pid(self.data_dir) > 0, timeout_s):
            raise not_started(self.command, f"was not ready within {timeout_s:g} s")

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """The URL of the new database `name`, a copy of `template` (which nobody may be connected to)."""
        statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
        self.administer(statement, f"create database {name}")
        return self.dsn(name)

    def ensure_database(self, name: str) -> str:
        """The URL of database `name`, made when absent, as soon as the server is ready."""
        self.wait_ready()
        with connect(self.dsn(), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
        return self.dsn(name) if found else self.create_database(name)

    def create_owned_database(self, name: str, role: str, password: str) -> None:
        """The new database `name` of the new role `role`, who signs in with `password`."""
        owner = sql.Identifier(role)
        self.administer(
            sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(owner, sql.Literal(password)), f"create role {role}"
        )
        statement = sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(name), owner)
        self.administer(statement, f"create database {name}")

    def drop_database(self, name: str) -> None:
        """Remove `name` if it exists, ending the sessions in it."""
        statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        self.administer(statement, f"drop database {name}")

    @contextlib.contextmanager
    def fresh_database(self, prefix: str = "fresh", *, template: str = "template1") -> Iterator[str]:
        """The URL of a database that exists for the length of the block."""
        name = f"{prefix}_{secrets.token_hex(4)}"
        self.create_database(name, template=template)
        try:
            yield self.dsn(name)
        finally:
            self.drop_database(name)

    def administer(self, statement: sql.Composed, doing: str) -> None:
        with connect(self.dsn(), autocommit=True) as connection, coded(self.dsn(), doing):
            connection.execute(statement)


@contextlib.contextmanager
def throw_away(
    binaries: Binaries | None = None,
    *,
    settings: Mapping[str, str] | None = None,
    tcp: bool = False,
    base: Path | None = None,
    grace_s: float = THROW_AWAY_GRACE_S,
) -> Iterator[Cluster]:
    """An empty server that is gone after the block, and after `kill -9` of this process.

    `settings` are further lines of postgresql.conf; with `tcp` it listens on a free port of 127.0.0.1 too; `base` is
    where its directory is made (the temporary directory); `grace_s` lies between the signals that end it. Raises
    DOD780 to DOD782.
    """
    with workspace(binaries, base) as (place, directory, found, identity):
        make = filled(place, directory, found, identity, tcp, settings or {}, grace_s)
        with started(make, tcp=tcp) as cluster:
            yield cluster


def prepare_throw_away(
    binaries: Binaries | None = None, *, settings: Mapping[str, str] | None = None, base: Path | None = None
) -> Cluster:
    """An empty server for a Host to run (see `process_spec`), on its socket and on loopback; not running yet.

    `discard` takes its directory away after it has ended; so does the next start once this process is dead.
    """
    place, directory, found, identity = new_workspace(binaries, base)
    try:
        return filled(place, directory, found, identity, True, settings or {}, THROW_AWAY_GRACE_S)(loopback_port())
    except BaseException:
        remove(directory)
        raise


def discard(cluster: Cluster) -> None:
    """Take away the files of a throw-away server that has ended."""
    remove(cluster.directory)


def filled(
    place: Path,
    directory: Path,
    binaries: Binaries,
    identity: Identity,
    tcp: bool,
    settings: Mapping[str, str],
    grace_s: float,
) -> Callable[[int], Cluster]:
    """How to make a cluster of the data that is now in `directory`, for a port."""
    data_dir = directory / "data"
    password = fill(data_dir, place, binaries, identity)
    sockets = socket_directory(directory / "s", identity)
    return lambda port: assemble(
        binaries, identity, directory, data_dir, sockets,
        port=port, tcp=tcp, password=password, settings={**THROW_AWAY_SETTINGS, **settings}, grace_s=grace_s,
    )  # fmt: skip


@contextlib.contextmanager
def started(make: Callable[[int], Cluster], *, tcp: bool = False) -> Iterator[Cluster]:
    """The running cluster that `make` describes for a port; another port is tried when somebody was faster."""
    for attempt in range(1, PORT_ATTEMPTS + 1):
        cluster = make(loopback_port() if tcp else SOCKET_PORT)
        server = launch(cluster.command)
        try:
            wait_ready(server)
        except DodaiError as error:
            if not is_port_taken(error) or attempt == PORT_ATTEMPTS:
                raise
            continue
        except BaseException:
            stop(server)
            raise
        try:
            yield cluster
        finally:
            stop(server)
        return


@contextlib.contextmanager
def workspace(binaries: Binaries | None, base: Path | None = None) -> Iterator[tuple[Path, Path, Binaries, Identity]]:
    """What `new_workspace` makes; its directory is removed after the block."""
    made = new_workspace(binaries, base)
    try:
        yield made
    finally:
        remove(made[1])


def new_workspace(binaries: Binaries | None, base: Path | None) -> tuple[Path, Path, Binaries, Identity]:
    """The place, a new directory in it that dies with this process, binaries, and who may execute them."""
    identity = server_identity()
    place = open_place(identity, base)
    sweep(place)
    found = runnable(place, binaries or find_binaries(), identity)
    return place, owned_directory(place, "c", identity), found, identity


def assemble(
    binaries: Binaries,
    identity: Identity,
    directory: Path,
    data_dir: Path,
    socket_dir: Path,
    *,
    port: int,
    tcp: bool,
    password: str,
    settings: Mapping[str, str],
    user: str = SUPERUSER,
    grace_s: float = STOP_GRACE_S,
    trusting: bool = True,
) -> Cluster:
    """The cluster whose configuration is now in `directory`, outside the data: a copy brings none of its own.

    `trusting`: whoever may enter the socket's directory is anybody there.
    """
    files = {"hba_file": directory / "pg_hba.conf", "ident_file": directory / "pg_ident.conf"}
    addresses = {
        "listen_addresses": LOOPBACK if tcp else "",
        "port": str(port),
        "unix_socket_directories": str(socket_dir),
        **{name: str(path) for name, path in files.items()},
    }
    configuration = directory / "postgresql.conf"
    with writing(directory):
        write(configuration, settings_text({**BASE_SETTINGS, **after_a_crash(binaries), **settings, **addresses}))
        write(files["hba_file"], hba_text("" if trusting else user))
        write(files["ident_file"], "" if trusting else ident_text(user, user_name(os.geteuid())))
    uid, gid = droppable(identity)
    told = ("-c", f"config_file={configuration}", "-c", f"port={port}")  # the file may be written anew for another one
    command = ServerCommand(
        argv=(str(binaries.tool("postgres")), "-D", str(data_dir), *told),
        cwd=Path("/"),
        socket=socket_dir / f".s.PGSQL.{port}",
        log=directory / "log",
        data_dir=data_dir,
        env=clean_environment(),
        uid=uid,
        gid=gid,
        grace_s=grace_s,
    )
    return Cluster(binaries, identity, directory, data_dir, socket_dir, port, tcp, user, password, command)


def after_a_crash(binaries: Binaries) -> Mapping[str, str]:
    """Before recovery one call of the kernel makes everything durable; a call for each file took most of the time."""
    since = 14
    return {"recovery_init_sync_method": "syncfs"} if binaries.major >= since and sys.platform == "linux" else {}


def socket_directory(path: Path, identity: Identity) -> Path:
    """A directory that only `identity` (and root) may enter: that is what lets the socket go without a password."""
    path.mkdir(mode=0o700, exist_ok=True)
    give(path, identity)
    return path


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)
