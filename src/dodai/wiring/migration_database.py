"""Which database a `migrate` command acts on; a module of its own, because `migrate up` must start fast."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

from dodai.core.database_url import libpq_url
from dodai.operations.project import Project


@contextlib.contextmanager
def database_to_migrate(project: Project, env: str) -> Iterator[str]:
    """The direct URL to migrate: what the variable of `[database]` says, else the database of `env`.

    A local database that nobody runs is run for the length of the block: one command is enough in development.
    """
    given = os.environ.get(project.database_variable)
    if given:
        yield libpq_url(given)
        return
    from dodai.wiring import environments

    with environments.open(project, env).database.serving() as url:
        yield url
