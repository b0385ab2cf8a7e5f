"""The PostgreSQL of a branch: a copy of another one with an address of its own, PgBouncer before it."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from dataclasses import field
from pathlib import Path

from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.engine.loopback_port import loopback_port
from dodai.providers.postgres.backup import BACKUP_TIMEOUT_S, LEFT_BEHIND, stream
from dodai.providers.postgres.cluster import (
    THROW_AWAY_GRACE_S,
    Cluster,
    assemble,
    discard,
    filled,
    new_workspace,
    socket_directory,
)
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.server_process import (
    THROW_AWAY_SETTINGS,
    RunningServer,
    launch,
    stop,
    wait_ready,
)
from dodai.providers.postgres.server_user import give_tree
from dodai.providers.postgres.template import copy_tree
from dodai.vendor_api.codes import NO_STAND_IN

SETTINGS = {"wal_level": "replica", "max_wal_senders": "4", "max_connections": "60"}
POOLER_START_S = 10.0


@dataclass(slots=True)
class BranchServer:
    """A server whose port stays the same however often it is started. Its files go with this process."""

    cluster: Cluster
    running: RunningServer | None = None
    pooler: subprocess.Popen[bytes] | None = None
    pooler_port: int = 0
    passwords: dict[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def empty(cls) -> BranchServer:
        """A new one, not running."""
        place, directory, binaries, identity = new_workspace(None, None)
        return cls(filled(place, directory, binaries, identity, True, SETTINGS, THROW_AWAY_GRACE_S)(loopback_port()))

    def copy(self) -> BranchServer:
        """Another one with everything that this one has now; this one goes on undisturbed."""
        _, directory, binaries, identity = new_workspace(self.cluster.binaries, None)
        data = directory / "data"
        if self.running:
            stream(self.cluster.dsn(), data, binaries, BACKUP_TIMEOUT_S, sync=False, manifest=False)
        else:
            copy_tree(self.cluster.data_dir, data)
        for name in LEFT_BEHIND:
            (data / name).unlink(missing_ok=True)
        data.chmod(0o700)
        give_tree(data, identity)
        sockets = socket_directory(directory / "s", identity)
        settings = {**THROW_AWAY_SETTINGS, **SETTINGS}
        cluster = assemble(
            binaries, identity, directory, data, sockets,
            port=loopback_port(), tcp=True,
            password=self.cluster.password, settings=settings, grace_s=THROW_AWAY_GRACE_S,
        )  # fmt: skip
        return BranchServer(cluster, passwords=dict(self.passwords))

    def start(self) -> None:
        if self.running is None:
            self.running = launch(self.cluster.command)
            wait_ready(self.running)

    def rest(self) -> None:
        """The server ends, and what stands before it stays; `start` brings it back at its address."""
        if self.running:
            stop(self.running)
            self.running = None

    def end(self) -> None:
        """Every session ends with it; the data stays."""
        if self.pooler:
            self.pooler.terminate()
            self.pooler.wait()
            self.pooler = None
        if self.running:
            stop(self.running)
            self.running = None

    def discard(self) -> None:
        self.end()
        discard(self.cluster)

    def exchange(self, other: BranchServer) -> None:
        """Each gets the data of the other; both have to rest."""
        mine, theirs = self.cluster.data_dir, other.cluster.data_dir
        aside = mine.with_name("data.aside")
        mine.rename(aside)
        theirs.rename(mine)
        aside.rename(theirs)
        self.passwords, other.passwords = other.passwords, self.passwords

    def login(self, role: str, database: str, *, pooled: bool) -> str:
        """The URL for `role`; through PgBouncer when that is asked for and installed."""
        port = self._pool() if pooled and pooler_here() else self.cluster.port
        return f"postgresql://{role}:{self.passwords[role]}@127.0.0.1:{port}/{database}?sslmode=disable"

    def _pool(self) -> int:
        """The port of PgBouncer in transaction mode, as Neon runs it."""
        if self.pooler and self.pooler.poll() is None:
            return self.pooler_port
        folder, identity, self.pooler_port = self.cluster.directory, self.cluster.identity, loopback_port()
        users = "".join(f'"{role}" "{password}"\n' for role, password in self.passwords.items())
        _write(folder / "users.txt", users)
        _write(
            folder / "pgbouncer.ini",
            f"[databases]\n* = host=127.0.0.1 port={self.cluster.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
            f"listen_port = {self.pooler_port}\nunix_socket_dir =\nauth_type = scram-sha-256\n"
            f"auth_file = {folder}/users.txt\npool_mode = transaction\n"
            "server_login_retry = 1\n"
            "ignore_startup_parameters = extra_float_digits,options\n",
        )
        with (folder / "pgbouncer.log").open("wb") as log:
            self.pooler = subprocess.Popen(
                ["pgbouncer", str(folder / "pgbouncer.ini")],
                stdout=log, stderr=log, cwd="/",
                user=identity.uid if identity.drops else None, group=identity.gid if identity.drops else None,
            )  # fmt: skip
        self._await_pooler()
        return self.pooler_port

    def _await_pooler(self) -> None:
        role, password = next(iter(self.passwords.items()))
        end = time.monotonic() + POOLER_START_S
        while True:
            with contextlib.suppress(DodaiError):
                connect(f"postgresql://{role}:{password}@127.0.0.1:{self.pooler_port}/postgres?sslmode=disable").close()
                return
            if time.monotonic() > end:
                wrote = (self.cluster.directory / "pgbouncer.log").read_text("utf-8", "replace").splitlines()[-8:]
                said = f"PgBouncer does not answer after {POOLER_START_S:g} s"
                raise DodaiError(NO_STAND_IN, said, "try again when this machine is less busy", details=tuple(wrote))
            time.sleep(0.05)


def pooler_here() -> bool:
    """Whether a pooled URL leads through PgBouncer; without it, straight to PostgreSQL."""
    return shutil.which("pgbouncer") is not None


def _write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o644)
