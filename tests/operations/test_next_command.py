"""The table of states: each one can be found, and the next command is one that exists."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args

import pytest

from dodai.cli.main import COMMANDS
from dodai.operations.next_command import TABLE, Facts, State, command, find, words

WELL = Facts(recorded="r1", serving=("web",))
FOUND = {
    "problem": Facts(problem="the control database does not answer", remedy="bring it back", holder="hana"),
    "locked": replace(WELL, holder="hana", interrupted=True),
    "elsewhere": Facts(recorded="r1", elsewhere="`/srv/one` on `blue`", interrupted=True),
    "interrupted": replace(WELL, interrupted=True),
    "remainder": replace(WELL, interrupted=True, remainder=True),
    "unknown": Facts(recorded="r1", unknown="pid 7 holds the lock and does not answer"),
    "returning": Facts(recorded="r1", returning=True, trouble="`database` does not come back"),
    "stuck": Facts(recorded="r1", returning=True, stuck=True, trouble="`web` does not come back: a file was changed"),
    "stopped": Facts(recorded="r1"),
    "empty": Facts(),
    "partly serving": replace(WELL, silent=("backend",), pending=1),
    "migrations pending": replace(WELL, pending=2, unwell=("web",)),
    "not ready": replace(WELL, unwell=("web",)),
    "serving": WELL,
}


def test_every_state_is_found_from_what_was_seen():
    """What has to go first comes first; the table has no row that nothing leads to."""
    assert set(TABLE) == set(get_args(State)) == set(FOUND)
    assert {state: find(facts) for state, facts in FOUND.items()} == {state: state for state in FOUND}


@pytest.mark.parametrize("state", TABLE)
def test_next_command_exists_and_only_what_serves_exits_with_0(state):
    """A tired person is given something that can be typed, or told whom to wait for."""
    typed = command(state, "staging").split()
    assert not typed or (typed[0] == "dodai" and typed[1] in COMMANDS and typed[2] == "staging")
    said = words(state, "staging", FOUND[state])
    assert said
    assert "{" not in said
    assert (TABLE[state].exit_code == 0) == (state == "serving")


def test_host_that_does_not_answer_is_unknown_and_not_stopped():
    """Nobody starts a second one on top of it because of a word."""
    assert words("unknown", "staging", FOUND["unknown"]) == "pid 7 holds the lock and does not answer"
    assert command("unknown", "staging") == ""


def test_going_back_is_proposed_only_where_there_is_a_release_to_go_back_to():
    """The first release that is not ready has none before it."""
    first = words("not ready", "staging", FOUND["not ready"])
    assert first == "read `dodai logs staging web`, then the log of what it says it waits for"
    second = words("not ready", "staging", replace(FOUND["not ready"], earlier="r0"))
    assert second == f"{first}; `dodai rollback staging` brings r0 back"
