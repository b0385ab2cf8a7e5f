"""Deadlines, retries, signals, lost leases, closed terminals, and what the report says then."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.engine.world import (
    Place,
    Spec,
    Telling,
    forever,
    good_step,
    make_plan,
    new_place,
    run_in_virtual_time,
    run_steps,
)

from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine import codes
from dodai.engine.execute import execute
from dodai.engine.lease import FileLease
from dodai.engine.outcome import SilentSink
from dodai.engine.plan import Observed, Plan, Retry, Step, StepContext


@pytest.fixture
def place():
    with new_place([]) as place:
        yield place


def test_step_past_its_deadline_is_undone_and_reported_with_dod370(place):
    """A step that hangs after its effect: the deadline ends it, a look finds the effect, undo removes it."""
    outcome = run_in_virtual_time(lambda: place.execute([Spec("a"), Spec("b", fault="hang_after")]))
    assert (outcome.state, outcome.exit_code) == ("restored", 3)
    assert outcome.error().code is codes.STEP_TIMED_OUT
    assert "step `b` did not end within 5 s" in outcome.error().message
    assert place.world.effects() == ["+a", "+b", "-b", "-a"]


def test_step_that_swallows_its_cancellation_gets_no_successor(place):
    """After the deadline verify is not started, whatever apply made of being cancelled."""

    async def stubborn(context: StepContext) -> None:
        place.world.write("+a")
        try:
            await forever()
        except asyncio.CancelledError:
            return

    async def verify(context: StepContext) -> Observed:
        raise AssertionError("verify must not run")

    outcome = run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=stubborn, verify=verify)))
    assert outcome.error().code is codes.STEP_TIMED_OUT
    assert place.world.effects() == ["+a", "-a"]


def test_context_tells_the_time_that_is_left(place):
    """Seconds of the step's deadline; never below zero."""
    seen = []

    async def apply(context: StepContext) -> None:
        seen.append(context.remaining_s())
        await asyncio.sleep(2)
        seen.append(context.remaining_s())
        place.world.write("+a")

    run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply)))
    assert [round(value, 3) for value in seen] == [5.0, 3.0]


def flaky(place: Place, failures: int, *, after_effect: bool = False, fault: str = "provider", reply=None, **data):
    """An apply that fails `failures` times before it works."""
    calls = []

    async def apply(context: StepContext) -> None:
        calls.append(asyncio.get_running_loop().time())
        failing = len(calls) <= failures
        if not failing or after_effect:
            place.world.write("+a")
        if failing:
            words = "the provider answered `429`"
            raise DodaiError(codes.STEP_FAILED, words, "wait", fault=fault, data=data, reply=reply)

    return apply, calls


def test_provider_failure_is_retried_within_the_budget(place):
    """Two failures, three attempts: done."""
    apply, calls = flaky(place, 2)
    outcome = run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply, retry=Retry(3))))
    assert outcome.state == "ok"
    assert len(calls) == 3
    assert place.world.effects() == ["+a"]


def test_retry_waits_as_long_as_the_provider_said(place):
    """`retry_after_s` of the failure goes before the step's own wait."""
    apply, calls = flaky(place, 1, retry_after_s=3)
    run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply, retry=Retry(2))))
    assert round(calls[1] - calls[0], 3) == 3.0


def test_retry_never_waits_past_the_deadline(place):
    """A provider that asks for an hour gets a failure now."""
    apply, calls = flaky(place, 1, retry_after_s=3600)
    outcome = run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply, retry=Retry(2))))
    assert (outcome.state, len(calls)) == ("restored", 1)
    assert outcome.error().code is codes.STEP_FAILED
    assert "429" in outcome.error().message


def test_retry_looks_first_and_does_not_repeat_an_effect(place):
    """The reply was lost, the effect was not: the second try sees it and only verifies."""
    apply, calls = flaky(place, 1, after_effect=True)
    outcome = run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply, retry=Retry(3))))
    assert outcome.state == "ok"
    assert outcome.ids("done") == ("a",)
    assert (len(calls), place.world.effects()) == (1, ["+a"])


