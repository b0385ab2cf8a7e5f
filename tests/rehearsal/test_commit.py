"""Evidence is about a commit: what git was told to overlook in a working tree is a change all the same."""

from __future__ import annotations

import pytest
from tests.support.command import commit, git

from dodai.core.errors import DodaiError
from dodai.rehearsal.commit import clean_commit


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "web.py").write_text("honest\n")
    commit(tmp_path)
    return tmp_path


def refusal(tree):
    with pytest.raises(DodaiError) as refused:
        clean_commit(tree, "staging")
    assert refused.value.code.id == "DOD257"
    return refused.value.message


def test_filter_that_shows_git_another_file_hides_no_change(tree):
    """`git status` is clean: what it compares is what the filter says. One that checkout undoes, as Git LFS, passes."""
    (tree / ".gitattributes").write_text("web.py filter=x\n")
    git(tree, "config", "filter.x.clean", "tr a-z n-za-m")
    git(tree, "config", "filter.x.smudge", "tr a-z n-za-m")
    (tree / "web.py").write_text("honest too\n")
    git(tree, "add", "-A")
    git(tree, "commit", "-q", "-m", "filtered")
    assert clean_commit(tree, "staging") == git(tree, "rev-parse", "HEAD")
    git(tree, "config", "filter.x.clean", "git cat-file blob HEAD:web.py")
    git(tree, "config", "--unset", "filter.x.smudge")
    (tree / "web.py").write_text("hidden\n")
    git(tree, "add", "web.py")
    assert git(tree, "status", "--porcelain") == ""
    assert "`web.py` is not what a checkout would write" in refusal(tree)


def test_commit_that_was_replaced_is_not_the_one_that_its_name_says(tree):
    """`git replace` shows another tree under the name of a commit; who reads the record would look at the true one."""
    honest = git(tree, "rev-parse", "HEAD")
    (tree / "web.py").write_text("hidden\n")
    git(tree, "commit", "-q", "-a", "-m", "hidden")
    hidden = git(tree, "rev-parse", "HEAD")
    git(tree, "reset", "-q", "--hard", honest)
    git(tree, "replace", honest, hidden)
    git(tree, "reset", "-q", "--hard", honest)
    assert (tree / "web.py").read_text() == "hidden\n"
    assert git(tree, "status", "--porcelain") == ""
    assert "changes that are not committed" in refusal(tree)
