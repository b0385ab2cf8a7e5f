"""Rehearsals in a row, half of them while something else uses the processors: how many do not end as they should.

Usage: python benchmarks/rehearsals.py [COUNT] [alone] [beside]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from results import record, spread

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
    chosen = sys.argv[2:] or ["alone", "beside"]
    for name in chosen:
        load = 0 if name == "alone" else os.cpu_count() or 1
        results, averages = [], []
        for number in range(count // 2):
            others = [busy() for _ in range(load)]
            try:
                results.append(rehearse())
            finally:
                for other in others:
                    other.kill()
                    other.wait()
            averages.append(os.getloadavg()[0])
            print(f"{name} {number + 1}: {results[-1]}", flush=True)
        report(name, load, results, averages)


def report(name: str, load: int, results: list[tuple[str, float, list[str]]], averages: list[float]) -> None:
    good = sum(outcome == "ok" for outcome, _, _ in results)
    failed = sorted({drill for _, _, drills in results for drill in drills})
    row = (
        f"{load} busy processes beside it" if load else "alone",
        f"{good} of {len(results)}",
        ", ".join(failed) or "none",
        spread([seconds for _, seconds, _ in results], "s"),
        spread(averages, ""),
    )
    head = ("rehearsals", "ok", "drills that failed", "seconds", "load average")
    record(f"rehearsals-{name}", f"Rehearsals in a row, {name}", head, [row])


if __name__ == "__main__":
    main()
