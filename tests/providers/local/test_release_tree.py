from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.command import git

from dodai.core.errors import DodaiError
from dodai.operations.ports import ReleaseFile
from dodai.providers.local.release_tree import ReleaseTrees, tree_id


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    (folder / "web").mkdir(parents=True)
    (folder / "web" / "app.py").write_text("print('one')\n")
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "current").symlink_to("web/app.py")
    (folder / ".dodai").mkdir()
    (folder / ".dodai" / "secret").write_text("s")
    return folder


@pytest.fixture
def trees(tmp_path):
    return ReleaseTrees(tmp_path / "releases")


def paths(trees, name):
    return [entry.path for entry in trees.entries(name)]


def test_a_release_is_a_copy_that_later_edits_do_not_reach(trees, source):
    """Contents, executable bit and links are kept, the state folder is not."""
    name = trees.publish(str(source))
    (source / "web" / "app.py").write_text("print('two')\n")
    tree = trees.folder / name / "tree"
    assert (tree / "web" / "app.py").read_text() == "print('one')\n"
    assert os.access(tree / "run.sh", os.X_OK)
    assert not os.access(tree / "web" / "app.py", os.X_OK)
    assert (tree / "current").readlink().as_posix() == "web/app.py"
    assert paths(trees, name) == ["current", "run.sh", "web/app.py"]
    assert trees.publish(str(source)) != name


def test_the_same_content_is_the_same_release_whatever_else_differs(trees, source, tmp_path):
    """Times, owners and the place of the source have no part in the id."""
    first = trees.publish(str(source))
    os.utime(source / "run.sh", (1, 1))
    moved = source.rename(tmp_path / "elsewhere")
    assert trees.publish(str(moved)) == first
    (moved / "run.sh").chmod(0o644)
    assert trees.publish(str(moved)) != first


def test_git_decides_which_files_belong(trees, source):
    """Tracked and new files do; ignored and deleted ones do not; an ignored build can be included by name."""
    git(source, "init", "-q")
    (source / ".gitignore").write_text("*.log\nbuild/\n")
    (source / "gone.txt").write_text("x")
    git(source, "add", "-A")
    git(source, "commit", "-q", "-m", "one")
    (source / "gone.txt").unlink()
    (source / "debug.log").write_text("secret")
    (source / "new.txt").write_text("new")
    (source / "build" / "js").mkdir(parents=True)
    (source / "build" / "js" / "a.js").write_text("1")
    expected = [".gitignore", "current", "new.txt", "run.sh", "web/app.py"]
    assert paths(trees, trees.publish(str(source))) == expected
    assert paths(trees, trees.publish(str(source), ["build"])) == sorted([*expected, "build/js/a.js"])


def test_a_folder_below_the_top_of_a_repository_is_a_source_too(trees, source):
    """Paths are relative to the source, as the service's `cwd` is."""
    git(source, "init", "-q")
    assert paths(trees, trees.publish(str(source / "web"))) == ["app.py"]


@pytest.mark.parametrize("tracked", [False, True], ids=["without git", "in git, not ignored"])
def test_an_environment_beside_the_application_is_no_part_of_the_release(trees, source, tracked):
    """Its links lead out of the tree, and it was made for one machine; `up` once stopped there with DOD366."""
    before = trees.publish(str(source))
    for name in (".venv", "tools/py"):
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", source / name], check=True)
        (source / name / ".gitignore").unlink(missing_ok=True)
    (source / "conda" / "conda-meta").mkdir(parents=True)
    (source / "conda" / "conda-meta" / "history").write_text("")
    (source / "conda" / "python").symlink_to("/usr/bin/python3")
    if tracked:
        git(source, "init", "-q")
    else:
        (source / "node_modules" / "left-pad").mkdir(parents=True)
        (source / "node_modules" / "left-pad" / "index.js").write_text("")
    assert trees.publish(str(source)) == before


def test_what_is_named_is_included_even_from_an_installed_folder(trees, source):
    """A build that needs its modules names them."""
    (source / "node_modules" / "left-pad").mkdir(parents=True)
    (source / "node_modules" / "left-pad" / "index.js").write_text("")
    published = trees.publish(str(source), ["node_modules"])
    assert "node_modules/left-pad/index.js" in [entry.path for entry in trees.entries(published)]


def test_a_repository_that_git_cannot_read_is_refused_rather_than_copied_whole(trees, source):
    """Without git's list, ignored secrets would be copied."""
    (source / ".git").mkdir()
    (source / ".git" / "HEAD").write_text("nonsense")
    with pytest.raises(DodaiError) as caught:
        trees.publish(str(source))
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD366", 2)


@pytest.mark.parametrize("target", ["/etc/hosts", "../outside", "web/../../outside", "{source}/web/app.py"])
def test_a_link_that_leads_out_of_the_tree_is_refused(trees, source, target):
    """What a release needs is in the release; an absolute link would lead to the source, not to the copy."""
    (source / "bad").symlink_to(target.format(source=source))
    with pytest.raises(DodaiError) as caught:
        trees.publish(str(source))
    assert "`bad`" in caught.value.message
    assert trees.published() == ()
    assert not list(trees.folder.glob(".staging-*"))


