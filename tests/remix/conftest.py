"""The fixtures of this suite."""

from __future__ import annotations

from tests.quiz.fixtures import migrated, postgres, visit  # noqa: F401
