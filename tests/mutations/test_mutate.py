"""A few of the seeded faults, each with the code that finds it; `make mutate` judges all of them."""

from __future__ import annotations

from collections import Counter

import pytest
from tests.mutations.mutate import QUIZ, Fault, copy, faults, judge, said

SAMPLE = {
    "form-of-a-question-without-token": "DOD102",
    "query-of-a-column-that-is-gone": "DOD299",
    "secret-in-fly-toml": "DOD507",
    "generated-page-edited-by-hand": "",
}


@pytest.fixture(scope="module")
def root():
    with copy() as made:
        yield made


def test_clean_tree_has_no_finding(root):
    """What finds a fault says nothing where there is none."""
    clean = said(root, Fault(name="clean", area="", file=""))
    assert (clean.exits, clean.codes) == ((0, 0), ())


@pytest.mark.parametrize("name", SAMPLE)
def test_seeded_fault_is_found(root, name):
    """The commands that everybody runs are red, by the finding that is about it."""
    (fault,) = faults([name])
    judged = judge(root, fault)
    assert (judged.outcome, SAMPLE[name] in (*judged.codes, "")) == ("stopped", True), judged


def test_every_fault_fits_the_example_and_no_area_is_left_out():
    """One that cannot be made any more would be no fault."""
    known = faults()
    assert all(one.changed(QUIZ) != one.old for one in known)
    assert (len({one.name for one in known}), min(Counter(one.area for one in known).values()) >= 8) == (
        len(known),
        True,
    )
    assert {one.area for one in known} == {"app", "manifest", "sql", "infra", "documents"}
