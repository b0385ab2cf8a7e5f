"""What CSRF protection adds to a request in node: `@dodai/remix` beside `remix-utils`, each minus the bare action.

The packages of `benchmarks/node` are installed by its lock file; nothing is measured while that fails.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from results import record, spread

from dodai.operations.programs import find_programs

FOLDER = Path(__file__).parent / "node"
PACKAGE = Path(__file__).parents[1] / "packages" / "remix"
PEERS = ("dodai", "remix-utils")
COLD_RUNS = 9


def main() -> None:
    programs = find_programs(sys.executable)
    environ = programs.environment("{npm}", dict(os.environ))

    def run(folder: Path, *argv: str, more: dict[str, str] | None = None) -> str:
        told = {**environ, **(more or {})}
        return subprocess.run(argv, cwd=folder, env=told, check=True, capture_output=True, text=True).stdout

    run(PACKAGE, *programs.npm, "ci")
    run(PACKAGE, *programs.npm, "run", "build")
    run(FOLDER, *programs.npm, "ci", "--legacy-peer-deps")
    told = {"DODAI_PACKAGE": (PACKAGE / "dist" / "csrf.server.js").as_uri()}
    rows = []
    for name, measured in json.loads(run(FOLDER, programs.node, "csrf.mjs", more=told)).items():
        bare = measured.pop("none")
        added = {
            who: [one - other for one, other in zip(rounds, bare, strict=True)] for who, rounds in measured.items()
        }
        rows.append(_row(name, added, "µs"))
    cold: dict[str, dict[str, list[float]]] = {"load": {who: [] for who in PEERS}, "first": {who: [] for who in PEERS}}
    for _ in range(COLD_RUNS):
        for who in PEERS:
            for kind, spent in json.loads(run(FOLDER, programs.node, "csrf.mjs", who, more=told)).items():
                cold[kind][who].append(spent / 1000)
    rows.append(_row("cold: load the package", cold["load"], "ms"))
    rows.append(_row("cold: first page and first post of a process", cold["first"], "ms"))
    version = run(FOLDER, programs.node, "--version").strip()
    record(
        "node-csrf",
        f"CSRF in node {version}: what is added to a request, beside remix-utils 10.0.0",
        ("request", "dodai: root middleware", "remix-utils: `CSRF`", "dodai / remix-utils"),
        rows,
        "CPU time of the process, 25 interleaved rounds; the cold rows are 9 processes each. remix-utils compares a "
        "signed cookie with the field; it judges no provenance, reads a body of any size whole, renders the same token "
        "every time, and loads React Router with it. dodai masks each token, and searches at most 256 KiB for it.",
    )


def _row(name: str, measured: dict[str, list[float]], unit: str) -> tuple[str, ...]:
    ratio = statistics.median(measured["dodai"]) / statistics.median(measured["remix-utils"])
    return (name, *(spread(measured[who], unit) for who in PEERS), f"{ratio:.2f}")


if __name__ == "__main__":
    main()
