"""A run of the whole suite carries out a part of the largest grids; the rest is named, and has a run of its own."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests import levels
from tests.support.command import clean_environment

SUITE = """
import pytest

@pytest.mark.share(3)
@pytest.mark.parametrize("a", range(4))
@pytest.mark.parametrize("b", range(3))
def test_grid(a, b): pass

@pytest.mark.share(3)
@pytest.mark.parametrize("a", range(2))
def test_pair(a): pass

def test_plain(): pass
"""
MODULE = """
import pytest

pytestmark = pytest.mark.share(2)

def test_one(): pass

def test_two(): pass

@pytest.mark.share(3)
@pytest.mark.parametrize("a", range(3))
def test_own(a): pass
"""
ALL = 12 + 2 + 1 + 5


@pytest.fixture
def run(tmp_path):
    """The outcomes by case of a suite of its own with these hooks."""
    (tmp_path / "suite").mkdir()
    (tmp_path / "suite" / "test_suite.py").write_text(SUITE, "utf-8")
    (tmp_path / "suite" / "test_module.py").write_text(MODULE, "utf-8")
    (tmp_path / "conftest.py").write_text(Path(levels.__file__).read_text("utf-8"), "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestpaths = suite\nmarkers =\n  share(n): x\n", "utf-8")

    def one(*words: str, **env: str) -> dict[str, str]:
        argv = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--junitxml", "report.xml", *words]
        ours = {"PYTHONPATH": str(Path(levels.__file__).parents[1]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
        env = clean_environment({**ours, **env})
        done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, env=env, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        cases = ET.parse(tmp_path / "report.xml").iter("testcase")
        return {case.get("name", ""): "".join(skip.get("message", "") for skip in case) for case in cases}

    return one


WORKERS = ("-p", "xdist", "-n", "2")


def test_each_case_has_its_turn_and_the_others_are_named(run):
    """Three commits carry out a grid once; nothing disappears from the report; a small grid is never left out."""
    seen: Counter[str] = Counter()
    for turn in range(3):
        found = run(DODAI_TEST_TURN=str(turn))
        assert len(found) == ALL
        carried_out = [name for name, skipped in found.items() if not skipped]
        assert sum("grid" in name for name in carried_out) == 4
        assert sum("pair" in name for name in carried_out) == 1
        assert sum(name in ("test_one", "test_two") for name in carried_out) == 1
        assert {skipped.partition(":")[0] for skipped in found.values()} == {"", "left to `make test-whole`"}
        seen.update(carried_out)
    assert {name: count for name, count in seen.items() if name.startswith(("test_grid", "test_own", "test_plain"))} == {
        **{f"test_grid[{b}-{a}]": 1 for a in range(4) for b in range(3)},
        **{f"test_own[{a}]": 1 for a in range(3)},
        "test_plain": 3,
    }  # fmt: skip


def test_what_somebody_names_is_carried_out_whole_and_so_is_the_whole_level(run):
    """The folder that somebody works in, and the run at night."""
    for words, env in ((["suite"], {}), (["suite/test_suite.py", *WORKERS], {}), ([], {"DODAI_TEST_LEVEL": "whole"})):
        assert set(run(*words, **env).values()) == {""}, words


def test_workers_leave_out_the_same_as_one_process(run):
    """They are given paths by whoever starts them, and are not asked for these alone."""
    assert run(*WORKERS, DODAI_TEST_TURN="1") == run(DODAI_TEST_TURN="1")


def test_the_order_of_a_repeatable_run_is_the_commits(run):
    """A test that leans on another one is red again where it was red; another commit, and the night, have another order."""
    order = ["suite", "-p", "pytest_randomly"]
    repeatable = {"DODAI_TEST_REPEATABLE": "1"}
    first, other = ([list(run(*order, DODAI_TEST_TURN=turn, **repeatable)) for _ in range(2)] for turn in ("1", "2"))
    assert first[0] == first[1] != other[0] == other[1]
    nights = [list(run(*order, DODAI_TEST_TURN="1", DODAI_TEST_LEVEL="whole", **repeatable)) for _ in range(2)]
    assert nights[0] != nights[1]


def test_points_of_a_loop_are_all_taken_by_some_commit(monkeypatch):
    """And by one run at the level `whole`; there is always one."""
    monkeypatch.setenv("DODAI_TEST_LEVEL", "default")
    points = list(range(10))
    seen = []
    for turn in range(4):
        monkeypatch.setattr(levels, "turn", lambda turn=turn: turn)
        seen += levels.part(points, 4, "a name")
        assert len(levels.part([7], 4)) == 1
    assert (sorted(seen), levels.part([], 4)) == (points, [])
    monkeypatch.setenv("DODAI_TEST_LEVEL", "whole")
    assert levels.part(points, 4) == points
