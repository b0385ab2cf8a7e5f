"""The base of `check`: found, printed, or reported as not judged; a missing one never makes a branch look clean."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from tests.migrations.conftest import up
from tests.migrations.test_check import M, git, write

from dodai.core.fact import NotApplicable, Unknown
from dodai.core.rule import Report, evaluate
from dodai.migrations import check
from dodai.migrations.check import Base
from dodai.migrations.policy import MigrationsPolicy

TODAY = date(2026, 11, 23)
FILES = {
    f"{M}0001_a.sql": up("CREATE TABLE a (b int);", down=("DROP TABLE a;",)),
    f"{M}0002_c.sql": up("CREATE TABLE c (d int);", down=("DROP TABLE c;",)),
}
EDITED = {
    f"{M}0001_a.sql": up("CREATE TABLE a (b bigint);", down=("DROP TABLE a;",)),
    f"{M}0003_new.sql": up("ALTER TABLE c ADD COLUMN e int NOT NULL;", down=("ALTER TABLE c DROP COLUMN e;",)),
}
STATIC = [rule for rule in check.RULES if rule.cost == "static"]


def report(root: Path, *, base: str = "", configured: str = "", everything: bool = False) -> Report:
    policy = MigrationsPolicy(base=configured)
    found = check.read_base(root, policy, base)
    history = check.gather_history(root, policy, found, today=TODAY, everything=everything)
    facts = {check.MigrationHistory: history, check.BaseHistory: check.gather_base(history, found)}
    return evaluate(STATIC, facts, today=TODAY)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A repository with `main` and a branch that edits an applied file and adds a new one."""
    root = tmp_path / "origin"
    root.mkdir()
    git(root, "init", "-b", "main")
    write(root, FILES)
    git(root, "add", ".")
    git(root, "commit", "-m", "first")
    git(root, "checkout", "-b", "feature")
    write(root, EDITED)
    git(root, "commit", "-am", "edit")
    git(root, "add", ".")
    git(root, "commit", "-m", "new")
    git(root, "checkout", "main")
    write(root, {f"{M}0009_later.sql": up("CREATE TABLE later (a int);", down=("DROP TABLE later;",))})
    git(root, "add", ".")
    git(root, "commit", "-m", "meanwhile")
    return root


@pytest.fixture
def clone(origin: Path, tmp_path: Path) -> Callable[..., Path]:
    """Clones the origin as CI does; `file://` because git ignores `--depth` on a path."""

    def make(*options: str) -> Path:
        subprocess.run(
            ["git", "clone", "-q", *options, f"file://{origin}", str(tmp_path / "clone")],
            check=True,
            capture_output=True,
        )
        return tmp_path / "clone"

    return make


def found_codes(seen: Report) -> list[str]:
    return sorted(finding.code.id for finding in seen.findings)


def run_fix(root: Path, seen: Report) -> None:
    """Carry out the command that the report proposes."""
    command = seen.unknown[0].fix.split("`")[1]
    assert command.startswith("git fetch")
    subprocess.run(shlex.split(command), cwd=root, check=True, capture_output=True)


def test_a_depth_1_clone_of_a_branch_is_not_judged_until_its_fix_was_run(clone):
    """Without the base every edit would look like nothing; the command in the message brings it."""
    root = clone("--depth", "1", "--branch", "feature")
    before = report(root)
    assert not before.ok
    assert {rule.code.id for rule in before.judged} == set()
    assert "main branch is not in this clone" in before.unknown[0].reason
    run_fix(root, before)
    after = report(root)
    assert not after.unknown
    assert found_codes(after) == ["DOD204", "DOD205"]


def test_a_shallow_clone_of_both_branches_has_no_fork_point_and_is_not_judged(clone):
    """Both tips are there, what they share is not."""
    root = clone("--depth", "1", "--no-single-branch", "--branch", "feature")
    before = report(root)
    assert not before.ok
    assert "no common commit" in before.unknown[0].reason
    run_fix(root, before)
    assert found_codes(report(root)) == ["DOD204", "DOD205"]


