"""The modules of the quiz are on the path of its own suite."""

from __future__ import annotations

import sys

from tests.quiz.stack import QUIZ

sys.path.insert(0, str(QUIZ))
