"""The migrations area over the providers this project uses."""

from __future__ import annotations

from collections.abc import Callable

from dodai.engine.plan import Step
from dodai.wiring.project import Project


def migration_steps(project: Project, url: Callable[[], str]) -> tuple[Step, ...]:
    return ()
