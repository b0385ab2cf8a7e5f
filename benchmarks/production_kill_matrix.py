"""Every kill point of the production plan (Fly, Neon, Cloudflare), killed and resumed on an account that lives on.

nice .venv/bin/python benchmarks/production_kill_matrix.py              # every story
nice .venv/bin/python benchmarks/production_kill_matrix.py rollback 40 [--twice]  # one story, but for its first 40
nice .venv/bin/python benchmarks/production_kill_matrix.py tell         # the table of what ran
"""

# The repository has to be on the path before its tests can be imported.
# ruff: noqa: E402
from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

from results import record
from tests.support.killed_production import STORIES, ProductionMatrix, ProductionStory, production

LINES = Path(__file__).with_suffix(".jsonl")
HEAD = ("Killed", "Points", "Kills", "Other end than in peace", "Rows lost", "Each")
NOTES = (
    "The plan of `dodai deploy production` with its own drivers: two services on two machines each in two regions at"
    " Fly, a branch of Neon as restore point before each migration, rules of a Cloudflare zone; vendors are stand-ins,"
    " machines light ones, leases last a second. SIGKILL around every record of the journal, behind the lock, around"
    " every request that changes something, once alone and (more kills than points) once with the resume killed as"
    " well. The account is never reset: what a killed command leaves is met by the next one. Compared: machines, zone,"
    " branches, ledger, the recorded release, machines and branches made twice; and every row that was acknowledged to"
    " somebody who writes fifty times a second all the while. November 2026, the four stories at once, load 4."
    " Runs before it found a lease of a second that ran out, machines that had ended and were called restored, and"
    " traffic between two releases that was called restored: mended, and the whole run again."
)


def story(matrix: ProductionMatrix, one: ProductionStory, begin: int, *, twice: bool) -> None:
    names = matrix.points(one)
    of_the_journal = [n for n, name in enumerate(names) if len(name.split()) == 2]
    order = [*of_the_journal, *(n for n in range(len(names)) if n not in of_the_journal)]
    for number in order[begin:]:
        again = (number + len(names) // 3) % max(1, len(names) // 2)
        kills = (number, again) if twice else (number,)
        began, known = time.monotonic(), len(matrix.bad)
        matrix.judge(one, kills)
        line = {"story": one.name, "point": number, "of": len(names), "at": names[number], "kills": len(kills)}
        line |= {"bad": matrix.bad[known:], "seconds": round(time.monotonic() - began, 1)}
        with LINES.open("a") as file:
            file.write(json.dumps(line) + "\n")
        print(one.name, number, "of", len(names), names[number], kills, line["seconds"], flush=True)


def tell() -> int:
    """The table of everything that `LINES` has; 1 when something diverged."""
    lines = [json.loads(text) for text in LINES.read_text().splitlines()]
    rows = []
    for one in STORIES:
        mine = [line for line in lines if line["story"] == one.name]
        if mine:
            bad = [text for line in mine for text in line["bad"]]
            lost = sum("are lost" in text for text in bad)
            points = len({line["point"] for line in mine})
            each = sum(line["seconds"] for line in mine) / len(mine)
            kills = sum(line["kills"] for line in mine)
            rows.append(
                (one.name, f"{points} of {mine[-1]['of']}", str(kills), str(len(bad)), str(lost), f"{each:.1f} s")
            )
    record("production-kill-matrix", "Kill matrix of the production plan", HEAD, rows, NOTES)
    return 1 if any(line["bad"] for line in lines) else 0


def main() -> int:
    words = [word for word in sys.argv[1:] if word != "--twice"]
    name, begin = (words[0] if words else ""), int(words[1]) if len(words) > 1 else 0
    if not name:
        LINES.unlink(missing_ok=True)
    if name == "tell":
        return tell()
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=place) as root, production(Path(root)) as matrix:
        for twice in (False, True) if not name else ("--twice" in sys.argv,):
            for one in STORIES:
                if name in ("", one.name):
                    story(matrix, one, begin, twice=twice)
    return tell()


if __name__ == "__main__":
    sys.exit(main())