@pytest.mark.parametrize("reply", ["rejected", "throttled", "unavailable"])
def test_clear_reply_that_it_failed_is_believed(place, reply):
    """Then the step has failed, and what is there all the same is undone."""
    apply, calls = flaky(place, 1, after_effect=True, reply=reply)
    outcome = run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply)))
    assert (outcome.state, len(calls), place.world.effects()) == ("restored", 1, ["+a", "-a"])


def test_ambiguous_reply_is_settled_by_a_look(place):
    """The only try came back without a clear answer, and the effect is there: it is verified, not undone."""
    apply, calls = flaky(place, 1, after_effect=True, reply="ambiguous")
    outcome = run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply)))
    assert (outcome.state, len(calls), place.world.effects()) == ("ok", 1, ["+a"])


def test_ambiguous_reply_without_effect_is_a_failure_and_costs_a_try(place):
    """Nothing is taken for done that a look does not show; with a second try left it is made."""
    apply, calls = flaky(place, 1, reply="ambiguous")
    outcome = run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply)))
    assert (outcome.state, len(calls), place.world.effects()) == ("restored", 1, [])
    apply, calls = flaky(place, 1, reply="ambiguous")
    outcome = run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply, retry=Retry(2))))
    assert (outcome.state, len(calls), place.world.effects()) == ("ok", 2, ["+a"])


@pytest.mark.parametrize(("reply", "tries"), [("rejected", 1), ("throttled", 2), ("unavailable", 2), ("ambiguous", 2)])
def test_rejected_reply_of_a_provider_is_not_retried_and_another_one_is(place, reply, tries):
    """What decides is what became of the request, not whose it was."""
    apply, calls = flaky(place, 1, reply=reply)
    run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply, retry=Retry(3))))
    assert len(calls) == tries


def test_observe_apply_and_verify_share_one_budget(place):
    """Three tries in all, whatever fails in them."""
    failures = iter([0, 1, 2])
    looks = []

    async def verify(context: StepContext) -> Observed:
        looks.append("verify")
        next(failures)
        raise DodaiError(codes.STEP_FAILED, "no answer", "wait", reply="unavailable")

    apply, calls = flaky(place, 1, reply="throttled")
    step = good_step(place, "a", apply=apply, verify=verify, retry=Retry(3))
    outcome = run_in_virtual_time(lambda: run_steps(place, step))
    assert (outcome.state, len(calls), len(looks)) == ("restored", 2, 2)


@pytest.mark.parametrize("fault", ["user", "dodai"])
def test_what_no_retry_can_mend_is_not_retried(place, fault):
    """A refused request stays refused."""
    apply, calls = flaky(place, 1, fault=fault)
    outcome = run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", apply=apply, retry=Retry(3))))
    assert (outcome.state, len(calls)) == ("restored", 1)


def test_undo_is_retried_and_not_repeated(place):
    """An undo whose reply was lost is seen to have worked."""
    calls = []

    async def undo(context: StepContext) -> None:
        calls.append(1)
        place.world.write("-a")
        raise DodaiError(codes.STEP_FAILED, "gateway timeout", "wait", fault="provider")

    failing = good_step(place, "b", apply=make_plan([Spec("b", fault="raise_before")], place.world).steps[0].apply)
    outcome = run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", undo=undo, retry=Retry(3)), failing))
    assert (outcome.state, len(calls)) == ("restored", 1)
    assert place.world.effects() == ["+a", "-a"]


def test_partial_work_that_observe_calls_needed_is_undone(place):
    """A process that was started but never became ready is `needed` and `partial`: undo must remove it."""

    async def observe(context: StepContext) -> Observed:
        return Observed("needed", "pid 7 is not ready", partial=place.world.here("a"))

    async def apply(context: StepContext) -> None:
        place.world.write("+a")
        raise RuntimeError("never became ready")

    outcome = run_in_virtual_time(lambda: run_steps(place, good_step(place, "a", observe=observe, apply=apply)))
    assert outcome.state == "restored"
    assert place.world.effects() == ["+a", "-a"]


