"""Connections that are not direct, or not verified, are refused before anything is changed through them."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager

import pytest

from dodai.core.errors import DodaiError
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.guard import directness, pooled_by_name, require_direct, require_verified_tls
from dodai.providers.postgres.identity import server_identity
from dodai.providers.postgres.place import wait_until
from dodai.providers.postgres.server import free_port

REMOTE = "postgresql://app:s3cret@db.example.com/app"


@pytest.mark.parametrize("mode", ["", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-ca", "?sslmode=disable"])
def test_remote_url_without_verify_full_is_refused(mode, monkeypatch):
    """Everything weaker than verify-full can be read by whoever sits between."""
    monkeypatch.delenv("PGSSLMODE", raising=False)
    with pytest.raises(DodaiError) as caught:
        require_verified_tls(REMOTE + mode)
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD379", 2)
    assert "s3cret" not in str(caught.value)
    assert "sslmode=verify-full" in caught.value.fix


@pytest.mark.parametrize(
    "dsn",
    [
        REMOTE + "?sslmode=verify-full",
        "postgresql://localhost/app",
        "postgresql://127.0.0.1:5433/app",
        "postgresql://[::1]/app",
        "postgresql:///app?host=/run/postgresql",
        "host=/tmp dbname=app",
        "dbname=app",
    ],
)
def test_verified_or_local_url_passes(dsn, monkeypatch):
    """Nothing leaves this machine unverified, and what stays needs no certificate."""
    monkeypatch.delenv("PGSSLMODE", raising=False)
    require_verified_tls(dsn)


def test_one_remote_host_in_a_list_is_enough_to_demand_tls():
    """A fallback host is as remote as the first; so is a host given by address only."""
    for dsn in ("postgresql://localhost,db.example.com/app?sslmode=require", "hostaddr=203.0.113.7 dbname=app"):
        with pytest.raises(DodaiError, match="DOD379"):
            require_verified_tls(dsn)


def test_private_network_host_can_be_exempted():
    """A WireGuard network encrypts by itself; the exemption names the host."""
    require_verified_tls("postgresql://db.internal/app", plain_hosts=("db.internal",))
    with pytest.raises(DodaiError, match="DOD379"):
        require_verified_tls("postgresql://other.internal/app", plain_hosts=("db.internal",))


def test_pooler_is_recognised_by_name_without_connecting():
    """Neon's pooled host and PgBouncer's port are known from their documents."""
    neon = "postgresql://app:pw@ep-cool-123-pooler.eu-central-1.aws.neon.tech/app?sslmode=verify-full"
    with pytest.raises(DodaiError) as caught:
        require_direct(neon, lambda: pytest.fail("nothing may be opened"))
    assert caught.value.code.id == "DOD378"
    assert "`ep-cool-123.eu-central-1.aws.neon.tech`" in caught.value.fix
    assert pooled_by_name("postgresql://localhost:6432/app")
    assert not pooled_by_name("postgresql://ep-cool-123.eu-central-1.aws.neon.tech:5432/app")


@pytest.mark.parametrize("autocommit", [False, True])
def test_direct_connection_passes_without_a_sign(database, autocommit):
    """A server of our own is direct, and the probing session is left clean."""
    assert require_direct(database, lambda: connect(database, autocommit=autocommit)) == ()
    with connect(database, autocommit=autocommit) as connection:
        seen = directness(connection, lambda: connect(database))
        assert (seen.pooled, seen.signs) == ((), ())
        assert connection.execute("SELECT current_setting('dodai.mark', true)").fetchone() == ("",)


@contextmanager
def pgbouncer(postgres, folder, mode: str, pool_size: int = 5):
    identity = server_identity()
    port = free_port()
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
def open_folder(tmp_path_factory):
    """A directory that an unprivileged PgBouncer may read."""
    folder = tmp_path_factory.mktemp("bouncer")
    for part in (folder, *folder.parents):
        if part.stat().st_uid == os.geteuid() and "pytest" in str(part):
            part.chmod(0o755)
    return folder


@pytest.mark.optional_part("pgbouncer")
@pytest.mark.parametrize("pool_size", [1, 5])
def test_transaction_pooler_is_caught_behind_any_name_and_port(postgres, open_folder, pool_size):
    """Settings of one session are seen by the next: locks would be shared the same way."""
    with pgbouncer(postgres, open_folder, "transaction", pool_size) as dsn:
        with pytest.raises(DodaiError) as caught:
            require_direct(dsn, lambda: connect(dsn))
        assert caught.value.code.id == "DOD378"
        assert any("SET of this session" in line for line in caught.value.details)


@pytest.mark.optional_part("pgbouncer")
def test_session_pooler_is_only_a_sign(postgres, open_folder):
    """Session pooling keeps locks and settings; only the made-up backend pid shows it."""
    with pgbouncer(postgres, open_folder, "session") as dsn:
        signs = require_direct(dsn, lambda: connect(dsn))
        assert len(signs) == 1
        assert "backend" in signs[0]
