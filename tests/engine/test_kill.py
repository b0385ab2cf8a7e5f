"""SIGKILL before and after every journal event, also of the resume itself: the end state is that of a run in peace."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.world import Place, Spec, make_plan, new_place
from tests.levels import part

from dodai.core.errors import DodaiError
from dodai.engine.execute import execute, resume
from dodai.engine.journal import SqliteJournal

QUIET = 10_000
"""A kill point no run reaches."""
CLEAN = [Spec("a"), Spec("b", ("a",), already=True), Spec("c", kind="passive"), Spec("d", ("a",))]
LATE_FAILURE = [Spec("a"), Spec("b", ("a",)), Spec("c", ("b",), fault="verify_false")]
UNCLEAR_FAILURE = [Spec("a", already=True), Spec("b"), Spec("c", fault="raise_after")]
BORDER = [Spec("a"), Spec("b", kind="forward"), Spec("c"), Spec("d", fault="raise_before")]
NO_RETURN = [Spec("a"), Spec("b", no_return=True), Spec("c", fault="verify_raises")]
STORIES = {
    "clean": CLEAN,
    "late failure": LATE_FAILURE,
    "unclear failure": UNCLEAR_FAILURE,
    "border": BORDER,
    "no return": NO_RETURN,
}


ENDS = {
    "clean": ({"a", "b", "d"}, "ok"),
    "late failure": (set(), "restored"),
    "unclear failure": ({"a"}, "restored"),
    "border": ({"a", "b"}, "needs_person"),
    "no return": ({"a", "b", "c"}, "needs_person"),
}


class KillingJournal(SqliteJournal):
    """The real journal, whose process is killed before or after write number `at // 2`."""

    at = QUIET

    def reaches(self) -> None:
        if self.at == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.at -= 1

    async def begin(self, *args: Any, **options: Any) -> None:
        self.reaches()
        await super().begin(*args, **options)
        self.reaches()

    async def append(self, *args: Any, **options: Any) -> Any:
        self.reaches()
        event = await super().append(*args, **options)
        self.reaches()
        return event


@contextmanager
def killing_journal(place: Place, at: int) -> Iterator[KillingJournal]:
    with KillingJournal(place.folder / "staging.sqlite3") as journal:
        journal.at = at
        yield journal


def in_child(work: Callable[[], int]) -> int:
    """The exit code of `work` in a process of its own; -9 when it was killed."""
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            code = work()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def run(place: Place, specs: list[Spec], at: int, *, undo: bool | None) -> int:
    """Run (`undo` None) or resume in a child that is killed at point `at`; its exit code."""

    async def main() -> int:
        with killing_journal(place, at) as journal:
            if undo is None:
                return (await execute(make_plan(specs, place.world), journal, place.lease())).exit_code
            plan = make_plan(specs, place.world)
            return (await resume(journal, place.lease(), "staging", lambda _: plan, undo=undo)).exit_code

    def work() -> int:
        try:
            return asyncio.run(main())
        except DodaiError as error:
            return 100 + int(error.code.id[-2:])

    return in_child(work)


def operate(place: Place, specs: list[Spec], kills: list[int], *, undo: bool = False) -> None:
    """What an operator does: start, and after each kill resume, until something ends without being killed."""
    points = itertools.chain(kills, itertools.repeat(QUIET))
    code = run(place, specs, next(points), undo=None)
    while code == -signal.SIGKILL:
        code = run(place, specs, next(points), undo=undo)
        if code == 157 and not state_of(place):  # nothing was journalled: nothing to resume, so start
            code = run(place, specs, next(points), undo=None)
    assert code in (0, 3, 4, 157), code


def state_of(place: Place) -> str:
    with place.journal() as journal:
        asyncio.run(journal.verify_chain())
        history = asyncio.run(journal.history("staging"))
        return history[0].state or "open" if history else ""


def in_peace(specs: list[Spec], *, undo: bool = False) -> tuple[set[str], str, list[int]]:
    """The end state of a run nobody kills, and its kill points.

    Before every write, and after those that announce an effect: elsewhere nothing happens between two writes, so after
    one and before the next are the same point.
    """
    with new_place(specs) as place:
        operate(place, specs, [], undo=undo)
        with place.journal() as journal:
            entry = asyncio.run(journal.history("staging"))[0]
            kinds = [event.kind for event in asyncio.run(journal.events(entry.plan_id))]
        assert "note" not in kinds  # a note is a write of its own
        points = [2 * n for n in range(len(kinds))]
        points += [2 * n + 1 for n, kind in enumerate(kinds) if kind in ("applying", "undoing", "closed", "halted")]
        return place.world.present(), entry.state, points


def good_ends(name: str, present: set[str], state: str) -> list[tuple[set[str], str]]:
    """The end of a run in peace; where only the lost reply was bad, a verified effect is as good."""
    ends = [(present, state)]
    if name == "unclear failure":
        ends.append(({spec.id for spec in STORIES[name]}, "ok"))
    return ends


@pytest.mark.parametrize("name", STORIES)
def test_a_kill_anywhere_then_resume_ends_like_a_run_in_peace(name):
    """For every kill point: same world, same recorded state, no effect twice, journal whole."""
    specs = STORIES[name]
    present, state, points = in_peace(specs)
    assert (present, state) == ENDS[name]
    for at in points:
        with new_place(specs) as place:
            operate(place, specs, [at])
            assert (place.world.present(), state_of(place)) in good_ends(name, present, state), at
            assert place.world.duplicates() == []


@pytest.mark.parametrize("name", ["clean", "late failure", "border", "no return"])
def test_a_kill_anywhere_then_resume_undo_takes_back_what_can_be_undone(name):
    """For every kill point of a run, `resume --undo` leaves what was there before and what is past the point of no return."""
    specs = STORIES[name]
    _, _, points = in_peace(specs)
    before = {spec.id for spec in specs if spec.already}
    for at in points:
        with new_place(specs) as place:
            assert run(place, specs, at, undo=None) == -signal.SIGKILL
            ended = state_of(place)
            crashed_with = place.world.present()
            code = run(place, specs, QUIET, undo=True)
            present = place.world.present()
            assert place.world.duplicates() == []
            if code == 157:  # nothing begun, or the kill came after the end
                assert present == crashed_with
                assert ended in ("", "ok", "already", "restored")
            elif code in (0, 3):
                assert present == before
                assert state_of(place) == "restored"
            else:
                assert code == 4
                assert present == (crashed_with if name == "no return" else {"a", "b"})


@pytest.mark.parametrize("name", ["clean", "late failure", "border"])
def test_a_resume_that_is_killed_anywhere_is_resumed(name):
    """Killed in the middle, and its resume killed at every point: still the same end."""
    specs = STORIES[name]
    present, state, points = in_peace(specs)
    for at in part(sorted(points), 3, name):
        with new_place(specs) as place:
            operate(place, specs, [len(points), at])
            assert (place.world.present(), state_of(place)) in good_ends(name, present, state), at
            assert place.world.duplicates() == []


def test_six_operators_at_once_change_the_world_once():
    """Whoever comes first runs the plan; the others are told who holds the lock, or that it is already done."""
    specs = [Spec("a"), Spec("b", ("a",)), Spec("c")]
    with new_place(specs) as place:
        gate, opened = os.pipe()
        children = []
        for _ in range(6):
            if (pid := os.fork()) == 0:
                code = 99
                try:
                    os.close(opened)
                    os.read(gate, 1)  # until every child is there
                    code = operator(place, specs)
                finally:
                    os._exit(code)
            children.append(pid)
        os.close(gate)
        os.close(opened)
        codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
        assert set(codes) <= {0, 75}, codes
        assert 0 in codes
        assert place.world.effects() == ["+a", "+b", "+c"]
        assert state_of(place) in ("ok", "already")


def operator(place: Place, specs: list[Spec]) -> int:
    try:
        return asyncio.run(place.execute(specs)).exit_code
    except DodaiError as error:
        print(error)
        return error.exit_code
    except Exception:  # noqa: BLE001 - a child has only its exit code to tell
        traceback.print_exc()
        return 99


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(STORIES)), st.lists(st.integers(0, 40), min_size=2, max_size=5))
def test_any_series_of_kills_ends_like_a_run_in_peace(name, kills):
    """However often and wherever run and resumes are killed, the world ends the same and nothing happens twice."""
    specs = STORIES[name]
    present, state, _ = in_peace(specs)
    with new_place(specs) as place:
        operate(place, specs, kills)
        assert (place.world.present(), state_of(place)) in good_ends(name, present, state)
        assert place.world.duplicates() == []
