"""PostgreSQL of this machine: the installations, and empty servers for what must be tried before it is believed."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from dodai.core.database_url import refuse_unfit
from dodai.migrations.ports import Connect, Shadow
from dodai.operations.project import Project

if TYPE_CHECKING:
    from dodai.core.errors import DodaiError
    from dodai.providers.postgres.binaries import Binaries


def installed() -> tuple[list[Binaries], list[DodaiError]]:
    """Every installation that works, best first, and why the others do not."""
    from dodai.providers.postgres.binaries import search

    return search()


def shadow_of(project: Project | None) -> Shadow:
    """Where the migrations of a project are tried: on the server that `[database] shadow_url` names, else on our own.

    Raises DOD785 for a URL that cannot be read, and DOD066 or DOD067 for one that is unfit.
    """
    if project is None:
        return partial(shadow_server, 0)
    database = project.policy.database
    if not database.shadow_url:
        return partial(shadow_server, database.major)
    from dodai.providers.postgres.borrowed_server import BorrowedServer
    from dodai.providers.postgres.connection import parameters

    plain = project.migrations.plain_hosts if project.migrations else ()
    refuse_unfit(parameters(database.shadow_url), os.environ, plain)
    return BorrowedServer(database.shadow_url)


@contextlib.contextmanager
def shadow_server(major: int) -> Iterator[Callable[[], Connect]]:
    """A throw-away server, of version `major` where one is here; each call of what it gives makes an empty database.

    A whole cluster, not only a database: migrations create roles, and those are the cluster's.
    """
    from dodai.providers.postgres.binaries import find_binaries
    from dodai.providers.postgres.cluster import throw_away
    from dodai.providers.postgres.connection import connect

    with throw_away(find_binaries(major=major)) as cluster:
        names = (f"shadow_{number}" for number in range(1, 1_000_000))

        def new_database() -> Connect:
            url = cluster.create_database(next(names))
            return lambda: connect(url)

        yield new_database
