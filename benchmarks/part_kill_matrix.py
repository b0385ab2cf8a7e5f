"""Parts of an environment killed at the records of every command; what is said then is compared with what is seen.

.venv/bin/python benchmarks/part_kill_matrix.py            # every record of every story that was not tried yet, hours
.venv/bin/python benchmarks/part_kill_matrix.py 60         # as many of them, chosen at random, as an hour has room for
.venv/bin/python benchmarks/part_kill_matrix.py 60 anew    # all of them again

What was tried is in part_kill_matrix.jsonl, a line for each kill with the commit it was tried at. `WORLDS` (2) are the
environments that are tried side by side: most of a kill is waiting.
"""

# The repository has to be on the path before its tests can be imported.
# ruff: noqa: E402
from __future__ import annotations

import atexit
import json
import multiprocessing
import multiprocessing.util
import os
import random
import statistics
import sys
import tempfile
import time
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from results import record
from tests.end_to_end.part_matrix import PARTS, STORIES, PartApp, PartMatrix
from tests.support.command import git

TRIED = Path(__file__).with_suffix(".jsonl")
Cell = tuple[str, str, str]
HEAD = ("Killed", "Kills", "Met", "Sentences", "False words", "Rows lost", "Longest without service", "Took")
NOTES = (
    "SIGKILL of a part once a record of the command is durable, the whole command under a visitor who stores a row"
    " with each request. Sentences: state, exit code, what was seen, the next command, each compared with what answers"
    " at the edge, what runs and what the database holds; then `status` is followed until it has nothing more to say."
    " Met: the part ran at that moment (`down` has stopped some by then)."
    " Rows lost: acknowledged ones that are not in the database. Longest without service: median and most, without a"
    " person, so not for `down` and not where the launcher died as well. The edge is a part of the Host."
)


@dataclass
class World:
    """An environment of this process's own, for one cell after the other."""

    folder: tempfile.TemporaryDirectory[str]
    matrix: PartMatrix


worlds: list[World] = []


def open_world() -> None:
    """In each worker; it ends with the worker."""
    folder = tempfile.TemporaryDirectory()
    Path(folder.name).chmod(0o711)  # the database's user has to pass
    worlds.append(World(folder, PartMatrix(PartApp(Path(folder.name) / "app"))))
    worlds[0].matrix.app.folder.mkdir()
    atexit.register(close_world)
    multiprocessing.util.Finalize(None, close_world, exitpriority=10)


def close_world() -> None:
    while worlds:
        world = worlds.pop()
        world.matrix.app.clear()
        world.folder.cleanup()


def points(story: str) -> list[str]:
    return worlds[0].matrix.points(story)


def kill(cell: Cell) -> dict[str, Any]:
    """What came of a cell; an environment in which one could not be brought to its beginning is left for another."""
    story, at, part = cell
    began = time.monotonic()
    matrix = worlds[0].matrix
    matrix.bad, matrix.back_s, matrix.lost, matrix.sentences, matrix.killed = [], [], 0, 0, 0
    try:
        matrix.kill(story, at, part)
    except (AssertionError, LookupError, OSError, ValueError, psycopg.Error) as error:
        matrix.bad.append(f"{story}, {part} killed at {at}: {type(error).__name__}: {error}")
        close_world()
        open_world()
    return {
        "story": story, "at": at, "part": part, "sentences": matrix.sentences, "killed": matrix.killed,
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
    met = sum(row["killed"] > 0 for row in rows)
    counts = (len(rows), met, sum(row["sentences"] for row in rows), sum(len(row["bad"]) for row in rows))
    took = f"{statistics.median(row['took_s'] for row in rows):.0f} s each" if rows else "–"
    return part, *map(str, counts), str(sum(row["lost"] for row in rows)), longest, took


def main() -> int:
    minutes = float(sys.argv[1]) if len(sys.argv) > 1 else 0.0
    workers = int(os.environ.get("WORLDS", "2"))
    commit = git(Path(__file__).parents[1], "rev-parse", "--short", "HEAD")
    known = {} if "anew" in sys.argv else tried()
    until = time.monotonic() + minutes * 60 if minutes else float("inf")
    with ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), open_world) as pool:
        found = dict(zip(STORIES, pool.map(points, STORIES), strict=True))
        cells = [(story, at, part) for story, every in found.items() for at in every for part in PARTS]
        left = [cell for cell in cells if cell not in known]
        random.shuffle(left)
        under_way: set[Future[dict[str, Any]]] = set()
        while under_way or (left and time.monotonic() < until):
            while left and len(under_way) < workers and time.monotonic() < until:
                under_way.add(pool.submit(kill, left.pop()))
            done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
            for row in (one.result() | {"commit": commit} for one in done):
                known[cell_of(row)] = row
                print(*cell_of(row), row["took_s"], *row["bad"] or ["true"], sep="  ", flush=True)
            kept = [json.dumps(known[cell], sort_keys=True) + "\n" for cell in cells if cell in known]
            TRIED.write_text("".join(kept), "utf-8")
    rows = [known[cell] for cell in cells if cell in known]
    table = [row_of(part, [row for row in rows if row["part"] == part]) for part in PARTS]
    stories = ", ".join(f"{story} {sum(row['story'] == story for row in rows)}" for story in STORIES)
    load = f" {len(rows)} of {len(cells)} ({stories}); load average {os.getloadavg()[2]:.0f}."
    record("part-kill-matrix", "Kill matrix of the parts of an environment", HEAD, table, NOTES + load)
    return 1 if any(row["bad"] or row["lost"] for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
