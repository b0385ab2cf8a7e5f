"""The state folder ignores itself, whoever makes it and whatever the repository ignores."""

from __future__ import annotations

import ast
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import dodai
from dodai.engine.journal.sqlite import SqliteJournal
from dodai.engine.private_file import write_private
from dodai.engine.state_folder import make_folder
from dodai.observability.segment.writer import SegmentWriter
from dodai.providers.local.host.log_file import LogFile
from dodai.providers.local.release_tree import ReleaseTrees

SOURCES = Path(dodai.__file__).parent
ELSEWHERE = {
    "engine/state_folder.py": "the helper itself",
    "migrations/run/new_file.py": "the folder of the migrations",
    "rehearsal/rehearsed.py": "the folder of the documents",
    "operations/document/documents.py": "the folder of the documents",
    "operations/run/incident_facts.py": "the folder of the documents",
    "providers/local/release_tree.py": "folders inside a release, below one that was made by the helper",
}


@pytest.fixture
def repository(tmp_path):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    return tmp_path


def write_log(state):
    log = LogFile(state / "logs" / "web.log")
    log.write(b"hello\n")
    log.close()


def write_lines(state):
    writer = SegmentWriter(state / "lines", "web", "1")
    assert writer.write(b"{}\n")
    writer.rotate()


WRITERS = {
    "folder": lambda state: make_folder(state / "env" / "local"),
    "secrets": lambda state: write_private(state / "env" / "local" / "secrets.json", b"{}"),
    "journal": lambda state: SqliteJournal(state / "env" / "local" / "journal.db").close(),
    "log": write_log,
    "release": lambda state: ReleaseTrees(state / "env" / "local" / "releases").publish(str(state.parent)),
    "lines": write_lines,
}


@pytest.mark.parametrize("writer", WRITERS)
def test_whatever_is_written_first_git_sees_nothing_of_it(repository, writer):
    """A repository that ignores nothing; `git add .` takes no secret along."""
    WRITERS[writer](repository / ".dodai")
    status = subprocess.run(
        ["git", "status", "--porcelain", "--untracked-files=all"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    assert status.stdout == ""
    assert (repository / ".dodai" / ".gitignore").read_text().endswith("\n*\n")


def test_what_somebody_wrote_there_stays(repository):
    """The file is made once."""
    (repository / ".dodai").mkdir()
    (repository / ".dodai" / ".gitignore").write_text("*\n!kept.json\n")
    make_folder(repository / ".dodai" / "env")
    assert (repository / ".dodai" / ".gitignore").read_text() == "*\n!kept.json\n"


def test_several_at_once_make_one(repository):
    """Two first commands of a morning."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make_folder, [repository / ".dodai" / str(number) for number in range(64)]))
    assert (repository / ".dodai" / ".gitignore").read_text().count("*") == 1


def test_a_folder_outside_of_a_state_folder_gets_no_file(tmp_path):
    """The stage of a test, a temporary database."""
    make_folder(tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "b"]


def test_every_folder_that_may_lie_in_the_state_folder_is_made_by_the_helper():
    """`mkdir(parents=True)` anywhere else is named with its reason."""
    found = {
        str(path.relative_to(SOURCES))
        for path in SOURCES.rglob("*.py")
        if "parents" in (source := path.read_text("utf-8")) or "makedirs" in source
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (
            (node.func.attr == "mkdir" and any(word.arg == "parents" for word in node.keywords))
            or node.func.attr == "makedirs"
        )
    }
    assert found == set(ELSEWHERE)
