"""The migrations area over the providers this project uses."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dodai import __version__
from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Author, Connection
from dodai.migrations.run import Applied, Target

_ANSWER_S = 5

if TYPE_CHECKING:
    from dodai.engine.plan import Step
    from dodai.migrations.run import Rehearsed, Status
    from dodai.providers.alembic.reader import AlembicReader
    from dodai.providers.alembic.runner import AlembicRunner
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

    return Target(root, policy, lambda: _connect(url()), author)


def target_at(project: Project, url: str) -> Target:
    """The migrations of the working tree and the database at `url`; Alembic's env.py is told the URL as well."""
    found = target(project, project.root, lambda: url)
    if found.policy.format == "alembic":
        return replace(found, environment={**_environment(project), project.database_variable: url})
    return found


def up(project: Project, target: Target, *, allow_missing: bool, note: Callable[[str], None]) -> Applied:
    """Apply what is pending with the tool that the files are for; as `migrations.run.up`."""
    if target.policy.format == "alembic":
        return _alembic(project, target).up(run.new_run(), note)
    return run.up(target, allow_missing=allow_missing, note=note)


def status(project: Project, target: Target) -> Status:
    """What is applied and what is pending, whatever tool the files are for."""
    return _alembic(project, target).status() if target.policy.format == "alembic" else run.status(target)


def rehearse_on_a_copy(project: Project, env: str, url: str, note: Callable[[str], None]) -> Rehearsed:
    """What is pending on the database at `url`, tried on a physical copy of its server, under load."""
    from dodai.providers.postgres.backup import copy_of

    @contextlib.contextmanager
    def copy() -> Iterator[run.Copy]:
        with copy_of(url) as cluster:
            copied = cluster.dsn(urlsplit(url).path.lstrip("/"))
            production = not project.environment(env).is_local
            yield run.Copy(lambda: _connect(copied), "a physical copy of the server", production)

    return run.rehearse(target_at(project, url), copy, note=note)


def reader_of(project: Project | None, policy: MigrationsPolicy) -> AlembicReader | None:
    """The reader of a history that is not SQL files, None for one that is."""
    if project is None or policy.format != "alembic":
        return None
    from dodai.providers.alembic.reader import AlembicReader

    return AlembicReader(project.root, policy.folder, project.python, _environment(project))


def _alembic(project: Project, target: Target) -> AlembicRunner:
    from dodai.providers.alembic.reader import AlembicReader
    from dodai.providers.alembic.runner import AlembicRunner

    reader = AlembicReader(target.root, target.policy.folder, project.python, target.environment)
    return AlembicRunner(target, reader, target.environment)


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
