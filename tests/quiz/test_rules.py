"""What may be published."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend import rules

GOOD = rules.Draft.of(
    lang="en",
    topic="words",
    prompt="Which of these is a river?",
    choices=["The Kamo", "Mount Fuji", "Kyoto", "Biwa"],
    correct=1,
    explanation="It runs.",
)


def test_good_draft_has_no_problems():
    """Nothing is said about a draft that may be published."""
    assert rules.problems_of(GOOD) == ()


@pytest.mark.parametrize(
    ("change", "field", "what"),
    [
        ({"lang": "fr"}, "lang", "unknown"),
        ({"topic": ""}, "topic", "unknown"),
        ({"prompt": ""}, "prompt", "missing"),
        ({"prompt": "x" * 7}, "prompt", "short"),
        ({"prompt": "x" * 201}, "prompt", "long"),
        ({"choices": ("a", "b", "c")}, "choices", "four"),
        ({"choices": ("a", "", "c", "d")}, "choice2", "missing"),
        ({"choices": ("a", "b", "A", "d")}, "choice3", "same"),
        ({"choices": ("a", "b", "c", "d" * 121)}, "choice4", "long"),
        ({"correct": 0}, "correct", "missing"),
        ({"correct": 5}, "correct", "missing"),
        ({"explanation": "x" * 601}, "explanation", "long"),
    ],
)
def test_each_rule_names_the_field_and_what_is_wrong(change, field, what):
    """One broken rule is one problem, at its field."""
    assert rules.problems_of(replace(GOOD, **change)) == (rules.Problem(field, what),)


@given(st.text(max_size=260), st.lists(st.text(max_size=130), max_size=6), st.integers(-1, 6))
def test_problems_are_found_for_anything_that_is_typed(prompt, choices, correct):
    """Judging never fails, and a draft without problems has four different choices of which one is correct."""
    draft = rules.Draft.of(lang="en", topic="art", prompt=prompt, choices=choices, correct=correct, explanation="")
    if not rules.problems_of(draft):
        assert len({choice.casefold() for choice in draft.choices}) == rules.CHOICES
        assert 1 <= draft.correct <= rules.CHOICES


def test_spaces_around_texts_are_taken_off():
    """Full-width spaces, too: the database refuses them."""
    draft = rules.Draft.of(lang="ja", topic="art", prompt="　問い　", choices=["　あ "], correct=1, explanation="\n")
    assert (draft.prompt, draft.choices, draft.explanation) == ("問い", ("あ",), "")
