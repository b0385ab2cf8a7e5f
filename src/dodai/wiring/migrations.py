"""The migrations area over the providers this project uses."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from dodai import __version__
from dodai.migrations import run
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Author
from dodai.migrations.run import Target
from dodai.providers.postgres.connection import connect

if TYPE_CHECKING:
    from dodai.engine.plan import Step
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

    return Target(root, policy, lambda: connect(url()), author)


def migration_steps(project: Project, root: Path, url: Callable[[], str]) -> tuple[Step, ...]:
    """The steps a deploy takes before it starts anything; none when the tree has no migrations."""
    policy = policy_of(project)
    if policy is None or not (root / policy.folder).is_dir():
        return ()
    return (run.step(target(project, root, url)),)
