"""Every kill point of every story, with in-process ports and with real processes; the tables go to results.md.

.venv/bin/python benchmarks/kill_matrix.py            # all
.venv/bin/python benchmarks/kill_matrix.py ports      # in-process ports only
.venv/bin/python benchmarks/kill_matrix.py real       # real processes only
"""

# The repository has to be on the path before its tests can be imported.
# ruff: noqa: E402
from __future__ import annotations

import os
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from results import record
from tests.end_to_end.controlled_app import REAL_STORIES, ControlledApp, RealMatrix, RealStory
from tests.operations.kill_world import STORIES, Matrix

from dodai.providers.postgres.cluster import throw_away


def ports(dsn: str, root: Path) -> list[tuple[str, ...]]:
    """Each story killed at every telling point, then at every point with its resume killed a third further on."""
    rows = []
    for story in STORIES:
        began, matrix = time.monotonic(), Matrix(dsn, root)
        peace = matrix.in_peace(story)
        points = peace[3]
        for number, at in enumerate(points):
            matrix.judge(story, (at,), peace)
            again = points[(number + len(points) // 3) % len(points)]
            matrix.judge(story, (at, again), peace)
        rows.append(row(f"{story.name}, in-process ports", 2 * len(points), matrix.bad, began))
    return rows


def row(name: str, kills: int, bad: list[str], began: float) -> tuple[str, ...]:
    print(*bad, sep="\n", end="\n" if bad else "")
    twice = sum(": twice" in line for line in bad)
    return name, str(kills), str(len(bad) - twice), str(twice), f"{time.monotonic() - began:.0f} s"


def real(dsn: str, folder: Path) -> list[tuple[str, ...]]:
    """Real processes, killed before and after every record of a command and of what ends it."""
    app = ControlledApp(folder, dsn)
    try:
        matrix = RealMatrix(app)
        return [_real(matrix, story) for story in REAL_STORIES]
    finally:
        app.clear()


def _real(matrix: RealMatrix, story: RealStory) -> tuple[str, ...]:
    began, matrix.kills, matrix.bad = time.monotonic(), 0, []
    for at in matrix.points(story):
        matrix.kill(story, at)
    whole = matrix.app.run("history", "staging")
    if "the audit log is whole" not in whole.stderr:
        matrix.bad.append(f"{story.name}: {whole.stderr}")
    return row(f"{story.name}, real processes", matrix.kills, matrix.bad, began)


HEAD = ("Killed", "Kills", "Other end than in peace", "Effects twice", "Took")
PORTS_NOTES = (
    "SIGKILL before and after every journal write, lock operation and change of the Host; journal and lock in a"
    " PostgreSQL of their own. In peace: the same command without a kill. Each in-process point is killed twice:"
    " once alone, once with its resume killed as well."
)
REAL_NOTES = (
    "SIGKILL of the real command before every record it writes (so right after what the record is about), and after"
    " those behind which something is done; then what is named behind the comma, or `resume`, ends it. Host, services"
    " and edge are real processes; journal and lock are in a PostgreSQL of their own. `resume` and `resume --undo` are"
    " killed themselves, after a deploy that was killed. Effects twice: a release recorded or started again."
)


def main() -> int:
    chosen = sys.argv[1:] or ["ports", "real"]
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    rows: list[tuple[str, ...]] = []
    with throw_away(tcp=True) as cluster, tempfile.TemporaryDirectory(dir=place) as root:
        if "ports" in chosen:
            rows += ports(cluster.create_database("ports"), Path(root))
            record("kill-matrix", "Kill matrix", HEAD, rows, PORTS_NOTES)
        if "real" in chosen:
            with tempfile.TemporaryDirectory() as folder:
                found = real(cluster.create_database("real"), Path(folder))
            record("kill-matrix-real", "Kill matrix of real processes", HEAD, found, REAL_NOTES)
            rows += found
    return 1 if any(line[2] != "0" or line[3] != "0" for line in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
