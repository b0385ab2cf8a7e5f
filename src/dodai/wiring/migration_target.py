"""The migrations area over the providers this project uses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from dodai import __version__
from dodai.core.database_url import refuse_unfit
from dodai.core.dataclass import dataclass
from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.policy import Format, MigrationsPolicy
from dodai.migrations.ports import Author, Copies, MigrationTarget, SqlConnection, Tool

_ANSWER_S = 5

if TYPE_CHECKING:
    from dodai.migrations.interpreter import Interpreter
    from dodai.migrations.run import MigrationRehearsal
    from dodai.operations.project import Project


@dataclass(frozen=True, slots=True)
class ProjectMigrations:
    """`dodai.operations.ports.MigrationsService` of a project and the database at `url`, asked for when it is used.

    `production`: the data of the database is not for everybody's eyes. `copies`: its provider makes them.
    """

    project: Project
    url: Callable[[], str]
    production: bool
    copies: Callable[[Callable[[str], None]], Copies] | None = None

    def target(self, root: Path, /) -> MigrationTarget:
        return target(self.project, root, self.url)

    def connect(self) -> SqlConnection:
        return _connect(self.url(), autocommit=True)

    def newest_token(self) -> int:
        found = self._reachable()
        return run.newest_token(found) if found else 0

    def announce(self, token: int, /) -> None:
        """A database that takes no connection hears of it when it does: by the step that starts it, or a migration."""
        if found := self._reachable():
            run.announce(found, token)

    def try_on_copy(self, note: Callable[[str], None], /) -> MigrationRehearsal:
        if self.copies:
            return rehearse_on(self.project, self.copies(note), note)
        return rehearse_on_a_copy(self.project, self.url(), note, production=self.production)

    def _reachable(self) -> MigrationTarget | None:
        """The migrations of the working tree and the database, when it takes connections."""
        policy = self.project.migrations
        if policy is None:
            return None
        try:
            url = self.url()
            if not url:
                return None
            _direct(url, policy, timeout_s=_ANSWER_S).close()
        except DodaiError:
            return None
        return self.target(self.project.root)


def target(project: Project, root: Path, url: Callable[[], str]) -> MigrationTarget:
    """The migrations below `root` and the database at `url`, asked for when it is needed."""
    policy = project.at_root(root).migrations or project.migrations or MigrationsPolicy()

    def author() -> Author:
        return run.author_of(project.root, __version__)

    tool = tool_of(project, policy, root)
    return MigrationTarget(root, policy, lambda: _connection(url(), policy), author, tool=tool)


def tool_of(project: Project, policy: MigrationsPolicy, root: Path) -> Tool | None:
    """The tool of a history that is not SQL files, None for one that is."""
    make = _TOOLS.get(policy.format)
    return make(project, policy, root) if make else None


def _alembic(project: Project, policy: MigrationsPolicy, root: Path) -> Tool:
    from dodai.providers.alembic.tool import Alembic

    return Alembic(root, policy.folder, _interpreter(project), policy.table, application=_application(project))


def _application(project: Project) -> str:
    """The import path of the application that uses the database, where the manifest names one; "" where several."""
    data = project.manifest.data
    services = data.get("service") or {}
    named = {service["app"]: name for name, service in services.items() if service.get("app")}
    using = [app for app, name in named.items() if name in data["database"]["used_by"]] or list(named)
    return str(using[0]) if len(using) == 1 else ""


def _django(project: Project, policy: MigrationsPolicy, root: Path) -> Tool:
    from dodai.providers.django_migrations.tool import DjangoMigrations

    return DjangoMigrations(root, policy.folder, _interpreter(project), policy.table)


_TOOLS: Mapping[Format, Callable[[Project, MigrationsPolicy, Path], Tool]] = {"alembic": _alembic, "django": _django}


def rehearse_on_a_copy(
    project: Project, url: str, note: Callable[[str], None], *, production: bool, dump: bool = False
) -> MigrationRehearsal:
    """What is pending on the database at `url`, tried on a copy of it under load; with `dump` on one made of a dump."""
    from dodai.providers.postgres.copies import DumpCopies, ServerCopies

    there = target(project, project.root, lambda: url)
    _check(url, there.policy)
    copies = DumpCopies(url, production) if dump else ServerCopies(url, production)
    return run.rehearse(there, copies, _connect, note=note)


def rehearse_on(project: Project, copies: Copies, note: Callable[[str], None]) -> MigrationRehearsal:
    """What is pending, tried under load on a copy that a provider makes; the original is not connected to."""
    return run.rehearse(target(project, project.root, _nowhere), copies, _connect, note=note)


def _nowhere() -> str:
    raise AssertionError("a rehearsal connects to the copy only")


def _interpreter(project: Project) -> Interpreter:
    from dodai.migrations.interpreter import Interpreter

    return Interpreter(project.python, _environment(project), project.database_variable)


def _environment(project: Project) -> Mapping[str, str]:
    """What code of the user's may see: what every program needs, and `[check].environment`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, **project.manifest.data["check"]["environment"]}


def _connection(url: str, policy: MigrationsPolicy) -> SqlConnection:
    """A connection to the server itself; DOD067 or DOD066, before anything is sent, where it would be refused later.

    Migrations need nothing of psycopg but its words where the connection cannot be made.
    """
    from dodai.providers.postgres.libpq import LibpqError, words_of
    from dodai.providers.postgres.pq_connection import PqConnection

    with contextlib.suppress(LibpqError):
        refuse_unfit(words_of(url), os.environ, policy.plain_hosts)
        return cast("SqlConnection", PqConnection(url))
    return _direct(url, policy)


def _direct(url: str, policy: MigrationsPolicy, **options: int) -> SqlConnection:
    """A connection to the server itself; DOD067 or DOD066, before anything is sent, where it would be refused later."""
    _check(url, policy)
    return _connect(url, **options)


def _check(url: str, policy: MigrationsPolicy) -> None:
    from dodai.providers.postgres.connection import parameters

    refuse_unfit(parameters(url), os.environ, policy.plain_hosts)


def _connect(url: str, **options: Any) -> SqlConnection:
    # psycopg is an extra: files are read and judged without it.
    from dodai.providers.postgres.connection import connect

    return connect(url, **options)
