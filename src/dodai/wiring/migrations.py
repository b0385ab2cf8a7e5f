"""The migrations area over the providers this project uses."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from dodai import __version__
from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.policy import Format, MigrationsPolicy
from dodai.migrations.ports import Author, Connection, Target, Tool

_ANSWER_S = 5

if TYPE_CHECKING:
    from dodai.engine.plan import Step
    from dodai.migrations.interpreter import Interpreter
    from dodai.migrations.run import Rehearsed
    from dodai.wiring.project import Project


def policy_of(project: Project) -> MigrationsPolicy | None:
    """The `[migrations]` of the manifest, defaults included; None when the repository has no such folder."""
    policy = MigrationsPolicy.from_manifest(project.manifest.section("migrations") or {})
    return policy if (project.root / policy.folder).is_dir() else None


def target(project: Project, root: Path, url: Callable[[], str]) -> Target:
    """The migrations below `root` and the database at `url`, asked for when it is needed."""
    policy = policy_of(project) or MigrationsPolicy()

    def author() -> Author:
        return run.author_of(project.root, __version__)

    return Target(root, policy, lambda: _connect(url()), author, tool=tool_of(project, policy, root))


def tool_of(project: Project, policy: MigrationsPolicy, root: Path) -> Tool | None:
    """The tool of a history that is not SQL files, None for one that is."""
    make = _TOOLS.get(policy.format)
    return make(project, policy, root) if make else None


def _alembic(project: Project, policy: MigrationsPolicy, root: Path) -> Tool:
    from dodai.providers.alembic.tool import Alembic

    return Alembic(root, policy.folder, _interpreter(project), policy.table)


def _django(project: Project, policy: MigrationsPolicy, root: Path) -> Tool:
    from dodai.providers.django_migrations.tool import Django

    return Django(root, policy.folder, _interpreter(project), policy.table)


_TOOLS: Mapping[Format, Callable[[Project, MigrationsPolicy, Path], Tool]] = {"alembic": _alembic, "django": _django}


def rehearse_on_a_copy(
    project: Project, env: str, url: str, note: Callable[[str], None], *, dump: bool = False
) -> Rehearsed:
    """What is pending on the database at `url`, tried on a copy of it under load; with `dump` on one made of a dump."""
    from dodai.providers.postgres.copies import DumpCopies, ServerCopies

    production = not project.environment(env).is_local
    copies = DumpCopies(url, production) if dump else ServerCopies(url, production)
    return run.rehearse(target(project, project.root, lambda: url), copies, _connect, note=note)


def _interpreter(project: Project) -> Interpreter:
    from dodai.migrations.interpreter import Interpreter

    return Interpreter(project.python, _environment(project), project.database_variable)


def _environment(project: Project) -> Mapping[str, str]:
    """What code of the user's may see: what every program needs, and `[check].environment`."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return {**kept, **project.manifest.data["check"]["environment"]}


def announce(project: Project, url: str, token: int) -> None:
    """From now on the database at `url` refuses migrations under an older token; DOD351 when it saw a newer one.

    A database that takes no connection is told when it does: by the step that starts it, and by the migration itself.
    """
    if found := _reachable(project, url):
        run.announce(found, token)


def newest_token(project: Project, url: str) -> int:
    """The newest token that the database at `url` has seen; 0 when it takes no connection or never saw one."""
    found = _reachable(project, url)
    return run.newest_token(found) if found else 0


def _reachable(project: Project, url: str) -> Target | None:
    """The migrations of the working tree and the database at `url`, when it takes connections."""
    if not url or policy_of(project) is None:
        return None
    try:
        _connect(url, timeout_s=_ANSWER_S).close()
    except DodaiError:
        return None
    return target(project, project.root, lambda: url)


def migration_steps(project: Project, root: Path, url: Callable[[], str]) -> tuple[Step, ...]:
    """The steps a deploy takes before it starts anything; none when the tree has no migrations."""
    policy = policy_of(project)
    if policy is None or not (root / policy.folder).is_dir():
        return ()
    return (run.step(target(project, root, url)),)


def _connect(url: str, **options: int) -> Connection:
    # psycopg is an extra: files are read and judged without it.
    from dodai.providers.postgres.connection import connect

    return connect(url, **options)  # type: ignore[arg-type]
