"""Which release may come back, and which one a rollback means."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dodai.operations.release import ReleaseRecord, RollbackTrial, before, evaluate_rollback, find

UNKNOWN, FITS = RollbackTrial("unknown"), RollbackTrial("yes", 3)


def record(release, kind="deploy", **fields):
    return ReleaseRecord(release, "config", plan_id=f"{kind}-1", **fields)


def test_release_whose_migrations_are_not_all_applied_may_not_come_back():
    """The lower bound of the range: what it needs is there."""
    verdict = evaluate_rollback(record("a", required=("1", "2"), schema=("1", "2")), ["1"], FITS)
    assert not verdict.allowed
    assert "`2`" in verdict.reason


def test_release_on_the_schema_it_ran_on_may_come_back_without_any_query():
    """Nothing changed, so nothing can be missing."""
    assert evaluate_rollback(record("a", required=("1",), schema=("1",)), ["1"], UNKNOWN).allowed


def test_newer_schema_on_which_every_query_fits_lets_it_back():
    """The upper bound is what PREPARE says, not a guess."""
    verdict = evaluate_rollback(record("a", required=("1",), schema=("1",)), ["1", "2"], FITS)
    assert verdict.allowed
    assert "3 queries fit" in verdict.reason


def test_newer_schema_without_queries_is_unknown_and_so_refused():
    """Nobody knows whether the release would work: no."""
    verdict = evaluate_rollback(record("a", schema=("1",)), ["1", "2"], UNKNOWN)
    assert not verdict.allowed
    assert "unknown" in verdict.reason


def test_query_that_no_longer_fits_is_named_in_the_refusal():
    """The person sees file and line of what would have failed."""
    trial = RollbackTrial("no", 2, ('q/read.sql:3: column "category" does not exist',))
    verdict = evaluate_rollback(record("a", schema=("1",)), ["1", "2"], trial)
    assert (verdict.allowed, verdict.details) == (False, trial.problems)


@given(st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)), st.sets(st.integers(1, 9)))
def test_nothing_unknown_is_ever_allowed(required, schema, applied):
    """Whatever the sets: without a trial only the very same schema lets a release back."""
    old = record("a", required=tuple(map(str, required)), schema=tuple(map(str, schema)))
    verdict = evaluate_rollback(old, map(str, applied), UNKNOWN)
    assert verdict.allowed == (required <= applied and schema == applied)


def test_rollback_goes_to_what_the_live_release_replaced():
    """The newest other record is not enough once somebody went back."""
    first, second, third = record("a"), record("b"), record("c")
    assert before([third, second, first], "c") == "b"
    assert before([record("b", "rollback"), third, second, first], "b") == "a"
    assert before([record("a", "rollback"), record("b", "rollback"), third, second, first], "a") == ""


def test_rollback_after_a_new_deploy_never_meets_what_was_rolled_back_from():
    """`c` was bad: after `d` the way back is `b`."""
    story = [record("d"), record("b", "rollback"), record("c"), record("b"), record("a")]
    assert before(story, "d") == "b"


def test_release_deployed_again_counts_once_at_its_newest_place():
    """a, b, a: back from `a` means `b`."""
    assert before([record("a"), record("b"), record("a")], "a") == "b"


def test_record_survives_its_journey_through_the_journal():
    """As data and back it is the same record."""
    full = record("a", required=("1",), schema=("1", "2"), secrets={"S": "abc"}, earlier={"z": FITS}, commit="c0ffee")
    assert ReleaseRecord.from_data(full.as_data(), full.plan_id, "") == full
    assert find([full], "a") is full
    assert find([full], "b") is None
