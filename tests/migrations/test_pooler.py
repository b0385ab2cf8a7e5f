"""Migrations through a real PgBouncer, whatever its name and port."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dodai.core.errors import DodaiError
from dodai.engine.loopback_port import loopback_port
from dodai.migrations.apply import check_connection
from dodai.migrations.policy import MigrationsPolicy
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.server_user import server_identity
from dodai.providers.postgres.temp_directories import wait_until


@contextmanager
def pgbouncer(postgres: Cluster, folder: Path, mode: str, pool_size: int = 5) -> Iterator[str]:
    identity = server_identity()
    port = loopback_port()
    (folder / "users.txt").write_text('"postgres" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host={postgres.socket_dir} port={postgres.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = trust\n"
        f"auth_file = {folder}/users.txt\npool_mode = {mode}\ndefault_pool_size = {pool_size}\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            ["pgbouncer", str(folder / "pgbouncer.ini")],
            stdout=log, stderr=log, cwd="/",
            user=identity.uid if identity.drops else None, group=identity.gid if identity.drops else None,
        )  # fmt: skip
    dsn = f"postgresql://postgres@127.0.0.1:{port}/postgres"

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            connect(dsn).close()
        except DodaiError:
            return False
        return True

    try:
        assert wait_until(answers, 10), (folder / "log").read_text()
        yield dsn
    finally:
        process.terminate()
        process.wait()


@pytest.fixture
def open_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory that an unprivileged PgBouncer may read."""
    folder = tmp_path_factory.mktemp("bouncer")
    for part in (folder, *folder.parents):
        if part.stat().st_uid == os.geteuid() and "pytest" in str(part):
            part.chmod(0o755)
    return folder


@pytest.mark.optional_part("pgbouncer")
@pytest.mark.parametrize("pool_size", [1, 5])
def test_transaction_pooler_is_caught_behind_any_name_and_port(
    postgres: Cluster,
    open_folder: Path,
    pool_size: int,
):
    """Settings of one session are seen by the next: locks would be shared the same way."""
    with pgbouncer(postgres, open_folder, "transaction", pool_size) as dsn, connect(dsn, autocommit=True) as conn:
        with pytest.raises(DodaiError) as caught:
            check_connection(conn, MigrationsPolicy(), lambda: connect(dsn), lambda _: None)
        assert caught.value.code.id == "DOD067"


@pytest.mark.optional_part("pgbouncer")
def test_session_pooler_keeps_the_session_and_is_only_noted(postgres: Cluster, open_folder: Path):
    """Session pooling keeps locks and settings; only the made-up backend pid shows it."""
    notes: list[str] = []
    with pgbouncer(postgres, open_folder, "session") as dsn, connect(dsn, autocommit=True) as conn:
        check_connection(conn, MigrationsPolicy(), lambda: connect(dsn), notes.append)
    assert notes == ["the connection goes through a proxy, which keeps the session: going on"]
