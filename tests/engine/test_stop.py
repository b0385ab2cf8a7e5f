"""Signals: what one, two and three of them do to a running plan, and that they are given back."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
from tests.engine.world import (
    Interrupt,
    Spec,
    Telling,
    forever,
    good_step,
    new_place,
    run_in_virtual_time,
    run_steps,
)

from dodai.engine.plan import StepContext
from dodai.engine.stop import Stop, install_signal_stop


@pytest.fixture
def place():
    with new_place([]) as place:
        yield place


def test_third_signal_leaves_at_once_and_resume_goes_on_undoing(place):
    """Somebody who must leave can: the journal knows that the plan was going back."""
    stop = Stop()
    hurried = good_step(place, "b")

    async def undo(context: StepContext) -> None:
        stop.request(signal.SIGINT)
        await forever()

    async def apply(context: StepContext) -> None:
        await hurried.apply(context)
        stop.request(signal.SIGINT)
        stop.request(signal.SIGINT)
        await forever()

    steps = (good_step(place, "a"), replace(hurried, apply=apply, undo=undo))
    outcome = run_in_virtual_time(lambda: run_steps(place, *steps, stop=stop))
    assert (outcome.state, outcome.exit_code, outcome.closed) == ("interrupted", 130, False)
    assert place.world.present() == {"a", "b"}
    assert outcome.next_command == "dodai resume staging"
    again = run_in_virtual_time(lambda: place.resume([Spec("a"), Spec("b")]))
    assert (again.state, again.exit_code) == ("interrupted", 130)
    assert place.world.effects() == ["+a", "+b", "-b", "-a"]


def test_signals_are_answered_while_a_step_goes_on(place):
    """Who presses Ctrl-C reads at once what happens and how to insist."""
    sink, stop = Telling(), Stop()

    async def apply(context: StepContext) -> None:
        stop.request(signal.SIGINT)
        stop.request(signal.SIGINT)
        await forever()

    run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply), sink=sink, stop=stop))
    assert sink.lines[1:3] == [
        "a: asked to stop: this step is finished first; 1 more to cut it short",
        "a: asked to stop: this step is cut short",
    ]


def test_signal_during_the_last_step_comes_too_late(place):
    """Everything is verified: the plan is done and says so."""
    outcome = run_in_virtual_time(lambda: place.execute([Spec("a")], Interrupt("a", "verify", 1)))
    assert (outcome.state, outcome.exit_code) == ("ok", 0)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 143)])
def test_real_signals_stop_a_plan_with_the_exit_codes_of_a_shell(place, signum, code):
    """Two signals to a process in a hanging step: cut, undone, journalled as interrupted."""
    program = """
        import asyncio, sys
        from pathlib import Path
        from dodai.engine.stop import install_signal_stop
        from tests.engine.world import Place, Spec
        async def main():
            stop = install_signal_stop(asyncio.get_running_loop())
            class Telling:
                def step_started(self, step, number, total, *, undoing):
                    print("at", step.id, flush=True)
                def noted(self, step, text): ...
                def step_finished(self, step, record): ...
            place = Place(Path(sys.argv[1]))
            outcome = await place.execute([Spec("a"), Spec("b", fault="hang_after")], stop=stop, sink=Telling())
            stop.uninstall()
            return outcome.exit_code
        sys.exit(asyncio.run(main()))
    """
    argv = [sys.executable, "-c", textwrap.dedent(program), str(place.folder)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        while "at b" not in process.stdout.readline():
            assert process.poll() is None
        for _ in range(2):
            os.kill(process.pid, signum)
            # two equal signals that are both pending count once, so the second waits for the first to be taken
            while pending(process.pid, signum):
                assert process.poll() is None
        process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code
    assert place.world.present() == set()
    assert place.world.duplicates() == []


def pending(pid: int, signum: int) -> bool:
    try:
        with Path(f"/proc/{pid}/status").open() as file:
            masks = [int(line.split()[1], 16) for line in file if line.startswith(("SigPnd", "ShdPnd"))]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(mask >> (signum - 1) & 1 for mask in masks)


async def test_signals_are_given_back():
    """After `uninstall` Ctrl-C means what it meant before."""
    before = signal.getsignal(signal.SIGINT)
    stop = install_signal_stop(asyncio.get_running_loop())
    os.kill(os.getpid(), signal.SIGINT)
    deadline = asyncio.get_running_loop().time() + 10
    while not stop.count and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - the handler sets no event
        await asyncio.sleep(0)
    stop.uninstall()
    assert (stop.count, stop.exit_code) == (1, 130)
    assert signal.getsignal(signal.SIGINT) in (before, signal.default_int_handler)