async def test_repeating_a_finished_plan_says_already(place):
    """Everything observed done: nothing changes, exit 0."""
    specs = [Spec("a"), Spec("b")]
    await place.execute(specs)
    outcome = await place.execute(specs)
    assert (outcome.state, outcome.exit_code) == ("already", 0)
    assert outcome.summary().startswith("already done")
    assert place.world.effects() == ["+a", "+b"]


async def test_failure_report_says_done_undone_remains_and_next_command(place):
    """What a person reads at 3 a.m."""
    specs = [Spec("a", already=True), Spec("b", kind="forward"), Spec("c"), Spec("d", fault="verify_false")]
    place.setup(specs)
    outcome = await place.execute(specs)
    error = outcome.error()
    assert (outcome.state, outcome.exit_code, outcome.closed) == ("needs_person", 4, False)
    assert error.code is codes.STEP_UNVERIFIED
    assert "step `d` was carried out but is not verified: the wrong version answers" in error.message
    assert error.details == (
        "already: a",
        "undone: c, d",
        "remains: b (cannot be undone)",
        "next: `dodai resume staging`, or `dodai deploy staging` with a fixed release",
    )
    assert "dodai resume staging" in error.fix
    assert outcome.as_json()["steps"][1] | {"seconds": 0} == {
        "id": "b",
        "result": "remains",
        "seconds": 0,
        "detail": "cannot be undone",
    }


async def test_failed_undo_leaves_what_it_rests_on_and_undoes_the_rest(place):
    """`c` cannot be undone, so `b` under it stays; `a` is independent and goes."""
    specs = [Spec("a"), Spec("b"), Spec("c", ("b",), undo_fault="no_effect"), Spec("d", fault="raise_before")]
    outcome = await place.execute(specs)
    assert place.world.present() == {"b", "c"}
    assert outcome.ids("undone") == ("a",)
    assert any(line.startswith("remains: b (c rests on it), c (undo failed") for line in outcome.lines())


async def test_asked_for_undo_that_meets_only_a_border_ends_the_plan(place):
    """After `resume --undo` nothing more can be taken back: exit 4 says what remains, the next deploy is free."""
    specs = [Spec("a", kind="forward"), Spec("b", fault="raise_before")]
    assert (await place.execute(specs)).exit_code == 4
    outcome = await place.resume(specs, undo=True)
    assert (outcome.exit_code, outcome.closed) == (4, True)
    assert outcome.next_command == "dodai deploy staging r1"
    assert (await place.execute([Spec("a"), Spec("c")])).state == "ok"


async def test_new_plan_takes_the_place_of_one_of_which_only_verified_steps_remain(place):
    """After a failed release over a migration that stays, a fixed release is deployed without a resume."""
    await place.execute([Spec("a", kind="forward"), Spec("b", fault="verify_false")])
    outcome = await place.execute([Spec("a", kind="forward"), Spec("b")])
    assert (outcome.state, outcome.ids("already"), outcome.ids("done")) == ("ok", ("a",), ("b",))
    with place.journal() as journal:
        new, old = await journal.history("staging")
        assert (old.closed, old.state, new.closed) == (True, "needs_person", True)
        assert (await journal.events(old.plan_id))[-1].data["superseded_by"] == new.plan_id
        await journal.verify_chain()


async def test_new_plan_waits_while_an_unverified_step_remains(place):
    """A step past the point of no return that was carried out but not verified has to be settled first."""
    await place.execute([Spec("a", kind="forward", fault="verify_false")])
    with pytest.raises(DodaiError) as caught:
        await place.execute([Spec("a", kind="forward")])
    assert caught.value.code is codes.PLAN_UNFINISHED
    assert (await place.resume([Spec("a", kind="forward")])).state == "ok"