def test_a_whole_clone_of_one_branch_is_not_judged_until_its_fix_was_run(clone):
    """The history is complete, but the branch that it goes to is missing."""
    root = clone("--single-branch", "--branch", "feature")
    before = report(root)
    assert not before.ok
    run_fix(root, before)
    assert found_codes(report(root)) == ["DOD204", "DOD205"]


def test_a_checkout_of_a_commit_alone_is_not_judged(origin: Path, tmp_path: Path):
    """As CI does it: a detached commit, fetched by its id, and no branch at all."""
    root = tmp_path / "checkout"
    root.mkdir()
    git(root, "init", "-b", "unborn")
    git(root, "remote", "add", "origin", f"file://{origin}")
    git(root, "fetch", "--depth=1", "origin", "+refs/heads/feature:refs/remotes/pull/7/merge")
    git(root, "checkout", "--detach", "refs/remotes/pull/7/merge")
    before = report(root)
    assert not before.ok
    run_fix(root, before)
    assert found_codes(report(root)) == ["DOD204", "DOD205"]


@pytest.mark.parametrize("given", [{"base": "origin/release"}, {"configured": "origin/release"}])
def test_a_named_base_that_is_not_there_is_never_replaced_by_another(clone, given: dict[str, str]):
    """Neither that of the command nor that of the manifest falls back to a branch that happens to be there."""
    root = clone("--branch", "feature")
    assert found_codes(report(root)) == ["DOD204", "DOD205"]
    seen = report(root, **given)
    assert not seen.ok
    assert "`origin/release` is not in this clone" in seen.unknown[0].reason
    assert "+refs/heads/release:refs/remotes/origin/release" in seen.unknown[0].fix


def test_a_branch_without_a_main_one_beside_it_is_not_compared_with_itself(origin: Path):
    """Two local branches, neither called main or master, and no remote: nobody can say which is the base."""
    git(origin, "branch", "-m", "main", "trunk")
    git(origin, "checkout", "feature")
    assert not report(origin).ok
    assert found_codes(report(origin, base="trunk")) == ["DOD204", "DOD205"]


def test_the_base_that_was_used_is_said(clone):
    """Name and commits, and how many files are new against it."""
    root = clone("--branch", "feature")
    found = check.read_base(root, MigrationsPolicy())
    assert isinstance(found, Base)
    history = check.gather_history(root, MigrationsPolicy(), found, today=TODAY)
    assert isinstance(history, check.MigrationHistory)
    assert f"2 of 3 new against `origin/main` (`{found.commit[:9]}`)" in history.seen
    assert f"left at `{found.fork_commit[:9]}`" in history.seen


def test_without_git_the_files_are_judged_and_the_rules_about_the_base_are_not(tmp_path: Path):
    """An exported tree has no base; that is said and is no pass, unless `none` was asked for."""
    write(tmp_path, FILES)
    seen = report(tmp_path)
    assert not seen.ok
    assert {undecided.rule.needs for undecided in seen.unknown} == {(check.BaseHistory,)}
    assert report(tmp_path, configured="none").ok


def test_a_repository_without_a_commit_has_nothing_to_compare_with(tmp_path: Path):
    """Every file is new then, and judged."""
    git(tmp_path, "init", "-b", "main")
    write(tmp_path, FILES)
    assert isinstance(check.read_base(tmp_path, MigrationsPolicy()), NotApplicable)
    assert report(tmp_path).ok


def test_a_file_that_git_cannot_give_makes_the_base_unknown(origin: Path):
    """A blob that is missing from the clone is not a file that the base does not have."""
    blob = subprocess.run(
        ["git", "rev-parse", f"main:{M}0001_a.sql"], cwd=origin, check=True, capture_output=True, text=True
    ).stdout.strip()
    (origin / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    found = check.read_base(origin, MigrationsPolicy(base="main"))
    assert isinstance(found, Unknown)
    assert blob in found.reason
