"""How long a command takes before it does anything, as a ratio to the bare interpreter of the same environment."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from results import record, spread

ROUNDS = 15


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    argv: tuple[str, ...]
    budget: str = ""


CASES = (
    Case("python -c pass", (sys.executable, "-c", "pass")),
    Case("dodai --version", (str(Path(sys.executable).with_name("dodai")), "--version"), "6"),
    Case("dodai --help", (str(Path(sys.executable).with_name("dodai")), "--help")),
    Case("import click", (sys.executable, "-c", "import click")),
)


def wall_ms(case: Case) -> float:
    began = time.perf_counter()
    subprocess.run(case.argv, check=True, stdout=subprocess.DEVNULL)
    return (time.perf_counter() - began) * 1000


def main() -> None:
    times: dict[str, list[float]] = {case.id: [] for case in CASES}
    for _ in range(ROUNDS):
        for case in CASES:
            times[case.id].append(wall_ms(case))
    bare = times[CASES[0].id]
    rows = []
    for case in CASES:
        ratios = [own / base for own, base in zip(times[case.id], bare, strict=True)]
        rows.append((f"`{case.id}`", spread(times[case.id], "ms"), spread(ratios, "×"), case.budget))
    record("startup", "Start-up", ("command", "wall", "× bare Python", "budget ×"), rows)


if __name__ == "__main__":
    main()
