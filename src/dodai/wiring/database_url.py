"""Which database a `migrate` command acts on; a module of its own, because `migrate up` must start fast."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from dodai.wiring.project import Project


@contextlib.contextmanager
def database_to_migrate(project: Project, env: str) -> Iterator[str]:
    """The direct URL to migrate: what the variable of `[database]` says, else the local database of `env`.

    A local database that nobody runs is run for the length of the block: one command is enough in development.
    """
    given = os.environ.get(project.database_variable)
    if given:
        yield given
        return
    policy = project.policy.database
    import asyncio

    from dodai.wiring.local import LocalEnvironment

    environment = LocalEnvironment.of(project, env)
    if asyncio.run(environment.database.running()):
        yield environment.database.url()
        return
    from dodai.providers.postgres.durable import durable

    with durable(environment.folder / "postgres", major=policy.major) as cluster:
        cluster.ensure_database(policy.name)
        yield cluster.dsn(policy.name)
