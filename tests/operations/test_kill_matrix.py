"""SIGKILL before and after every intent, apply and verify of deploy, rollback and resume: the same end, nothing twice."""

from __future__ import annotations

import pytest
from tests.levels import part
from tests.operations.kill_world import STORIES, Killed, Matrix

STEP = {"first deploy": 12, "deploy": 4, "bad release": 3, "rollback": 16, "resume --undo": 8}
"""One of so many telling points, another set at each commit; `make test-whole` and `benchmarks/kill_matrix.py` run them all."""


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_kill_anywhere_then_resume_ends_like_a_run_in_peace(story, tmp_path, database):
    """Same release serves, same records, same ending, no effect twice, both journals whole and equal."""
    matrix = Matrix(database, tmp_path)
    peace = matrix.in_peace(story)
    for at in part(peace[3], STEP[story.name], story.name):
        matrix.judge(story, (at,), peace)
    assert matrix.bad == []


@pytest.mark.parametrize("story", [STORIES[1], STORIES[3]], ids=lambda story: story.name)
def test_resume_that_is_killed_itself_is_resumed(story, tmp_path, database):
    """Killed in the middle, its resume killed in the middle, and that one's too."""
    matrix = Matrix(database, tmp_path)
    peace = matrix.in_peace(story)
    points = peace[3]
    for number, at in enumerate(part(points, 18, story.name)):
        matrix.judge(story, (at, points[(5 * number + 7) % len(points)], points[number % 5 + 4]), peace)
    assert matrix.bad == []


def test_lost_record_and_double_effect_would_be_seen(tmp_path, database):
    """The judge itself is judged: an effect written twice, a copy cut short."""
    place = Killed(tmp_path, database, "judged")
    assert place.operate("deploy", "r1") == 0
    assert place.duplicates() == []
    with (tmp_path / "host.log").open("a") as log:
        log.write("start web r1 1 0\n")
    assert place.duplicates() == ["start web r1 1 0"]
