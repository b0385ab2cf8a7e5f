"""The rules of the quiz. Pure: what comes in is judged, nothing is read or written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

LANGS = ("en", "ja")
TOPICS = ("art", "history", "places", "science", "words")
REASONS = ("wrong", "unclear", "unkind")
DECISIONS = ("keep", "withdraw")

CHOICES = 4
PROMPT_LENGTH = (8, 200)
CHOICE_LENGTH = (1, 120)
EXPLANATION_LENGTH = (0, 600)
NAME_LENGTH = (1, 40)


@dataclass(frozen=True, slots=True)
class Draft:
    """A question as its author wrote it, spaces around every text taken off."""

    lang: str
    topic: str
    prompt: str
    choices: tuple[str, ...]
    correct: int
    explanation: str

    @classmethod
    def of(cls, *, lang: str, topic: str, prompt: str, choices: Iterable[str], correct: int, explanation: str) -> Draft:
        return cls(lang, topic, prompt.strip(), tuple(c.strip() for c in choices), correct, explanation.strip())


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field, as one word that the web tier has a sentence for."""

    field: str
    what: str


def problems_of(draft: Draft) -> tuple[Problem, ...]:
    """Everything wrong with a draft at once, in the order of the form; empty when it may be published."""
    found = [
        _one_of("lang", draft.lang, LANGS),
        _one_of("topic", draft.topic, TOPICS),
        _length("prompt", draft.prompt, PROMPT_LENGTH),
        *_choice_problems(draft.choices),
        None if 1 <= draft.correct <= CHOICES else Problem("correct", "missing"),
        _length("explanation", draft.explanation, EXPLANATION_LENGTH),
    ]
    return tuple(problem for problem in found if problem)


def problem_of_name(name: str) -> Problem | None:
    return _length("name", name.strip(), NAME_LENGTH)


def is_choice(position: int) -> bool:
    return 1 <= position <= CHOICES


def _choice_problems(choices: tuple[str, ...]) -> list[Problem | None]:
    if len(choices) != CHOICES:
        return [Problem("choices", "four")]
    found = [_length(f"choice{n}", text, CHOICE_LENGTH) for n, text in enumerate(choices, 1)]
    seen: set[str] = set()
    for n, text in enumerate(choices, 1):
        if text and text.casefold() in seen:
            found.append(Problem(f"choice{n}", "same"))
        seen.add(text.casefold())
    return found


def _length(field: str, text: str, bounds: tuple[int, int]) -> Problem | None:
    shortest, longest = bounds
    if not text and shortest:
        return Problem(field, "missing")
    if len(text) < shortest:
        return Problem(field, "short")
    return Problem(field, "long") if len(text) > longest else None


def _one_of(field: str, word: str, known: tuple[str, ...]) -> Problem | None:
    return None if word in known else Problem(field, "unknown")
