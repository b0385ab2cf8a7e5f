"""`verify-full` as the guard demands it: the right certificate connects, every wrong one is named."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from dodai.core.errors import DodaiError
from dodai.providers.postgres.cluster import throw_away
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.server_user import give, server_identity
from dodai.providers.postgres.temp_directories import open_place

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="needs the openssl command to make certificates")


@dataclass(frozen=True)
class Secured:
    dsn: str
    certificate: Path
    stranger: Path


def certificate(folder: Path, name: str) -> Path:
    path = folder / f"{name}.crt"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
         "-keyout", str(folder / f"{name}.key"), "-out", str(path)],
        check=True, capture_output=True,
    )  # fmt: skip
    return path


@pytest.fixture(scope="module")
def secured():
    identity = server_identity()
    place = open_place(identity)
    import tempfile

    with tempfile.TemporaryDirectory(prefix="x-", dir=place) as name:
        folder = Path(name)
        folder.chmod(0o755)
        own, stranger = certificate(folder, "server"), certificate(folder, "stranger")
        key = folder / "server.key"
        key.chmod(0o600)
        give(key, identity)
        settings = {"ssl": "on", "ssl_cert_file": str(own), "ssl_key_file": str(key)}
        with throw_away(tcp=True, settings=settings) as cluster:
            dsn = cluster.dsn(tcp=True).replace("sslmode=disable", "sslmode=verify-full")
            yield Secured(dsn, own, stranger)


def test_verified_connection_is_encrypted(secured):
    """Host name and certificate match."""
    dsn = secured.dsn.replace("127.0.0.1", "localhost") + f"&sslrootcert={secured.certificate}"
    with connect(dsn) as connection:
        assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)


def test_certificate_of_a_stranger_is_refused(secured):
    """Somebody in between has a certificate too, from an issuer we do not trust."""
    dsn = secured.dsn.replace("127.0.0.1", "localhost") + f"&sslrootcert={secured.stranger}"
    with pytest.raises(DodaiError, match="TLS") as caught:
        connect(dsn)
    assert caught.value.code.id == "DOD784"


def test_certificate_for_another_host_is_refused(secured):
    """The certificate is for localhost; the URL says an address."""
    with pytest.raises(DodaiError, match="TLS"):
        connect(secured.dsn + f"&sslrootcert={secured.certificate}")


def test_missing_root_certificate_says_what_to_set(secured):
    """The commonest mistake on the first day with verify-full."""
    with pytest.raises(DodaiError, match="TLS") as caught:
        connect(secured.dsn + "&sslrootcert=/nonexistent/root.crt")
    assert "sslrootcert" in caught.value.fix
