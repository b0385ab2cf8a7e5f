"""Copies of the quiz that a test may change."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.quiz.stack import QUIZ

NOT_SOURCE = (".dodai", "__pycache__", ".*_cache", "node_modules", ".cache", ".react-router")
"""What was made from the source: with the packages of both node tiers it would be 300 MB, copied for each test."""
BUILT = ("build", "public")
"""What the node tiers serve, where they were built."""


def copy_quiz(target: Path, *, built: bool = False) -> Path:
    """The source of the quiz in the new folder `target`; with `built` also what its node tiers were built to."""
    skipped = NOT_SOURCE if built else (*NOT_SOURCE, *BUILT)
    return Path(shutil.copytree(QUIZ, target, ignore=shutil.ignore_patterns(*skipped)))
