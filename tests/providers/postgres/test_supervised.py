"""The PostgreSQL of a local environment: what its start does while the Host starts it anew by itself."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import psycopg
import pytest

from dodai.core.errors import DodaiError
from dodai.operations.policy import Database
from dodai.operations.ports import HostStatus, ProcessStatus
from dodai.providers.postgres.durable import durable
from dodai.providers.postgres.supervised import CLUSTER, PROCESS, SupervisedPostgres


class ComingBack:
    """A Host that answers with one status after the other, the last one for ever; it starts nothing."""

    def __init__(self, *statuses):
        self.statuses = list(statuses)

    async def status(self):
        return self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]


def status(state, *, returning=False):
    processes = (ProcessStatus(name=PROCESS, state=state),) if state else ()
    return HostStatus(env="staging", running=True, returning=returning, processes=processes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The folder of an environment whose server runs."""
    made = tmp_path_factory.mktemp("environment")
    with durable(made / CLUSTER) as cluster:
        url = cluster.dsn("postgres", tcp=True)
        (made / "database.json").write_text(json.dumps({"direct": url, "stable": url}))
        yield made


@pytest.mark.parametrize(
    "before",
    [status("restarting"), status("", returning=True), status("exited", returning=True)],
    ids=["crashed", "host comes back", "host tries again"],
)
def test_server_that_comes_back_by_itself_is_waited_for(folder, before):
    """It works on its data already; a second one must neither be started nor be called the reason of a failure."""
    host = ComingBack(before, before, status("running"))
    asyncio.run(SupervisedPostgres(Database(), host, folder).start(1))
    assert len(host.statuses) == 1


def test_server_that_nobody_brings_back_is_told(folder):
    """What works on the data is then somebody else's."""
    with pytest.raises(DodaiError, match="runs PostgreSQL in") as told:
        asyncio.run(SupervisedPostgres(Database(), ComingBack(status("exited")), folder).start(1))
    assert told.value.code.id == "DOD783"


def test_role_of_services_is_made_as_the_manifest_says_whatever_it_was(folder):
    """Also beside a server that runs: a password, a right or a membership of its own making does not stay."""
    database = SupervisedPostgres(
        Database(name="postgres", role="small"), ComingBack(status("running")), folder, "done"
    )
    with psycopg.connect(database.url(), autocommit=True) as session:
        session.execute("CREATE TABLE done (id int)")
        assert "services sign in as" in database.role_differs()
        database.make_role()
        password = urlsplit(database.url(direct=False)).password
        for spoilt, said in (
            ("ALTER ROLE small PASSWORD 'of its own'", "cannot sign in"),
            ("ALTER ROLE small SUPERUSER", "may do more"),
            (f"GRANT {urlsplit(database.url()).username} TO small", "may do more"),
            ("GRANT DELETE ON done TO small", "may write what is applied"),
        ):
            assert database.role_differs() == ""
            session.execute(spoilt)
            assert said in database.role_differs()
            database.make_role()
        assert database.role_differs() == ""
    services = urlsplit(database.url(direct=False))
    assert (services.username, services.password) == ("small", password)
    without = SupervisedPostgres(Database(name="postgres"), database.host, folder)
    assert urlsplit(without.url(direct=False)).username == urlsplit(without.url()).username
