"""Random damage to a journal, 2,000 times with another seed than the suite's: what is said of it.

.venv/bin/python benchmarks/journal_damage.py [SEED]
"""

# The repository has to be on the path before its tests can be imported.
# ruff: noqa: E402
from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from results import record
from tests.engine.test_journal_damage import tried

DAMAGES = 2000
HEAD = ("Damages", "Called damage", "Same answers", "Other answers or reasons", "Seed")
NOTES = (
    "One way a file goes wrong at a time: bits flip, a stretch is zero, old bytes stand in the wrong place, the end is"
    " missing; nine of ten in the journal, one in the head beside it. Answers are everything that `resume`, `history`"
    " and `status` ask of a journal. A changed schema version is told as that (DOD354)."
)


def main() -> int:
    seed = int(sys.argv[1]) if len(sys.argv) > 1 else random.SystemRandom().randrange(10**9)
    with tempfile.TemporaryDirectory() as folder:
        found, wrong = asyncio.run(tried(Path(folder), DAMAGES, random.Random(seed)))
    print(*wrong, sep="\n")
    row = (DAMAGES, found["damage"], found["same"], len(wrong), seed)
    record("journal-damage", "Random damage to a journal", HEAD, [tuple(map(str, row))], NOTES)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
