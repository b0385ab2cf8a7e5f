"""Parts of an environment killed at the records of every command; what is said then is compared with what is seen.

.venv/bin/python benchmarks/part_kill_matrix.py            # every record of every story, hours
.venv/bin/python benchmarks/part_kill_matrix.py 60         # as many, chosen at random, as an hour has room for
"""

# The repository has to be on the path before its tests can be imported.
# ruff: noqa: E402
from __future__ import annotations

import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from results import record
from tests.end_to_end.part_matrix import PARTS, STORIES, PartApp, PartMatrix

HEAD = ("Killed", "Kills", "Sentences", "False words", "Rows lost", "Longest without service", "Took")
NOTES = (
    "SIGKILL of a part once a record of the command is durable, the whole command under a visitor who stores a row"
    " with each request. Sentences: state, exit code, what was seen, the next command, each compared with what answers"
    " at the edge, what runs and what the database holds; then `status` is followed until it has nothing more to say."
    " Rows lost: acknowledged ones that are not in the database. Longest without service: median and most, without a"
    " person, so not for `down` and not where the launcher died as well. The edge is a part of the Host."
)


@dataclass
class Tally:
    """What came of the kills of one part."""

    kills: int = 0
    sentences: int = 0
    lost: int = 0
    took_s: float = 0.0
    bad: list[str] = field(default_factory=list)
    back_s: list[float] = field(default_factory=list)

    def row(self, part: str) -> tuple[str, ...]:
        back = f"{statistics.median(self.back_s):.1f} s, at most {max(self.back_s):.1f} s" if self.back_s else "–"
        counts = (self.kills, self.sentences, len(self.bad), self.lost)
        return part, *map(str, counts), back, f"{self.took_s:.0f} s"


def kill(matrix: PartMatrix, cells: Iterable[tuple[str, str, str]], until: float) -> dict[str, Tally]:
    """Every cell until time is over, each told as it ends."""
    found = {part: Tally() for part in PARTS}
    for story, at, part in cells:
        if time.monotonic() > until:
            break
        tally, began = found[part], time.monotonic()
        matrix.bad, matrix.back_s, matrix.lost, matrix.sentences = [], [], 0, 0
        matrix.kill(story, at, part)
        tally.kills += 1
        tally.sentences += matrix.sentences
        tally.lost += matrix.lost
        tally.took_s += time.monotonic() - began
        tally.bad += matrix.bad
        tally.back_s += matrix.back_s
        print(story, part, at, *matrix.bad or ["true"], sep="  ", flush=True)
    return found


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    with tempfile.TemporaryDirectory() as folder:
        app = PartApp(Path(folder))
        matrix = PartMatrix(app)
        try:
            points = {story: matrix.points(story) for story in STORIES}
            cells = [(story, at, part) for story, every in points.items() for at in every for part in PARTS]
            if minutes:
                random.shuffle(cells)
            until = time.monotonic() + minutes * 60 if minutes else float("inf")
            found = kill(matrix, cells, until)
        finally:
            app.clear()
    load = f" {sum(one.kills for one in found.values())} of {len(cells)}; load average {os.getloadavg()[2]:.0f}."
    rows = [tally.row(part) for part, tally in found.items()]
    record("part-kill-matrix", "Kill matrix of the parts of an environment", HEAD, rows, NOTES + load)
    return 1 if any(tally.bad or tally.lost for tally in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
