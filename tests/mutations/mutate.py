"""What `dodai check` and `dodai docs --check` say of faults seeded into a copy of the example, one at a time.

.venv/bin/python -m tests.mutations.mutate                 # every fault; the table goes to benchmarks/mutations.md
.venv/bin/python -m tests.mutations.mutate NAME NAME       # some, printed
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.command import dodai

HERE = Path(__file__).parent
QUIZ = HERE.parents[1] / "examples" / "quiz"
LEAST = 0.95
RESULTS = HERE.parents[1] / "benchmarks" / "mutations.md"
Outcome = Literal["stopped", "shown", "missed"]
CHECK, DOCUMENTS = ("check",), ("docs", "--check")
COMMANDS = {
    "app": (CHECK, DOCUMENTS),
    "manifest": (("check", "operations"), CHECK, DOCUMENTS),
    "sql": (("check", "migrations"), CHECK, DOCUMENTS),
    "infra": (("check", "operations"), CHECK, DOCUMENTS),
    "documents": (DOCUMENTS, CHECK),
    "": (CHECK, DOCUMENTS),
}
"""What is run until something is said: the part that the area is about first, which is quicker."""
JSON = {"check": ("--output-format", "json"), "docs": ("--json",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One small change to `file`: `old` becomes `new`, without `old` it is made of `new`, `gone` removes it.

    `old` stands there once, or `last` means its last place.
    """

    name: str
    area: str
    file: str
    old: str = ""
    new: str = ""
    gone: bool = False
    last: bool = False

    def changed(self, root: Path) -> str | None:
        """The text that the file gets, None for no file; raises `ValueError` when the change does not fit any more."""
        path = root / self.file
        if not (self.old or self.gone):
            if path.exists():
                raise ValueError(f"{self.name}: {self.file} is there already")
            return self.new
        text = path.read_text("utf-8")
        if self.old and text.count(self.old) != 1 and not (self.last and self.old in text):
            raise ValueError(f"{self.name}: `{self.old}` stands {text.count(self.old)} times in {self.file}")
        return None if self.gone else self.new.join(text.rsplit(self.old, 1))

    def apply(self, root: Path) -> None:
        path, text = root / self.file, self.changed(root)
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            path.unlink()
        else:
            path.write_text(text, "utf-8")


@dataclass(frozen=True, slots=True)
class Judged:
    """What was said: the exit codes of the commands up to the first that is not 0, and the codes of the findings."""

    fault: Fault
    exits: tuple[int, ...]
    codes: tuple[str, ...]

    @property
    def outcome(self) -> Outcome:
        """`stopped`: a job in CI is red. `shown`: a finding that stops nothing. The clean tree has neither."""
        return "stopped" if any(self.exits) else "shown" if self.codes else "missed"

    @property
    def in_words(self) -> str:
        if self.codes:
            return ", ".join(f"`{code}`" for code in self.codes)
        if not any(self.exits):
            return "nothing"
        return f"`dodai {' '.join(COMMANDS[self.fault.area][len(self.exits) - 1])}` ends with {self.exits[-1]}"


def faults(names: Sequence[str] = ()) -> list[Fault]:
    rows = tomllib.loads((HERE / "faults.toml").read_text("utf-8"))["fault"]
    found = [Fault(**row) for row in rows]
    return [one for one in found if not names or one.name in names]


