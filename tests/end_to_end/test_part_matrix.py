"""Host, launcher, database and service killed in the middle of a command: no false word, no lost row, served in the end."""

from __future__ import annotations

import json
import os
import random
from subprocess import CompletedProcess

import pytest
from tests.end_to_end.part_matrix import PARTS, STORIES, PartApp, PartMatrix

KILLS = int(os.environ.get("DODAI_TEST_PART_KILLS", "2"))
"""Others in each run; `benchmarks/part_kill_matrix.py` kills at every record."""


@pytest.fixture
def matrix(tmp_path):
    made = PartMatrix(PartApp(tmp_path))
    yield made
    made.app.clear()


def test_part_that_is_killed_in_the_middle_of_a_command_costs_no_row_and_no_word_is_false(matrix):
    """Each sentence of the end against what is seen, then `status` followed until somebody is served again."""
    story = random.choice(["deploy", "rollback", "restart"])
    points = matrix.points(story)
    matrix.kill(story, "done:smoke", "host")  # it comes back with the old, which must not be stopped as the old
    for part in random.sample(PARTS, min(KILLS, len(PARTS))):
        matrix.kill(story, random.choice(points), part)
    assert matrix.bad == []
    assert matrix.sentences >= 2 * KILLS


@pytest.mark.parametrize(
    ("told", "code", "false"),
    [
        ({"kind": "deploy", "state": "ok", "exitCode": 0, "closed": True}, 0, "nobody is served"),
        ({"kind": "deploy", "state": "needs_person", "exitCode": 4, "closed": True, "seen": f"web serves {'a' * 16}"}, 4, "nothing serves"),
        ({"kind": "deploy", "state": "needs_person", "exitCode": 4, "closed": False}, 4, "nothing is next"),
        ({"kind": "deploy", "state": "restored", "exitCode": 3, "closed": True}, 0, "says exit 3"),
    ],
    ids=["served", "seen", "next", "exit"],
)  # fmt: skip
def test_false_word_would_be_seen(matrix, told, code, false):
    """The judge itself is judged, where nothing runs."""
    assert STORIES
    matrix.app.state.mkdir(parents=True)
    matrix._judge("judged", CompletedProcess([], code, json.dumps(told), ""))
    assert any(false in one for one in matrix.bad), matrix.bad
