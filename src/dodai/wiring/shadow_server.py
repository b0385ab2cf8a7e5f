"""An empty PostgreSQL of our own, for what must be tried before it may be believed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

from dodai.migrations.ports import Connect


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
