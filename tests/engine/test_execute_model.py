"""Whatever fails or is interrupted where, what a plan does to the world is what a twenty-line model says."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.engine.world import FAULTS, PHASES, UNDO_FAULTS, Interrupt, Spec, new_place, run_in_virtual_time


@st.composite
def plans(draw: st.DrawFn) -> list[Spec]:
    """Up to six steps; about one in three has a fault, so that plans get somewhere before they fail."""
    specs: list[Spec] = []
    fault = st.one_of(st.just("none"), st.just("none"), st.sampled_from(FAULTS))
    undo_fault = st.one_of(st.just("none"), st.just("none"), st.sampled_from(UNDO_FAULTS))
    for number in range(draw(st.integers(1, 6))):
        earlier = [spec.id for spec in specs]
        kind = draw(st.sampled_from(("undo", "undo", "undo", "undo", "forward", "passive")))
        specs.append(
            Spec(
                id="abcdef"[number],
                needs=tuple(draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2))) if earlier else (),
                kind=kind,
                no_return=draw(st.integers(0, 9)) == 0 and kind != "passive",
                already=draw(st.integers(0, 3)) == 0 and kind != "passive",
                fault=draw(fault),
                undo_fault=draw(undo_fault),
            )
        )
    return specs


@st.composite
def plans_and_interrupts(draw: st.DrawFn) -> tuple[list[Spec], Interrupt | None]:
    specs = draw(plans())
    if draw(st.booleans()):
        return specs, None
    who = draw(st.sampled_from([spec.id for spec in specs]))
    return specs, Interrupt(who, draw(st.sampled_from(PHASES)), draw(st.integers(1, 2)))


def stopped_in(spec: Spec, interrupt: Interrupt | None) -> tuple[str, bool]:
    """How one step ends when it is not there yet: done, failed, cut; and whether its effect is in the world."""
    cut = interrupt.phase if interrupt and interrupt.id == spec.id and interrupt.count == 2 else ""
    effect = spec.kind != "passive"
    if cut == "observe":
        return "cut", False
    if spec.fault in ("observe_raises", "blocked"):
        return "failed", False
    if cut == "before_effect":
        return "cut", False
    if spec.fault in ("raise_before", "hang_before"):
        return "failed", False
    if cut == "after_effect":
        return "cut", effect
    if spec.fault in ("raise_after", "hang_after", "blind"):
        return "failed", effect
    if cut == "verify":
        return "cut", effect
    return ("failed" if spec.fault in ("verify_false", "verify_raises", "verify_hangs") else "done"), effect


def model(specs: list[Spec], interrupt: Interrupt | None) -> tuple[list[str], str, int]:
    """The effects in order, the state and the exit code that a plan must come to."""
    effects: list[str] = []
    ours: list[Spec] = []
    cause = ""
    signalled = False
    for spec in specs:
        if signalled:
            cause = "interrupted"
            break
        mine = bool(interrupt and interrupt.id == spec.id)
        if spec.already:
            if mine and interrupt.phase == "observe" and interrupt.count == 2:
                cause = "interrupted"
                break
            if spec.fault in ("observe_raises", "blind"):
                cause = "failed"
                break
            signalled = mine and interrupt.phase == "observe"
            continue
        ended, effect = stopped_in(spec, interrupt)
        if effect:
            effects.append(f"+{spec.id}")
        if effect:
            ours.append(spec)
        if ended != "done":
            gate = spec.fault == "blocked" and not ours
            cause = "interrupted" if ended == "cut" else "refused" if gate else "failed"
            break
        signalled = mine
    if not cause:
        return effects, "already" if all(s.already for s in specs) else "ok", 0
    return undo_model(specs, ours, effects, cause)


def undo_model(specs: list[Spec], ours: list[Spec], effects: list[str], cause: str) -> tuple[list[str], str, int]:
    needs = {spec.id: set(spec.needs) for spec in specs}
    for spec in specs:  # needs point backwards only, so one pass closes them
        needs[spec.id] |= set().union(*(needs[need] for need in spec.needs))
    passed = next((specs.index(s) for s in ours if s.no_return), len(specs))
    held: set[str] = set()
    border = undo_failed = kept = False
    for spec in reversed(ours):
        border = border or spec.kind == "forward" or specs.index(spec) >= passed
        if border or spec.id in held:
            kept = True
        elif spec.undo_fault in ("raise_before", "hang_before", "no_effect"):
            undo_failed = True
            held |= needs[spec.id]
        else:
            effects.append(f"-{spec.id}")
    if not kept and not undo_failed:
        return (
            effects,
            cause if cause in ("interrupted", "refused") else "restored",
            {"interrupted": 130, "refused": 1}.get(cause, 3),
        )
    if cause == "interrupted" and not undo_failed:
        return effects, "interrupted", 130
    return effects, "needs_person", 4


def check(specs: list[Spec], interrupt: Interrupt | None) -> None:
    with new_place(specs) as place:
        before = len(place.world.effects())
        outcome = run_in_virtual_time(lambda: place.execute(specs, interrupt))
        effects, state, exit_code = model(specs, interrupt)
        assert place.world.effects()[before:] == effects
        assert (outcome.state, outcome.exit_code) == (state, exit_code)
        assert place.world.duplicates() == []
        assert set(outcome.ids("undone")) == {e[1:] for e in effects if e[0] == "-"}


@pytest.mark.parametrize("undo_fault", UNDO_FAULTS)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_with_every_undo_fault_does_what_the_model_says(fault, undo_fault):
    """A failing step between two good ones, its own undo failing or not."""
    check([Spec("a"), Spec("b", ("a",), fault=fault, undo_fault=undo_fault), Spec("c", fault="raise_before")], None)


@pytest.mark.parametrize("fault", ["raise_before", "raise_after", "verify_false"])
@pytest.mark.parametrize("border", range(4))
@pytest.mark.parametrize("field", ["no_return", "forward"])
def test_every_border_does_what_the_model_says(field, border, fault):
    """A point of no return or a fix-forward step at each place of a plan whose last step fails."""
    specs = [Spec(name, fault=fault if name == "d" else "none") for name in "abcd"]
    mark = {"no_return": True} if field == "no_return" else {"kind": "forward"}
    specs[border] = replace(specs[border], **mark)
    check(specs, None)


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("kind", ["undo", "forward", "passive"])
def test_every_interrupt_does_what_the_model_says(phase, count, kind):
    """One or two signals in each phase of a step between two good ones."""
    check([Spec("a"), Spec("b", kind=kind), Spec("c")], Interrupt("b", phase, count))


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans_and_interrupts())
def test_a_plan_does_and_undoes_what_the_model_says(case):
    """Effects and their order, state and exit code equal the model's; nothing is applied or undone twice."""
    check(*case)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plans_and_interrupts())
def test_what_a_failure_left_open_is_finished_by_a_resume_once_healed(case):
    """Exit 4 is never a dead end: when the cause is fixed, resume brings every step about, nothing twice."""
    specs, interrupt = case
    healed = [Spec(s.id, s.needs, s.kind, s.no_return, s.already) for s in specs]
    with new_place(specs) as place:
        outcome = run_in_virtual_time(lambda: place.execute(specs, interrupt))
        if outcome.closed:
            return
        again = run_in_virtual_time(lambda: place.resume(healed))
        assert (again.state, again.exit_code) == ("ok", 0)
        assert place.world.present() == {s.id for s in specs if s.kind != "passive"}
        assert place.world.duplicates() == []
