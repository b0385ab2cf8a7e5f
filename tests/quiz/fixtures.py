"""A migrated database, and the quiz as processes, for every suite: tests/conftest.py makes the fixtures known."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest
from tests.quiz.browser import Visitor
from tests.quiz.stack import QUIZ, Stack, running_quiz

from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.run import MigrationTarget, up
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import connect


@pytest.fixture(scope="session")
def migrated(postgres: Cluster) -> str:
    """The name of a database with every migration applied, to copy from."""
    dsn = postgres.create_database("quiz_migrated")
    up(MigrationTarget(QUIZ, MigrationsPolicy(folder="db/migrations"), lambda: connect(dsn)))
    return "quiz_migrated"


@pytest.fixture
def quiz_database(postgres: Cluster, migrated: str) -> Iterator[str]:
    """The URL of a migrated database that is this test's own."""
    with postgres.fresh_database("quiz", template=migrated) as dsn:
        yield dsn


@pytest.fixture(scope="module")
def quiz(postgres: Cluster, migrated: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Backend, identity provider and web tier, shared by a module: its tests leave all three running."""
    folder: Path = tmp_path_factory.mktemp("quiz")
    with postgres.fresh_database("quiz", template=migrated) as dsn, running_quiz(dsn, folder) as stack:
        yield stack


@pytest.fixture
def visit() -> Iterator[Callable[[Stack], Visitor]]:
    """Makes a new visitor of a stack, as many as a test needs."""
    with contextlib.ExitStack() as clients:
        yield lambda stack: Visitor(clients.enter_context(httpx2.Client(base_url=stack.url, timeout=15)))
