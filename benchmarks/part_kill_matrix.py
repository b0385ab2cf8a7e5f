"""Parts of an environment killed at the records of every command; what is said then is compared with what is seen.

.venv/bin/python benchmarks/part_kill_matrix.py            # every record of every story that was not tried yet, hours
.venv/bin/python benchmarks/part_kill_matrix.py 60         # as many of them, chosen at random, as an hour has room for
.venv/bin/python benchmarks/part_kill_matrix.py 60 anew    # all of them again

What was tried is in part_kill_matrix.jsonl, a line for each kill with the commit it was tried at.
"""

# The repository has to be on the path before its tests can be imported.
# ruff: noqa: E402
from __future__ import annotations

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from results import record
from tests.end_to_end.part_matrix import PARTS, STORIES, PartApp, PartMatrix
from tests.support.command import git

TRIED = Path(__file__).with_suffix(".jsonl")
Cell = tuple[str, str, str]
HEAD = ("Killed", "Kills", "Sentences", "False words", "Rows lost", "Longest without service", "Took")
NOTES = (
    "SIGKILL of a part once a record of the command is durable, the whole command under a visitor who stores a row"
    " with each request. Sentences: state, exit code, what was seen, the next command, each compared with what answers"
    " at the edge, what runs and what the database holds; then `status` is followed until it has nothing more to say."
    " Rows lost: acknowledged ones that are not in the database. Longest without service: median and most, without a"
    " person, so not for `down` and not where the launcher died as well. The edge is a part of the Host."
)


def kill(matrix: PartMatrix, cells: Iterable[Cell], until: float, commit: str) -> Iterator[dict[str, Any]]:
    """What came of each cell until time is over, each told as it ends."""
    for story, at, part in cells:
        if time.monotonic() > until:
            break
        began = time.monotonic()
        matrix.bad, matrix.back_s, matrix.lost, matrix.sentences = [], [], 0, 0
        matrix.kill(story, at, part)
        print(story, part, at, *matrix.bad or ["true"], sep="  ", flush=True)
        yield {
            "story": story, "at": at, "part": part, "commit": commit, "sentences": matrix.sentences,
            "bad": matrix.bad, "lost": matrix.lost, "back_s": [round(one, 1) for one in matrix.back_s],
            "took_s": round(time.monotonic() - began, 1),
        }  # fmt: skip


def cell_of(row: dict[str, Any]) -> Cell:
    return row["story"], row["at"], row["part"]


def tried() -> dict[Cell, dict[str, Any]]:
    lines = TRIED.read_text("utf-8").splitlines() if TRIED.exists() else []
    return {cell_of(row): row for row in map(json.loads, lines)}


def row_of(part: str, rows: list[dict[str, Any]]) -> tuple[str, ...]:
    back = [one for row in rows for one in row["back_s"]]
    longest = f"{statistics.median(back):.1f} s, at most {max(back):.1f} s" if back else "–"
    counts = (len(rows), sum(row["sentences"] for row in rows), sum(len(row["bad"]) for row in rows))
    took = f"{statistics.median(row['took_s'] for row in rows):.0f} s each" if rows else "–"
    return part, *map(str, counts), str(sum(row["lost"] for row in rows)), longest, took


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    commit = git(Path(__file__).parents[1], "rev-parse", "--short", "HEAD")
    known = {} if "anew" in sys.argv else tried()
    with tempfile.TemporaryDirectory() as folder:
        app = PartApp(Path(folder))
        matrix = PartMatrix(app)
        try:
            points = {story: matrix.points(story) for story in STORIES}
            cells = [(story, at, part) for story, every in points.items() for at in every for part in PARTS]
            left = [cell for cell in cells if cell not in known]
            if minutes:
                random.shuffle(left)
            until = time.monotonic() + minutes * 60 if minutes else float("inf")
            for row in kill(matrix, left, until, commit):
                known[cell_of(row)] = row
                kept = [json.dumps(known[cell], sort_keys=True) + "\n" for cell in cells if cell in known]
                TRIED.write_text("".join(kept), "utf-8")
        finally:
            app.clear()
    rows = [known[cell] for cell in cells if cell in known]
    table = [row_of(part, [row for row in rows if row["part"] == part]) for part in PARTS]
    stories = ", ".join(f"{story} {sum(row['story'] == story for row in rows)}" for story in STORIES)
    load = f" {len(rows)} of {len(cells)} ({stories}); load average {os.getloadavg()[2]:.0f}."
    record("part-kill-matrix", "Kill matrix of the parts of an environment", HEAD, table, NOTES + load)
    return 1 if any(row["bad"] or row["lost"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