async def test_password_of_a_url_reaches_neither_journal_nor_report(place):
    """Libraries put connection strings into errors; what is written down keeps everything but the password."""
    url = "postgresql://app:s3cr3t@db.example:5432/quiz"

    async def apply(context: StepContext) -> None:
        context.note(f"connecting to {url}")
        raise DodaiError(codes.STEP_FAILED, f"cannot reach {url}", f"fix {url}", details=(f"tail: {url}",))

    sink = Telling()
    outcome = await run_steps(place, good_step(place, "a", apply=apply), sink=sink)
    kept = b"".join(path.read_bytes() for path in place.folder.iterdir())
    told = f"{outcome.as_json()} {sink.lines}"
    assert "postgresql://app:***@db.example:5432/quiz" in told
    assert "s3cr3t" not in told
    assert b"app:***@db.example" in kept
    assert b"s3cr3t" not in kept


async def test_way_back_is_written_before_it_is_gone(place):
    """The decision to turn back, then each undo before it happens."""
    outcome = await place.execute([Spec("a"), Spec("b", fault="verify_false")])
    with place.journal() as journal:
        events = await journal.events(outcome.plan_id)
    back = [(event.kind, event.step_id) for event in events[[event.kind for event in events].index("failed") :]]
    assert back == [
        ("failed", "b"),
        ("turning_back", ""),
        ("undoing", "b"),
        ("undone", "b"),
        ("undoing", "a"),
        ("undone", "a"),
        ("closed", ""),
    ]