def test_a_release_derived_from_another_differs_by_exactly_the_changes(trees, source):
    """A rehearsal builds its bad release from outside, and the good one is untouched."""
    good = trees.publish(str(source))
    bad = trees.derive(good, {"web/app.py": b"raise SystemExit(1)\n", "run.sh": b"#!/bin/false\n", "current": None})
    assert paths(trees, bad) == ["run.sh", "web/app.py"]
    assert os.access(trees.folder / bad / "tree" / "run.sh", os.X_OK)
    assert trees.changed(good) == ()
    restored = {"web/app.py": b"print('one')\n", "run.sh": b"#!/bin/sh\n"}
    assert trees.derive(bad, restored) == trees.derive(good, {"current": None})


def test_what_running_a_release_leaves_behind_is_not_part_of_it(trees, source):
    """Byte code and such: not in a derived release, and `changed` names only files that were altered."""
    name = trees.publish(str(source))
    tree = trees.folder / name / "tree"
    (tree / "web" / "__pycache__").mkdir()
    (tree / "web" / "__pycache__" / "app.pyc").write_bytes(b"x")
    assert trees.changed(name) == ()
    assert paths(trees, trees.derive(name, {"a": b"1"})) == ["a", "current", "run.sh", "web/app.py"]
    (tree / "web" / "app.py").write_text("edited")
    assert trees.changed(name) == ("web/app.py",)


@pytest.mark.parametrize("path", ["../x", "/etc/x", "", "a/../../x", ".git/hooks/x", ".dodai/x"])
def test_a_change_outside_the_tree_is_refused(trees, source, path):
    """Neither publishing nor deriving writes anywhere else."""
    name = trees.publish(str(source))
    with pytest.raises(DodaiError) as caught:
        trees.derive(name, {path: b"x"})
    assert caught.value.code.id == "DOD366"


def test_prune_keeps_the_newest_and_whatever_is_in_use(trees, source):
    """A release that may be rolled back to is never removed under it."""
    names = []
    for number in range(5):
        names.append(trees.derive(trees.publish(str(source)), {"number": str(number).encode()}))
        os.utime(trees.folder / names[-1], (number + 10, number + 10))
    base = trees.publish(str(source))
    gone = trees.prune(2, [names[0]])
    assert set(gone) == {names[1], names[2], names[3]}
    assert set(trees.published()) == {base, names[4], names[0]}
    with pytest.raises(DodaiError) as caught:
        trees.path(names[1])
    assert caught.value.code.id == "DOD396"
    assert not list(trees.folder.glob(".trash-*"))


@pytest.mark.parametrize("damage", ["content", "list"])
def test_tampered_release_is_not_reused_but_published_anew(trees, source, damage):
    """A commit's id stands for that commit's files, whatever somebody wrote into the copy meanwhile."""
    name = trees.publish(str(source))
    if damage == "content":
        (trees.folder / name / "tree" / "web" / "app.py").write_text("evil")
    else:
        (trees.folder / name / "entries.json").write_text("[")
    with pytest.raises(DodaiError) as caught:
        trees.proven(name)
    assert caught.value.code.id == "DOD366"
    assert trees.publish(str(source)) == name
    assert trees.proven(name)
    assert (trees.folder / name / "tree" / "web" / "app.py").read_text() == "print('one')\n"


def test_prune_removes_the_logs_of_releases_whose_files_are_gone(trees, source):
    """Those of releases that are kept, of processes and of nothing we know stay."""
    old, kept = trees.publish(str(source)), trees.derive(trees.publish(str(source)), {"a": b"1"})
    os.utime(trees.folder / old, (1, 1))
    logs = trees.folder.parent / "logs"
    logs.mkdir()
    for name in (f"web-{old}.log", f"web-{old}.log.1", f"web-{kept}.log", "database.log", "web-v1.log"):
        (logs / name).touch()
    assert trees.prune(1, []) == (old,)
    assert sorted(path.name for path in logs.iterdir()) == sorted([f"web-{kept}.log", "database.log", "web-v1.log"])


def test_many_publishers_at_once_agree(trees, source):
    """One release, whole, and nothing else left in the folder."""
    found, barrier = [], threading.Barrier(8)

    def publish():
        barrier.wait()
        found.append(trees.publish(str(source)))

    threads = [threading.Thread(target=publish) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert trees.published() == (found[0],)
    assert trees.changed(found[0]) == ()
    assert sorted(path.name for path in trees.folder.iterdir()) == sorted([".lock", found[0]])


def test_files_that_are_neither_files_nor_links_are_left_out(trees, source):
    """A pipe in the tree does not hang the copy."""
    os.mkfifo(source / "pipe")
    assert "pipe" not in paths(trees, trees.publish(str(source)))


ENTRIES = st.lists(
    st.builds(ReleaseFile, st.text(min_size=1), st.sampled_from(["file", "link"]), st.booleans(), st.text()),
    max_size=5,
    unique_by=lambda entry: entry.path,
)


@given(ENTRIES, ENTRIES)
def test_two_lists_of_entries_have_one_id_only_if_they_are_the_same(one, other):
    """Whatever the names contain, in whatever order they come."""
    assert tree_id(one) == tree_id(reversed(one))
    assert (tree_id(one) == tree_id(other)) == (sorted(one) == sorted(other))
