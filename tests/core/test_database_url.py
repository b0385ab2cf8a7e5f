"""One rule says where a PostgreSQL URL leads: the same for migrations, the control database and the doctor."""

from __future__ import annotations

import pytest

from dodai.core.database_url import endpoints, refuse_unfit
from dodai.core.errors import DodaiError
from dodai.providers.postgres.connection import parameters

REMOTE = "postgresql://app:s3cret@db.example.com/app"
NEON = "postgresql://app:s3cret@ep-cool-123-pooler.eu-central-1.aws.neon.tech/app?sslmode=verify-full"


def refused(dsn: str, environ: dict[str, str] | None = None, plain_hosts: tuple[str, ...] = ()) -> str:
    """The code of the refusal; empty when the address is fit."""
    try:
        refuse_unfit(parameters(dsn), environ or {}, plain_hosts)
    except DodaiError as error:
        assert error.exit_code == 1
        assert "s3cret" not in str(error) + error.fix
        return error.code.id
    return ""


@pytest.mark.parametrize("mode", ["", "?sslmode=prefer", "?sslmode=require", "?sslmode=verify-ca", "?sslmode=disable"])
def test_remote_url_without_verify_full_is_refused(mode: str):
    """Everything weaker than verify-full can be read by whoever sits between."""
    assert refused(REMOTE + mode) == "DOD066"


@pytest.mark.parametrize(
    "dsn",
    [
        REMOTE + "?sslmode=verify-full",
        "postgresql://localhost/app",
        "postgresql://127.0.0.1:5433/app",
        "postgresql://127.8.0.1/app",
        "postgresql://[::1]/app",
        "postgresql:///app?host=/run/postgresql",
        "host=/tmp dbname=app",
        "host=@abstract dbname=app",
        "dbname=app",
    ],
)
def test_verified_or_local_url_passes(dsn: str):
    """Nothing leaves this machine unverified, and what stays needs no certificate."""
    assert refused(dsn) == ""


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://u@localhost/app?hostaddr=203.0.113.5",
        "postgresql://u@localhost/app?hostaddr=127.0.0.1,203.0.113.5",
        "hostaddr=203.0.113.7 dbname=app",
        "postgresql://localhost,db.example.com/app?sslmode=require",
        "postgresql://db.example.com/app?hostaddr=127.0.0.1",
        "postgresql://127.example.com/app",
    ],
)
def test_any_place_that_is_tried_counts(dsn: str):
    """A fallback host is as remote as the first, an address beside a local name is where the password goes."""
    assert refused(dsn) == "DOD066"


@pytest.mark.parametrize(
    ("environ", "code"),
    [
        ({"PGSSLMODE": "verify-full", "PGHOST": "db.example.com"}, ""),
        ({"PGHOST": "db.example.com"}, "DOD066"),
        ({"PGHOST": "localhost", "PGHOSTADDR": "203.0.113.5"}, "DOD066"),
        ({"PGPORT": "6432"}, "DOD067"),
    ],
)
def test_what_the_url_leaves_out_is_read_from_where_libpq_reads_it(environ: dict[str, str], code: str):
    """A URL without a host is no local one where `PGHOST` names another."""
    assert refused("postgresql:///app", environ) == code


def test_private_network_host_is_exempted_by_name():
    """A WireGuard network encrypts by itself; the exemption names the host."""
    assert refused("postgresql://db.internal/app", plain_hosts=("db.internal",)) == ""
    assert refused("postgresql://other.internal/app", plain_hosts=("db.internal",)) == "DOD066"
    assert refused("postgresql://db.internal/app?hostaddr=203.0.113.5", plain_hosts=("db.internal",)) == "DOD066"


def test_pooler_is_known_by_name_or_port_and_its_direct_host_is_named():
    """Neon's pooled host and PgBouncer's port are known from their documents, wherever they stand in a list."""
    assert refused("postgresql://localhost:6432/app") == "DOD067"
    assert refused("host=localhost,localhost port=5432,6432 dbname=app") == "DOD067"
    assert refused("postgresql://ep-cool-123.eu-central-1.aws.neon.tech/app?sslmode=verify-full") == ""
    with pytest.raises(DodaiError) as caught:
        refuse_unfit(parameters(NEON), {})
    assert caught.value.code.id == "DOD067"
    assert "`ep-cool-123.eu-central-1.aws.neon.tech`" in caught.value.fix


def test_one_port_stands_for_every_host():
    """As in libpq; a list gives each host its own, and an empty one means the default."""
    places = endpoints(parameters("host=a,b port=7000"), {})
    assert [str(place) for place in places] == ["a:7000", "b:7000"]
    places = endpoints(parameters("host=a,b port=7000,"), {})
    assert [str(place) for place in places] == ["a:7000", "b:5432"]