async def test_resume_does_not_undo_what_a_person_has_undone_meanwhile(place):
    """Nothing journalled is trusted: `a` was done, but a look shows that it is gone."""
    started = asyncio.Event()

    async def apply(context: StepContext) -> None:
        started.set()
        await forever()

    task = asyncio.create_task(run_steps(place, good_step(place, "a"), good_step(place, "b", apply=apply)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    place.world.write("-a")
    outcome = await place.resume([Spec("a"), Spec("b")], undo=True)
    assert (outcome.state, outcome.exit_code) == ("restored", 0)
    assert place.world.effects() == ["+a", "-a"]


async def test_undo_that_leaves_a_part_behind_is_no_undo(place):
    """`needed` with `partial` after undo: exit 4, a person must act."""

    async def observe(context: StepContext) -> Observed:
        gone = place.world.effects()[-1:] == ["-a"]
        return Observed("needed", "a socket is left", partial=gone)

    failing = make_plan([Spec("b", fault="raise_before")], place.world).steps[0]
    outcome = await run_steps(place, good_step(place, "a", observe=observe), failing)
    assert (outcome.state, outcome.exit_code) == ("needs_person", 4)
    assert "a socket is left" in "".join(outcome.lines())


async def test_progress_tells_every_step_and_note_forward_and_back(place):
    """One start and one end per step; a step past the point of no return or already done is told too."""
    sink = Telling()

    async def observe(context: StepContext) -> Observed:
        context.note("looking")
        return Observed("done" if place.world.here("a") else "needed")

    failing = make_plan([Spec("b", fault="raise_before")], place.world).steps[0]
    await run_steps(place, good_step(place, "a", observe=observe), failing, sink=sink)
    assert sink.lines == [
        "a 1/2",
        "a: looking",
        "a done",
        "b 2/2",
        "b failed",
        "undo a 1/2",
        "a: looking",
        "a undone",
    ]
    with place.journal() as journal:
        events = await journal.events((await journal.history("staging"))[0].plan_id)
    assert [event.data["text"] for event in events if event.kind == "note"] == ["looking", "looking"]


async def test_closed_terminal_does_not_stop_a_plan(place):
    """Whatever the sink raises, the plan goes on."""

    class Broken(SilentSink):
        def step_started(self, *_args, **_options) -> None:
            raise BrokenPipeError

        def step_finished(self, *_args) -> None:
            raise BrokenPipeError

    assert (await place.execute([Spec("a")], sink=Broken())).state == "ok"


async def test_lost_lease_stops_before_the_next_change_with_75(place):
    """Neither apply nor undo runs once somebody else may hold the lease."""
    lease = place.lease()
    taken = good_step(place, "a")

    async def apply(context: StepContext) -> None:
        await taken.apply(context)
        (place.folder / "staging.lock").unlink()

    outcome = await run_steps(place, replace(taken, apply=apply), good_step(place, "b"), lease=lease)
    assert (outcome.state, outcome.exit_code, outcome.closed) == ("needs_person", 75, False)
    assert outcome.error().code is codes.LEASE_LOST
    assert place.world.effects() == ["+a"]


async def test_lost_lease_stops_before_the_first_undo_with_75(place):
    """Going back is changing too: what cannot be undone under a lease is left for the resume, and named."""
    failing = good_step(place, "b")

    async def apply(context: StepContext) -> None:
        (place.folder / "staging.lock").unlink()
        raise RuntimeError("refused")

    outcome = await run_steps(place, good_step(place, "a"), replace(failing, apply=apply))
    assert (outcome.state, outcome.exit_code, outcome.closed) == ("needs_person", 75, False)
    assert place.world.effects() == ["+a"]
    assert "remains: a (not undone)" in outcome.lines()
    assert (await place.resume([Spec("a"), Spec("b")])).state == "restored"
    assert place.world.effects() == ["+a", "-a"]


async def test_journal_that_saw_a_newer_token_stops_the_old_holder(place):
    """A paused holder that wakes up cannot even write its next intent."""
    with place.journal() as journal:
        first = good_step(place, "a")

        async def apply(context: StepContext) -> None:
            await first.apply(context)
            await journal.append(context.plan_id, "note", data={}, token=context.fencing_token + 1, at="t")

        plan = Plan(
            make_plan([], place.world).request, Text("x", "x"), (replace(first, apply=apply), good_step(place, "b"))
        )
        outcome = await execute(plan, journal, place.lease())
    assert (outcome.state, outcome.exit_code) == ("needs_person", 75)
    assert place.world.effects() == ["+a"]


async def test_second_operator_is_refused_before_the_first_change(place):
    """DOD350 with 75, and the first plan is not disturbed."""
    seen = []

    async def apply(context: StepContext) -> None:
        with pytest.raises(DodaiError) as caught:
            await place.execute([Spec("z")])
        seen.append(caught.value.exit_code)
        place.world.write("+a")

    outcome = await run_steps(place, good_step(place, "a", apply=apply))
    assert (outcome.state, seen) == ("ok", [75])
    assert place.world.effects() == ["+a"]


async def test_lease_is_given_back_also_after_a_failure(place):
    """The next command does not wait."""
    await place.execute([Spec("a", fault="raise_before")])
    lease = FileLease(place.folder / "staging.lock", "taro")
    await lease.acquire()
    await lease.release()


async def test_declined_manual_step_fails_without_being_applied(place):
    """A person says no: the plan turns back, exit 3."""
    asked = []

    async def confirm(step: Step) -> bool:
        asked.append(step.id)
        return False

    manual = good_step(place, "b", manual=Text("Call the DNS team", "DNS チームに電話"))
    outcome = await run_steps(place, good_step(place, "a"), manual, confirm=confirm)
    assert (outcome.state, asked) == ("restored", ["b"])
    assert outcome.error().code is codes.STEP_DECLINED
    assert "Call the DNS team" in outcome.error().fix
    assert place.world.effects() == ["+a", "-a"]


async def test_cancelled_task_leaves_a_plan_that_resume_finishes(place):
    """Cancelling from outside is a crash with manners: lease given back, journal open."""
    started = asyncio.Event()

    async def apply(context: StepContext) -> None:
        started.set()
        await forever()

    task = asyncio.create_task(run_steps(place, good_step(place, "a"), good_step(place, "b", apply=apply)))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await place.resume([Spec("a"), Spec("b")])).state == "ok"
    assert place.world.effects() == ["+a", "+b"]


def test_what_a_rehearsal_left_is_never_resumed(place):
    """Its stage is gone with it: the next command is the rehearsal, never `dodai resume` of an environment nobody has."""
    outcome = run_in_virtual_time(
        lambda: place.execute([Spec("a", undo_fault="raise_before"), Spec("b", fault="blocked")])
    )
    assert outcome.next_command.startswith("dodai resume ")
    request = replace(outcome.plan.request, arguments={"command": "dodai rehearse"})
    there = replace(outcome, plan=replace(outcome.plan, request=request))
    assert there.next_command == "dodai rehearse"
