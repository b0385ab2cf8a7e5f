"""A real PostgreSQL for every suite: one server for each process of the test run, a database of its own per test.

tests/conftest.py makes the fixtures known: a suite that imported them would get a server of its own. `postgres` is the
`Cluster`; `database` the URL of an empty database. Both are skipped where no binaries are installed, and fail there
when `DODAI_TEST_REQUIRE_ALL=1`.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import pytest

from dodai.core.errors import DodaiError
from dodai.providers.postgres.cluster import Cluster, throw_away
from dodai.providers.postgres.codes import NOT_FOUND


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """One empty server for the whole session, on its socket and on a free loopback port."""
    with contextlib.ExitStack() as stack:
        try:
            cluster = stack.enter_context(throw_away(tcp=True, settings={"max_connections": "200"}))
        except DodaiError as error:
            if error.code is NOT_FOUND and os.environ.get("DODAI_TEST_REQUIRE_ALL") != "1":
                pytest.skip("`postgres` is absent on this machine")
            raise
        yield cluster


@pytest.fixture
def database(postgres: Cluster) -> Iterator[str]:
    """The URL of an empty database that is dropped after the test."""
    with postgres.fresh_database("test") as dsn:
        yield dsn
