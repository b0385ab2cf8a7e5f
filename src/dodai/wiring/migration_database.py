"""Which database a `migrate` command acts on; a module of its own, because `migrate up` must start fast."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import TYPE_CHECKING, cast

from dodai.core.database_url import libpq_url, refuse_unfit

if TYPE_CHECKING:
    from dodai.migrations.ports import Copies, SqlConnection
    from dodai.operations.project import Project

CONNECT_TIMEOUT_S = 2.0
"""Of who asks whether there is anything to do: `up` itself is more patient, and says what went wrong."""


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


def copies_of(project: Project, env: str, on: str, note: Callable[[str], None]) -> Copies | None:
    """What the provider of the database of `env` makes copies with; None when it makes none and `on` names none.

    A URL in the variable of `[database]` is somebody else's database, so it has no provider. DOD010 (exit 2) when `on`
    is another provider than that of the database, or one that makes no copies.
    """
    from dodai.core import codes
    from dodai.core.errors import DodaiError
    from dodai.wiring import environments

    config = project.environment(env)
    named = config.provider_of("database")
    if not on and os.environ.get(project.database_variable):
        return None
    made = environments.copies(project, env, note) if on in ("", named) else None
    if on and made is None:
        said = f"the database of `{env}` is of the provider `{named}`, and `--on {on}` asks for a copy of `{on}`"
        if on == named:
            said = f"the provider `{on}` makes no copies"
        fix = "leave out `--on`: the copy is then made by PostgreSQL's own programs"
        raise DodaiError(codes.PROVIDERS_DO_NOT_FIT, said, fix, exit_code=2)
    return made


def connected(url: str, environ: Mapping[str, str], plain_hosts: Collection[str]) -> SqlConnection:
    """A connection to the server itself, made without psycopg; DOD066 or DOD067 for an address that is unfit."""
    from dodai.providers.postgres.libpq import words_of
    from dodai.providers.postgres.pq_connection import PqConnection

    refuse_unfit(words_of(url), environ, plain_hosts)
    return cast("SqlConnection", PqConnection(url, timeout_s=CONNECT_TIMEOUT_S))
