"""Rehearsals in a row, half of them while something else uses the processors: how many do not end as they should.

Usage: python benchmarks/rehearsals.py [COUNT]
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

from results import record

QUIZ = Path(__file__).parents[1] / "examples" / "quiz"
DEADLINE_S = 300.0


def rehearse() -> tuple[str, float, list[str]]:
    """(outcome, seconds, ids of the drills that failed)"""
    began = time.monotonic()
    answer = subprocess.run(
        [sys.executable, "-m", "dodai", "rehearse", "--json", "--quiet"],
        cwd=QUIZ,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    seconds = time.monotonic() - began
    document = json.loads(answer.stdout)
    failed = [drill["id"] for drill in document.get("drills", ()) if drill["outcome"] != "ok"]
    return document.get("outcome", document.get("error", {}).get("code", "?")), seconds, failed


def busy() -> subprocess.Popen[bytes]:
    """One process that computes until it is ended, at most for one deadline."""
    code = f"import time\nend = time.monotonic() + {DEADLINE_S}\nwhile time.monotonic() < end: sum(range(1000))"
    return subprocess.Popen([sys.executable, "-c", code])


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    rows = []
    for name, load in (("alone", 0), (f"beside {os.cpu_count()} busy processes", os.cpu_count() or 1)):
        results = []
        for number in range(count // 2):
            others = [busy() for _ in range(load)]
            try:
                results.append(rehearse())
            finally:
                for other in others:
                    other.kill()
                    other.wait()
            print(f"{name} {number + 1}: {results[-1]}", flush=True)
        seconds = [took for _, took, _ in results]
        good = sum(outcome == "ok" for outcome, _, _ in results)
        failed = sorted({drill for _, _, drills in results for drill in drills})
        spread = f"{statistics.median(seconds):.1f} ({min(seconds):.1f} to {max(seconds):.1f}) s"
        rows.append((name, str(len(results)), str(good), ", ".join(failed) or "none", spread))
    head = ("rehearsals", "count", "ok", "drills that failed", "seconds")
    record("rehearsals", "Rehearsals in a row", head, rows)


if __name__ == "__main__":
    main()
