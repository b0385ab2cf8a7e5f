"""`dodai migrate check`: the quiz, and generated histories by default and with `--all`; whole processes, interleaved.

The first has 131 files over 40 tables, 40 of them `NO TRANSACTION`, 29 without a way back: the shape of a real one
that was looked at (design, section 7). The second is longer, in the same shares. The last three
are new against `main`.
`python benchmarks/migrate_check_benchmark.py [ROUNDS]`
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from results import record, spread

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
TIMEOUT_S = 120
PIECEMEAL, ONE_WAY, FRESH = 40 / 131, 29 / 131, 3
SIZES = (131, 500)
QUIZ = Path(__file__).parents[1] / "examples" / "quiz"


@dataclass(frozen=True, slots=True)
class Case:
    """`budget_s` is what design section 7 allows."""

    id: str
    root: Path
    budget_s: float
    words: tuple[str, ...] = ()


def evenly(numbers: list[int], share: int) -> set[int]:
    """`share` of `numbers`, spread over all."""
    return {numbers[at * len(numbers) // share] for at in range(share)}


def changes(number: int) -> tuple[str, str]:
    """A change and its way back: every third file a table with what hangs on it, then a column and an index of it."""
    table = f"t{(number - 1) // 3}"
    if number % 3 == 1:
        up = (
            f"CREATE TABLE {table} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL,"
            f" state text NOT NULL DEFAULT 'new' CHECK (state <> ''), at timestamptz NOT NULL DEFAULT now());\n"
            f"CREATE UNIQUE INDEX {table}_name ON {table} (name);"
        )
        return up, f"DROP TABLE {table};"
    if number % 3 == 2:
        return f"ALTER TABLE {table} ADD COLUMN note text;", f"ALTER TABLE {table} DROP COLUMN note;"
    view = f"CREATE VIEW {table}_new AS SELECT id, name FROM {table} WHERE state = 'new';"
    return view, f"DROP VIEW {table}_new;"


def piecemeal(number: int) -> tuple[str, str]:
    """A statement that no transaction may hold, and its way back."""
    table, index = f"t{(number - 2) // 3}", f"i{number}"
    return (
        f"CREATE INDEX CONCURRENTLY {index} ON {table} (at);",
        f"DROP INDEX CONCURRENTLY {index};",
    )


def write_history(root: Path, files: int) -> None:
    """The generated history of so many files, committed on `main` but for the last ones."""
    folder = root / "db/migrations"
    folder.mkdir(parents=True)
    (root / "dodai.toml").write_text(
        '[project]\nname = "bench"\n[migrations]\nfolder = "db/migrations"\nbase = "main"\n'
    )
    names = []
    numbers = list(range(1, files + 1))
    apart = evenly([n for n in numbers if n % 3 != 1], round(files * PIECEMEAL))
    one_way = evenly(numbers, round(files * ONE_WAY))
    for number in numbers:
        up, down = piecemeal(number) if number in apart else changes(number)
        head = "-- +goose NO TRANSACTION\n" if number in apart else ""
        back = "-- dodai: irreversible measured without\n" if number in one_way else f"-- +goose Down\n{down}\n"
        names.append(f"{number:05d}_change.sql")
        (folder / names[-1]).write_text(f"{head}-- +goose Up\n{up}\n{back}")
    git(root, "init", "-b", "main")
    git(root, "add", ".", *(f":!db/migrations/{name}" for name in names[-FRESH:]))
    git(root, "commit", "-m", "history")
    git(root, "checkout", "-b", "branch")
    git(root, "add", ".")
    git(root, "commit", "-m", "new")


def git(root: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)


def measure(case: Case) -> float:
    """Seconds of one check, which may have findings."""
    command = [sys.executable, "-m", "dodai", "migrate", "check", *case.words]
    began = time.perf_counter()
    # Installed packages have bytecode; a checkout must be allowed to write its own.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        command, cwd=case.root, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    seconds = time.perf_counter() - began
    if done.returncode not in (0, 1) or "unknown" in done.stdout:
        raise SystemExit(f"{case.id}: exit {done.returncode}: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return seconds


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        roots = {size: Path(folder, str(size)) for size in SIZES}
        for size, root in roots.items():
            write_history(root, size)
        cases = (
            Case("examples/quiz", QUIZ, 3.0),
            *(Case(f"history of {size}, new files", root, 5.0) for size, root in roots.items()),
            *(Case(f"history of {size}, `--all`", root, 15.0, ("--all",)) for size, root in roots.items()),
        )
        taken: dict[str, list[float]] = {case.id: [] for case in cases}
        for _ in range(ROUNDS):
            for case in cases:
                taken[case.id].append(measure(case))
    rows = tuple((case.id, spread(taken[case.id], "s", 2), f"{case.budget_s:g} s") for case in cases)
    title = f"`migrate check`, whole processes with a server of their own, median of {ROUNDS} interleaved rounds"
    load = f"Load of the machine at the end: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
    record("migrate-check", title, ("what", "time", "budget"), rows, load)


if __name__ == "__main__":
    main()
