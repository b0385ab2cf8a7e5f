"""The fixtures of this suite."""

from __future__ import annotations

from tests.quiz.fixtures import migrated, postgres, quiz, quiz_database, visit  # noqa: F401
