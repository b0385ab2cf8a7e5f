"""The migrations area over the providers this project uses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from dodai import __version__
from dodai.engine.plan import Step
from dodai.migrations import run
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Author
from dodai.migrations.run import Target
from dodai.providers.postgres.connection import connect
from dodai.wiring.project import Project


def policy_of(project: Project) -> MigrationsPolicy | None:
    """The `[migrations]` of the manifest; None when it has none."""
    section = project.manifest.section("migrations")
    return MigrationsPolicy.from_manifest(section) if section is not None else None


def target(project: Project, root: Path, url: Callable[[], str]) -> Target:
    """The migrations below `root` and the database at `url`, asked for when it is needed."""
    policy = policy_of(project) or MigrationsPolicy()

    def author() -> Author:
        return run.author_of(project.root, __version__)

    return Target(root, policy, lambda: connect(url()), author)


def migration_steps(project: Project, root: Path, url: Callable[[], str]) -> tuple[Step, ...]:
    """The steps a deploy takes before it starts anything; none when the tree has no migrations."""
    policy = policy_of(project)
    if policy is None or not (root / policy.folder).is_dir():
        return ()
    return (run.step(target(project, root, url)),)


@contextlib.contextmanager
def database_url(project: Project, env: str) -> Iterator[str]:
    """The direct URL to migrate: what the environment variable of `[database]` says, else the local database of `env`.

    A local database that nobody runs is run for the length of the block: one command is enough in development.
    """
    given = os.environ.get(project.policy.database.variable)
    if given:
        yield given
        return
    import asyncio

    from dodai.wiring.local import LocalEnvironment

    environment = LocalEnvironment.of(project, env)
    database = environment.database
    if asyncio.run(database.running()):
        yield database.url()
        return
    from dodai.providers.postgres.durable import durable

    policy = project.policy.database
    with durable(environment.folder / "postgres", major=policy.major) as cluster:
        cluster.ensure_database(policy.name)
        yield cluster.dsn(policy.name)
