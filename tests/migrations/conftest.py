"""Databases, targets and the real goose for the migration tests."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import cast

import pytest
from tests.support.command import git

from dodai.core.rule import Report, evaluate
from dodai.migrations import check
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Author, Connect, MigrationTarget, Shadow, SqlConnection
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import connect
from dodai.providers.postgres.pq_connection import PqConnection

TODAY = date(2026, 11, 23)
POLICY = MigrationsPolicy(base="main", queries=("queries/*.sql",))
FAST = MigrationsPolicy(lock_timeout_s=0.1, lock_patience_s=2.0, runner_patience_s=20.0)


def direct(url: str) -> SqlConnection:
    """As the commands connect to the database of SQL files."""
    return cast("SqlConnection", PqConnection(url))


@pytest.fixture
def make_target(tmp_path: Path, database: str) -> Callable[..., MigrationTarget]:
    """A target over files given as name to SQL; each connection is a new one to the test's database."""

    def make(files: Mapping[str, str], policy: MigrationsPolicy = FAST) -> MigrationTarget:
        folder = tmp_path / policy.folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text)
        return MigrationTarget(tmp_path, policy, lambda: direct(database), lambda: Author(actor="somebody"))

    return make


@pytest.fixture
def conn(database: str) -> Iterator[SqlConnection]:
    """A connection that shows what is in the test's database."""
    opened = connect(database, autocommit=True)
    yield opened
    opened.close()


@pytest.fixture
def goose_source() -> Path:
    """goose's own source in the Go module cache; skipped where it is not, an error in CI."""
    roots = [os.environ.get("GOMODCACHE", "")]
    roots += [f"{path}/pkg/mod" for path in os.environ.get("GOPATH", "").split(os.pathsep) if path]
    roots.append(str(Path.home() / "go" / "pkg" / "mod"))
    for root in filter(None, roots):
        found = sorted(Path(root, "github.com", "pressly", "goose").glob("v3@*"))
        if found:
            return found[-1]
    if os.environ.get("DODAI_TEST_REQUIRE_ALL") == "1":
        pytest.fail("`goose` is absent: its source is not in the Go module cache", pytrace=False)
    pytest.skip("`goose` is absent: its source is not in the Go module cache")


def up(*statements: str, down: tuple[str, ...] = (), head: str = "") -> str:
    """A goose file."""
    body = head + "-- +goose Up\n" + "".join(f"{s}\n" for s in statements)
    return body + ("-- +goose Down\n" + "".join(f"{s}\n" for s in down) if down else "")


@pytest.fixture
def shadow(postgres: Cluster) -> Iterator[Shadow]:
    """Empty databases on the session's server."""
    names: list[str] = []

    @contextmanager
    def start() -> Iterator[Callable[[], Connect]]:
        def database() -> Connect:
            names.append(f"shadow_{len(names)}_{id(names)}")
            dsn = postgres.create_database(names[-1])
            return lambda: connect(dsn)

        yield database

    yield start
    for name in names:
        postgres.drop_database(name)


def write(root: Path, files: Mapping[str, str]) -> None:
    """Files by their paths below `root`."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def run_check(
    root: Path,
    shadow: Shadow,
    *,
    everything: bool = False,
    policy: MigrationsPolicy = POLICY,
    environment: Mapping[str, str] | None = None,
    assume_extensions: tuple[str, ...] = (),
) -> Report:
    """Every rule but those on a live database."""
    base = check.read_base(root, policy)
    history = check.gather_history(root, policy, base, today=TODAY, everything=everything, environment=environment)
    walk = check.gather_shadow(
        root, policy, history, base, shadow, everything=everything, assume_extensions=assume_extensions
    )
    facts = {
        check.MigrationHistory: history,
        check.BaseHistory: check.gather_base(history, base),
        check.ShadowRun: walk,
        check.Attempts: check.gather_attempts(walk),
        check.QueriesTried: check.gather_queries(walk),
    }
    return evaluate([r for r in check.RULES if r.cost != "live"], facts, today=TODAY)


NO_TX = "-- +goose NO TRANSACTION\n"


@pytest.fixture
def branch(tmp_path: Path) -> Path:
    """A branch whose base has no migration yet."""
    git(tmp_path, "init", "-b", "main")
    git(tmp_path, "commit", "--allow-empty", "-m", "first")
    git(tmp_path, "checkout", "-b", "branch")
    return tmp_path