@contextmanager
def copy() -> Iterator[Path]:
    """The example as a repository of its own: `main` is the clean tree, and what is checked out a branch off it."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "examples" / "quiz"
        ignored = shutil.ignore_patterns("node_modules", "__pycache__", ".dodai", "build", "dist")
        shutil.copytree(QUIZ, root, ignore=ignored)
        shutil.copytree(QUIZ.parents[1] / "packages", Path(folder) / "packages", ignore=ignored)
        git(root, "init", "-q", "-b", "main")
        commit(root, "as it is")
        git(root, "checkout", "-q", "-b", "change")
        yield root


def git(root: Path, *words: str) -> None:
    identity = ("-c", "user.name=mutate", "-c", "user.email=mutate@example.com")
    subprocess.run(["git", "-C", str(root), *identity, *words], check=True, capture_output=True)


def commit(root: Path, message: str) -> None:
    git(root, "add", "-A", "-f", ".")
    git(root, "commit", "-q", "--allow-empty", "-m", message)


def judge(root: Path, fault: Fault) -> Judged:
    """The change committed, looked at, and taken back."""
    fault.apply(root)
    commit(root, fault.name)
    try:
        return said(root, fault)
    finally:
        git(root, "reset", "-q", "--hard", "main")
        git(root, "clean", "-q", "-f", "-d", "-x")


def said(root: Path, fault: Fault) -> Judged:
    exits, codes = list[int](), dict[str, None]()
    for words in COMMANDS[fault.area]:
        if any(exits) or codes:
            break  # a person looks at this first
        done = dodai(*words, *JSON[words[0]], cwd=root)
        exits.append(done.returncode)
        codes |= dict.fromkeys(_codes(done.stdout + done.stderr))
    return Judged(fault, tuple(exits), tuple(codes))


def _codes(text: str) -> list[str]:
    try:
        found = json.loads(text)
    except ValueError:
        return []
    rows = found.get("findings", [])
    return [row["code"] for row in rows]


def table(clean: Judged, rows: Sequence[Judged]) -> str:
    """The page of results."""
    counts = Counter(one.outcome for one in rows)
    areas = dict.fromkeys(one.fault.area for one in rows)
    lines = [
        "# Seeded faults",
        "",
        f"`make mutate` seeds {len(rows)} faults, one at a time, into a copy of the example that is a repository of its own,",
        "and runs `dodai check` and `dodai docs --check` as everybody does, until one of them says something.",
        "",
        f"- {counts['stopped']} stop the job: {counts['stopped'] / len(rows):.1%}",
        f"- {counts['shown']} are shown and stop nothing (warnings): {counts['shown'] / len(rows):.1%}",
        f"- {counts['missed']} are not noticed: {counts['missed'] / len(rows):.1%}",
        f"- of the clean tree: {len(clean.codes)} findings, exit {max(clean.exits)}",
        "",
        "| area | faults | stopped | shown | missed |",
        "| --- | --- | --- | --- | --- |",
    ]
    for area in areas:
        own = Counter(one.outcome for one in rows if one.fault.area == area)
        lines.append(f"| {area} | {own.total()} | {own['stopped']} | {own['shown']} | {own['missed']} |")
    lines += ["", "| area | fault | what is said |", "| --- | --- | --- |"]
    order = {"missed": 0, "shown": 1, "stopped": 2}
    for one in sorted(rows, key=lambda row: order[row.outcome]):
        mark = "" if one.outcome == "stopped" else f"**{one.outcome}**: "
        lines.append(f"| {one.fault.area} | {one.fault.name.replace('-', ' ')} | {mark}{one.in_words} |")
    return "\n".join(lines) + "\n"


def main(names: Sequence[str]) -> int:
    """0 when at least 95 of 100 faults are noticed and the clean tree has no finding."""
    rows = list[Judged]()
    with copy() as root:
        clean = said(root, Fault(name="clean", area="", file=""))
        for number, one in enumerate(known := faults(names), 1):
            rows.append(judge(root, one))
            print(f"{number:3}/{len(known)} {rows[-1].outcome:8} {one.name}: {rows[-1].in_words}", flush=True)
    if not names:
        RESULTS.write_text(table(clean, rows), "utf-8")
        print(f"written to {RESULTS}")
    noticed = sum(one.outcome != "missed" for one in rows)
    print(f"{noticed} of {len(rows)} noticed; of the clean tree: {len(clean.codes)} findings")
    return 0 if noticed >= LEAST * len(rows) and clean.outcome == "missed" else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
