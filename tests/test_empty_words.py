"""A word of the command line that is empty, as a script writes it whose variable has no value."""

from __future__ import annotations

import pytest
from tests.end_to_end.small_app import SmallApp

WORDS = (
    ("check", "operations", "--target", ""),
    ("rehearse", "--record", ""),
    ("rollback", "staging", "--restore", "", "--yes"),
    ("rollback", "staging", "", "--yes"),
    ("secrets", "rotate", "staging", "", "--yes"),
    ("resume", "staging", "--take-over", "", "--yes"),
    ("down", "staging", "--break-glass", "", "--yes"),
    ("migrate", "up", "--env", ""),
)


@pytest.mark.parametrize("words", WORDS)
def test_empty_word_is_refused_and_never_taken_for_one_that_was_left_out(tmp_path, words):
    """Nothing is asked, restored or recorded in the place of what was meant."""
    app = SmallApp(tmp_path).write()
    done = app.run(*words)
    assert (done.returncode, "DOD054" in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / ".dodai").exists()


def test_words_of_a_command_that_is_run_may_be_empty(tmp_path):
    """They are that command's."""
    done = SmallApp(tmp_path).write().run("exec", "staging", "web", "--", "printf", "")
    assert "DOD054" not in done.stderr
