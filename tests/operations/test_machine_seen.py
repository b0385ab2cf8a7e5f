"""What `dodai doctor` says of this machine follows from what was seen of it, and says `ok` of nothing that failed."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from dodai.operations.run.machine_seen import MachineSeen, Needed, ProgramAnswer, StateSeen, look, rows_of

ASKED = Needed(Path("/shop/.dodai"), "/shop/.venv/bin/python", frozenset({"postgres"}), frozenset({"git"}), 17)
WELL = MachineSeen(
    version="3.12.1",
    executable="/usr/bin/python",
    interpreter=ProgramAnswer("3.11.9"),
    absent={"postgres": ()},
    tools={"git": ProgramAnswer("git version 2.47.3")},
    port=41000,
    state=StateSeen(Path("/shop"), is_folder=True, free_mib=9000),
)


def row(name: str, seen: MachineSeen) -> tuple[str, str, str]:
    """Verdict, what was seen and the fix in the row of that name."""
    found = next(row for row in rows_of(ASKED, seen) if row.name == name)
    return found.verdict, found.seen, found.fix


def test_what_answers_is_ok():
    """Each part once, in one order; a server that nobody installed is missing where one is needed."""
    verdicts = [(row.name, row.verdict) for row in rows_of(ASKED, WELL)]
    assert verdicts == [
        ("python", "ok"),
        ("project python", "ok"),
        ("extra postgres", "ok"),
        ("postgresql", "missing"),
        ("git", "ok"),
        ("loopback", "ok"),
        ("disk", "ok"),
    ]


@pytest.mark.parametrize(
    ("answer", "verdict", "seen"),
    [
        (None, "warning", "not on the PATH"),
        (ProgramAnswer(problem="timed out"), "warning", "does not answer: timed out"),
        (ProgramAnswer("fatal: unsafe\nmore", 128), "warning", "ends with 128: fatal: unsafe"),
        (ProgramAnswer("", 1), "warning", "ends with 1: not a word"),
        (ProgramAnswer(""), "warning", "ends with 0: not a word"),
    ],
)
def test_tool_that_fails_is_not_ok(answer, verdict, seen):
    """It is on the PATH and does not work: a broken link, a wrapper without its program."""
    assert row("git", replace(WELL, tools={"git": answer}))[:2] == (verdict, seen)


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (ProgramAnswer(problem="no such file"), "/shop/.venv/bin/python does not start: no such file"),
        (ProgramAnswer("Traceback\nImportError: x", 1), "/shop/.venv/bin/python ends with 1: ImportError: x"),
        (ProgramAnswer("not Python"), "/shop/.venv/bin/python ends with 0: not Python"),
        (ProgramAnswer("3.10.2"), "3.10.2 at /shop/.venv/bin/python"),
    ],
)
def test_interpreter_that_cannot_run_the_project_is_missing(answer, seen):
    """Also one that answers with anything but a version."""
    assert row("project python", replace(WELL, interpreter=answer))[:2] == ("missing", seen)


@pytest.mark.parametrize(
    ("state", "name", "fix"),
    [
        (StateSeen(Path("/shop"), is_folder=False), "state folder", "move `/shop` away"),
        (StateSeen(Path("/shop"), is_folder=True, refused="chmod it"), "state folder", "chmod it"),
        (StateSeen(Path("/shop"), is_folder=True, free_mib=12), "disk", "free at least 500 MiB"),
    ],
)
def test_state_that_cannot_be_kept_has_its_fix(state, name, fix):
    """A file in the way, a folder of another account, a full disk."""
    assert row(name, replace(WELL, state=state))[2] == fix


def test_a_look_at_this_machine_asks_the_programs_themselves(tmp_path):
    """A program that fails is seen to fail, and the folder is the nearest one that is there."""
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    broken.chmod(broken.stat().st_mode | stat.S_IXUSR)
    seen = look(replace(ASKED, state=tmp_path / "a" / ".dodai", python=str(broken)), (), ())
    assert seen.interpreter == ProgramAnswer("out of order", 3)
    assert (seen.state and seen.state.folder, seen.port > 0, seen.port_problem) == (tmp_path, True, "")
