"""SIGKILL before and after every intent, apply and verify of deploy, rollback and resume: the same end, nothing twice."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from tests.operations.kill_world import STORIES, Killed, Matrix
from tests.postgres_fixture import database, postgres  # noqa: F401

STEP = {"first deploy": 6, "deploy": 1, "bad release": 1, "rollback": 8, "resume --undo": 4}
"""Every telling point of a deploy and of a failing one; of the others some. `benchmarks/kill_matrix.py` runs them all."""


@pytest.fixture
def root():
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as folder:
        yield Path(folder)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_kill_anywhere_then_resume_ends_like_a_run_in_peace(story, root, database):  # noqa: F811
    """Same release serves, same records, same ending, no effect twice, both journals whole and equal."""
    matrix = Matrix(database, root)
    peace = matrix.in_peace(story)
    for at in peace[3][:: STEP[story.name]]:
        matrix.judge(story, (at,), peace)
    assert matrix.bad == []


@pytest.mark.parametrize("story", [STORIES[1], STORIES[3]], ids=lambda story: story.name)
def test_resume_that_is_killed_itself_is_resumed(story, root, database):  # noqa: F811
    """Killed in the middle, its resume killed in the middle, and that one's too."""
    matrix = Matrix(database, root)
    peace = matrix.in_peace(story)
    points = peace[3]
    for number, at in enumerate(points[3::9]):
        matrix.judge(story, (at, points[(5 * number + 7) % len(points)], points[number % 5 + 4]), peace)
    assert matrix.bad == []


def test_lost_record_and_double_effect_would_be_seen(root, database):  # noqa: F811
    """The judge itself is judged: an effect written twice, a copy cut short."""
    place = Killed(root, database, "judged")
    assert place.operate("deploy", "r1") == 0
    assert place.duplicates() == []
    with (root / "host.log").open("a") as log:
        log.write("start web r1 1 0\n")
    assert place.duplicates() == ["start web r1 1 0"]
