"""A running plan as lines on stderr, and its end as an exit code."""

from __future__ import annotations

import sys

from dodai.cli.output import Output
from dodai.engine.outcome import Outcome, StepRecord
from dodai.engine.plan import Step

_MARKS = {
    "done": ("done", "green"),
    "already": ("already", "dim"),
    "failed": ("FAILED", "red"),
    "undone": ("undone", "yellow"),
    "undo_failed": ("UNDO FAILED", "red"),
    "remains": ("remains", "red"),
    "not_run": ("not run", "dim"),
}


class StepLines:
    """One line per step with its elapsed time; notes of a step stand below it, indented."""

    def __init__(self, output: Output, indent: str = "") -> None:
        self._output = output
        self._indent = indent
        self._number = ""

    def step_started(self, step: Step, number: int, total: int, *, undoing: bool) -> None:
        del step
        self._number = "undo" if undoing else f"{number}/{total}"

    def noted(self, step: Step, text: str) -> None:
        self._output.say(f"{self._indent}        {step.id}: {text}")

    def step_finished(self, step: Step, record: StepRecord) -> None:
        word, colour = _MARKS[record.result]
        title = step.undo_title if record.result == "undone" and step.undo_title else step.title
        mark = self._output.paint(f"{word:8}", colour, sys.stderr)
        self._output.say(f"{self._indent}{self._number:>6}  {mark} {step.id:18} {title.en}  {record.seconds:.2f} s")


def finish(output: Output, outcome: Outcome) -> int:
    """Say how the plan ended; its exit code."""
    if output.as_json:
        document = outcome.as_json()
        output.data(document.pop("schema"), document)
        return outcome.exit_code
    error = outcome.error()
    if error is not None:
        output.error(error)
    else:
        output.say(outcome.summary())
    return outcome.exit_code
