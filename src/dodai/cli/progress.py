"""A running plan as lines on stderr, and its end as an exit code."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from dodai.cli.command_context import consent
from dodai.cli.output import Output, heard_or_not
from dodai.engine.outcome import Outcome, StepRecord
from dodai.engine.plan import Plan, Step
from dodai.engine.render import as_json, as_text
from dodai.operations.run.notice import Notice, notify

if TYPE_CHECKING:
    from dodai.operations.run.differences import PlanDifference

TICK_S = 1.0
_MARKS = {
    "done": ("done", "green"),
    "already": ("already", "dim"),
    "failed": ("FAILED", "red"),
    "undone": ("undone", "yellow"),
    "undo_failed": ("UNDO FAILED", "red"),
    "remains": ("remains", "red"),
    "not_run": ("not run", "dim"),
}


class Elapsed:
    """What goes on just now and since when, on a terminal: the last line, written anew every second."""

    def __init__(self, output: Output) -> None:
        self._output = output
        self._text = ""
        self._since = 0.0
        self._next: asyncio.TimerHandle | None = None

    def begin(self, text: str) -> None:
        self.end()
        self._text, self._since = text, time.monotonic()
        self._wait()

    def end(self) -> None:
        if self._next is not None:
            self._next.cancel()
            self._next = None
        self._output.live("")

    @contextlib.contextmanager
    def around_lines(self) -> Iterator[Callable[[str], None]]:
        """To tell of a build, from any thread: each line says what begins, or what has ended after how long."""
        loop = asyncio.get_running_loop()

        def tell(text: str) -> None:
            self._output.say(text)
            self.begin("making the release" if text.endswith(" s") else text)

        def note(text: str) -> None:
            loop.call_soon_threadsafe(tell, text)

        try:
            yield note
        finally:
            self.end()

    def _wait(self) -> None:
        with contextlib.suppress(RuntimeError):  # told by something that runs in no loop
            self._next = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _tick(self) -> None:
        self._output.live(f"{self._text}  {time.monotonic() - self._since:.0f} s")
        self._wait()


class StepLines:
    """One line per step with its elapsed time, on a terminal while it goes on; notes stand below, indented."""

    def __init__(self, output: Output, indent: str = "") -> None:
        self._output = output
        self._indent = indent
        self._number = ""
        self._elapsed = Elapsed(output)

    def step_started(self, step: Step, number: int, total: int, *, undoing: bool) -> None:
        self._number = "undo" if undoing else f"{number}/{total}"
        title = step.undo_title if undoing and step.undo_title else step.title
        self._elapsed.begin(f"{self._indent}{self._number:>6}  {'':8} {step.id:18} {title.en}")

    def noted(self, step: Step, text: str) -> None:
        self._output.say(f"{self._indent}        {step.id}: {text}")

    def step_finished(self, step: Step, record: StepRecord) -> None:
        self._elapsed.end()
        word, colour = _MARKS[record.result]
        title = step.undo_title if record.result == "undone" and step.undo_title else step.title
        mark = self._output.paint(f"{word:8}", colour, sys.stderr)
        found = f": {record.detail}" if record.result == "already" and record.detail not in ("", title.en) else ""
        self._output.say(
            f"{self._indent}{self._number:>6}  {mark} {step.id:18} {title.en}{found}  {record.seconds:.2f} s"
        )


class StderrNotifier:
    """Whoever reads this terminal, or the log of the job."""

    def __init__(self, output: Output) -> None:
        self._output = output

    async def tell(self, notice: Notice) -> None:
        self._output.say(f"notice: {notice.line}")


async def tell(output: Output, outcome: Outcome) -> None:
    """Tell whoever is to be told; a notifier that fails is a line, never a failure."""
    for problem in await notify((StderrNotifier(output),), outcome):
        output.say(f"warning: {problem}")


def finish(output: Output, outcome: Outcome) -> int:
    """Say how the plan ended; its exit code."""
    if output.as_json:
        document = outcome.as_json()
        with heard_or_not(sys.stdout):
            output.data(document.pop("schema"), document)
        return outcome.exit_code
    error = outcome.error()
    if error is not None:
        output.error(error)
    else:
        output.say(outcome.summary())
    return outcome.exit_code


def show(output: Output, plan: Plan, differs: Sequence[PlanDifference]) -> None:
    """The dry run: the ordered steps, and what would not be as it is."""
    if output.as_json:
        document = as_json(plan)
        document["differs"] = {one.what: one.change for one in differs}
        output.data(document.pop("schema"), document)
        return
    output.line(as_text(plan))
    output.line("differs from what serves" if differs else "differs from what serves: nothing")
    for one in differs:
        output.line(f"  {one.what:10}  {one.change}")


def confirm(output: Output, plan: Plan, *, yes: bool, doing: str = "carry out") -> None:
    """Show the plan and ask; raises DOD052 (exit 2) when there is nobody to ask, `Abort` when the answer is no."""
    if not yes and sys.stdin.isatty():
        output.say(as_text(plan))
    env = plan.request.env
    consent(f"`{plan.request.command}` changes `{env}`", f"{doing} {len(plan.steps)} steps on {env}?", yes=yes)
