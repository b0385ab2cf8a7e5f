"""Which sentences of the plan are met, judged from the reports that `make test` and `make rehearse` left behind.

Starts neither: a row counts only what was seen at the commit that is checked out. Writes `plan.md` and `plan.json`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args
from xml.etree import ElementTree as ET

Declared = Literal["met", "todo", "context"]
State = Literal["pass", "fail", "stale", "unjudged", "todo", "context"]
WORST: tuple[State, ...] = ("fail", "unjudged", "stale")
CONDITIONS = ("test", "drill", "step", "file", "rows")
REFINEMENTS = ("contains", "before")
GOOD_OUTCOMES = frozenset({"ok", "done", "already"})
LEFT = "left to `make test-whole`"
"""How the reason of a case begins that tests/levels.py left out."""
TEST_REPORT = ".dodai/reports/tests.xml"
REHEARSAL_REPORT = "examples/quiz/.dodai/rehearsals/latest/report.json"
ROOT = Path(__file__).resolve().parents[2]


# --- the plan and its rows ---------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sentence:
    """One line of the plan without its list mark; `line` counts from 1, `level` is that of a heading, else 0."""

    text: str
    line: int
    level: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    id: str
    text: str
    state: Declared
    command: str = ""
    conditions: tuple[Mapping[str, str], ...] = ()
    evidence: str = ""
    missing: str = ""
    reason: str = ""


def sentences(plan: str) -> tuple[Sentence, ...]:
    """Every sentence of the plan, in order: each line that is not blank is one."""
    found = []
    for number, line in enumerate(plan.split("\n"), 1):
        if line.strip():
            mark = re.match(r"\s*(#+|-|\d+\.)\s+", line)
            level = mark[1].count("#") if mark else 0
            found.append(Sentence(line[mark.end() :] if mark else line, number, level))
    return tuple(found)


def rows(document: str) -> tuple[Row, ...]:
    """The rows of requirements.toml; raises `ValueError` naming the row that says too little or too much."""
    found = tuple(_row(entry) for entry in tomllib.loads(document)["row"])
    twice = [row_id for row_id, count in Counter(row.id for row in found).items() if count > 1]
    if twice:
        raise ValueError(f"row id `{twice[0]}` stands twice")
    return found


def _row(entry: Mapping[str, Any]) -> Row:
    fields = {"conditions" if key == "pass" else key: value for key, value in entry.items()}
    row = Row(**{**fields, "conditions": tuple(fields.get("conditions", ()))})
    demands = {
        "met": {"command": row.command, "pass": row.conditions, "evidence": row.evidence},
        "todo": {"missing": row.missing, "command": row.command, "evidence": row.evidence},
        "context": {"reason": row.reason},
    }
    if row.state not in get_args(Declared):
        raise ValueError(f"row `{row.id}`: unknown state `{row.state}`")
    for name, value in demands[row.state].items():
        if not value:
            raise ValueError(f"row `{row.id}` is {row.state} and needs `{name}`")
    if row.state == "met" and row.missing:
        raise ValueError(f"row `{row.id}` is met and yet says what is `missing`")
    for condition in row.conditions:
        if sum(kind in condition for kind in CONDITIONS) != 1 or set(condition) - {*CONDITIONS, *REFINEMENTS}:
            raise ValueError(f"row `{row.id}`: a condition has exactly one of {', '.join(CONDITIONS)}: {condition}")
    return row


# --- the reports -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TestReport:
    """Outcomes by dotted test name, parametrisation included; `commit` is empty when the report does not say.

    `paths` are those that the run was asked for, none for the whole suite; `narrowed` is how it left out some of them.
    """

    __test__ = False
    commit: str
    outcomes: Mapping[str, tuple[str, ...]]
    paths: tuple[str, ...] = ()
    narrowed: str = ""


@dataclass(frozen=True, slots=True)
class Rehearsal:
    commit: str
    drills: Mapping[str, str]
    steps: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Seen:
    """All a judgement stands on. `file` returns a file's text, or None when there is none."""

    commit: str
    tests: TestReport | None
    rehearsal: Rehearsal | None
    file: Callable[[str], str | None]


def test_report(junit: str) -> TestReport:
    """The outcomes in a JUnit report of pytest; a test that errs in its teardown has two."""
    root = ET.fromstring(junit)
    outcomes: dict[str, list[str]] = {}
    for case in root.iter("testcase"):
        bad = [kind for kind in ("failure", "error", "skipped") if case.find(kind) is not None]
        if any(skip.get("message", "").startswith(LEFT) for skip in case.iterfind("skipped")):
            bad = ["left"]
        name = f"{case.get('classname')}.{case.get('name')}"
        outcomes.setdefault(name, []).append(bad[0] if bad else "passed")
    said = {p.get("name"): p.get("value", "") for p in root.iterfind("testsuite/properties/property")}
    found = {name: tuple(each) for name, each in outcomes.items()}
    return TestReport(
        said.get("commit", ""), found, tuple(json.loads(said.get("paths", "[]"))), said.get("narrowed", "")
    )


def rehearsal(report: str) -> Rehearsal:
    """The drills and steps of a rehearsal's report.json."""
    document = json.loads(report)
    return Rehearsal(
        document.get("commit", ""),
        {drill["id"]: drill["outcome"] for drill in document.get("drills", ())},
        {step["id"]: step["outcome"] for step in document.get("steps", ())},
    )


# --- the judgement -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Check:
    """What one condition came to; `why` is a sentence when it does not hold."""

    condition: Mapping[str, str]
    state: State
    why: str = ""


@dataclass(frozen=True, slots=True)
class Judged:
    row: Row
    sentence: Sentence
    state: State
    checks: tuple[Check, ...] = ()

    @property
    def ready(self) -> bool:
        """True for a todo row whose conditions all hold already: somebody may call it met."""
        return self.state == "todo" and bool(self.checks) and all(check.state == "pass" for check in self.checks)


def judge(plan: str, requirements: Sequence[Row], seen: Seen) -> tuple[Judged, ...]:
    """Each sentence with its state; raises `ValueError` when rows and sentences are not the same, in the same order."""
    lines = sentences(plan)
    for line, row in zip(lines, requirements, strict=False):
        if line.text != row.text:
            raise ValueError(f"line {line.line} of the plan, `{line.text}`, has no row (next is `{row.id}`)")
    if len(lines) != len(requirements):
        raise ValueError(f"the plan has {len(lines)} sentences, requirements.toml {len(requirements)} rows")
    done: dict[str, Judged] = {}
    # Rows that ask for other rows come last, the widest prefix at the very end.
    for row, line in sorted(zip(requirements, lines, strict=True), key=lambda pair: _rank(pair[0], requirements)):
        checks = tuple(_check(condition, seen, done) for condition in row.conditions)
        done[row.id] = Judged(row, line, _state(row, checks), checks)
    return tuple(done[row.id] for row in requirements)


def _rank(row: Row, requirements: Sequence[Row], seen: tuple[str, ...] = ()) -> int:
    """How many other rows must be judged before this one, as a depth; raises `ValueError` on a circle."""
    if row.id in seen:
        raise ValueError(f"row `{row.id}` waits for itself")
    wanted = [prefix for condition in row.conditions if (prefix := condition.get("rows"))]
    below = [other for prefix in wanted for other in requirements if other.id.startswith(prefix)]
    return max((1 + _rank(other, requirements, (*seen, row.id)) for other in below), default=0)


def _state(row: Row, checks: Iterable[Check]) -> State:
    if row.state != "met":
        return row.state
    states = {check.state for check in checks}
    return next((state for state in WORST if state in states), "pass")


def _check(condition: Mapping[str, str], seen: Seen, done: Mapping[str, Judged]) -> Check:
    kind = next(kind for kind in CONDITIONS if kind in condition)
    name = condition[kind]
    if kind == "rows":
        return Check(condition, *_other_rows(name, done))
    if kind == "file":
        return Check(condition, *_file(name, condition.get("contains", ""), seen))
    report: TestReport | Rehearsal | None = seen.tests if kind == "test" else seen.rehearsal
    target = "make test" if kind == "test" else "make rehearse"
    if report is None:
        return Check(condition, "fail", f"no report: run `{target}`")
    if not _same_commit(report.commit, seen.commit):
        other = f"commit {report.commit}" if report.commit else "an unknown commit"
        return Check(condition, "stale", f"the report is of {other}: run `{target}`")
    if isinstance(report, TestReport):
        return Check(condition, *_test(name, report))
    return Check(condition, *_part(kind, name, condition.get("before", ""), report))


def _same_commit(reported: str, here: str) -> bool:
    """Equal; while somebody works on uncommitted changes (`+`), a report of the commit below them counts too."""
    return bool(reported) and (reported == here or (here.endswith("+") and reported.rstrip("+") == here.rstrip("+")))


def _test(name: str, report: TestReport) -> tuple[State, str]:
    path, _, inner = name.partition("::")
    dotted = ".".join([path.removesuffix(".py").replace("/", "."), *filter(None, inner.split("::"))])
    ends = ("[",) if inner else (".",)
    mine = {
        test: found
        for test, found in report.outcomes.items()
        if test == dotted or test.startswith(tuple(dotted + end for end in ends))
    }
    outcomes = [(test, outcome) for test, found in mine.items() for outcome in found]
    if worst := next((each for each in outcomes if each[1] not in ("passed", "left")), None):
        return "fail", f"`{worst[0]}`: {worst[1]}"
    if report.narrowed or not _asked_for(name, report.paths):
        return (
            "unjudged",
            f"not judged: the report is of `{report.narrowed or ' '.join(report.paths)}`: run `make test`",
        )
    if left := [test for test, outcome in outcomes if outcome == "left"]:
        return "unjudged", f"not judged: {len(left)} of {len(mine)} cases are {LEFT}"
    return ("pass", "") if mine else ("fail", f"`{name}` did not run")


def _asked_for(name: str, paths: tuple[str, ...]) -> bool:
    """Whether every case of the named test is in a run of these paths."""
    return (
        not paths
        or "." in paths
        or any(name == path or name.startswith((f"{path}/", f"{path}::", f"{path}[")) for path in paths)
    )


def _part(kind: str, name: str, before: str, report: Rehearsal) -> tuple[State, str]:
    parts = report.drills if kind == "drill" else report.steps
    for wanted in filter(None, (name, before)):
        if wanted not in parts:
            return "fail", f"{kind} `{wanted}` is not in the rehearsal's report"
        if parts[wanted] not in GOOD_OUTCOMES:
            return "fail", f"{kind} `{wanted}`: {parts[wanted]}"
    order = list(parts)
    if before and order.index(name) > order.index(before):
        return "fail", f"{kind} `{name}` does not come before `{before}`"
    return "pass", ""


def _file(path: str, words: str, seen: Seen) -> tuple[State, str]:
    text = seen.file(path)
    if not text or not text.strip():
        return "fail", f"`{path}` {'is empty' if text is not None else 'does not exist'}"
    return ("pass", "") if words in text else ("fail", f"`{path}` does not say `{words}`")


def _other_rows(prefix: str, done: Mapping[str, Judged]) -> tuple[State, str]:
    wanted = {
        row_id: judged for row_id, judged in done.items() if row_id.startswith(prefix) and judged.state != "context"
    }
    unmet = [row_id for row_id, judged in wanted.items() if judged.state != "pass"]
    if not wanted:
        return "fail", f"no row begins with `{prefix}`"
    return ("fail", f"not met: {', '.join(unmet)}") if unmet else ("pass", "")


# --- what people and programs read -------------------------------------------------------------------------------


def exit_code(judged: Iterable[Judged], *, strict: bool) -> int:
    """1 when a row that is called met is not, and under `strict` when one is still to do."""
    bad = {*WORST, "todo"} if strict else {*WORST}
    return int(any(each.state in bad for each in judged))


def counts(judged: Iterable[Judged]) -> dict[State, int]:
    found = Counter(each.state for each in judged)
    return {state: found[state] for state in get_args(State)}


def as_text(judged: Sequence[Judged], commit: str) -> str:
    """Every sentence with its state, and what is in the way of it."""
    width = max(len(each.row.id) for each in judged)
    lines = []
    for each in judged:
        lines.append(f"{each.state:9}{each.row.id:{width}}  {each.sentence.text}")
        lines += [f"{'':9}{'':{width}}    {remark}" for remark in _remarks(each)]
    return (
        "\n".join([*lines, f"\n{len(judged)} sentences at {commit or 'an unknown commit'}: {_summary(judged)}"]) + "\n"
    )


def as_markdown(judged: Sequence[Judged], commit: str) -> str:
    parts = [f"# Phase2: what is met\n\nCommit `{commit}`: {_summary(judged)}."]
    table: list[str] = []
    for each in judged:
        if each.sentence.level:
            parts += ["\n".join(table)] if table else []
            table = []
            parts.append(f"{'#' * min(6, each.sentence.level + 1)} {each.sentence.text}")
        else:
            table = table or [
                "| state | sentence | command | evidence | in the way |",
                "| --- | --- | --- | --- | --- |",
            ]
            command = f"`{each.row.command}`" if each.row.command else ""
            cells = (each.state, each.sentence.text, command, each.row.evidence, "; ".join(_remarks(each)))
            table.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n\n".join([*parts, *(["\n".join(table)] if table else [])]) + "\n"


def as_json(judged: Sequence[Judged], commit: str, *, strict: bool) -> dict[str, Any]:
    return {
        "schema": "dodai.plan/1",
        "commit": commit,
        "outcome": "failed" if exit_code(judged, strict=strict) else "passed",
        "counts": counts(judged),
        "rows": [
            {
                "id": each.row.id,
                "text": each.sentence.text,
                "line": each.sentence.line,
                "state": each.state,
                "command": each.row.command or None,
                "evidence": each.row.evidence or None,
                "missing": each.row.missing or None,
                "reason": each.row.reason or None,
                "checks": [
                    {**check.condition, "state": check.state, "why": check.why or None} for check in each.checks
                ],
            }
            for each in judged
        ],
    }


def _summary(judged: Sequence[Judged]) -> str:
    return ", ".join(f"{count} {state}" for state, count in counts(judged).items())


def _remarks(each: Judged) -> list[str]:
    if each.state == "todo":
        return [f"missing: {each.row.missing}", *(["its conditions hold already: call it met"] if each.ready else [])]
    return [check.why for check in each.checks if check.why]


# --- the checkout ------------------------------------------------------------------------------------------------


def look(root: Path) -> Seen:
    """The commit and the reports of the checkout at `root`."""

    def read(path: str) -> str | None:
        found = root / path
        return found.read_text("utf-8") if found.is_file() else None

    junit, report = read(TEST_REPORT), read(REHEARSAL_REPORT)
    tests, rehearsed = test_report(junit) if junit else None, rehearsal(report) if report else None
    return Seen(commit_of(root), tests, rehearsed, read)


def commit_of(root: Path) -> str:
    """The commit that is checked out, with `+` when there are uncommitted changes; nothing outside of a repository."""

    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip() if done.returncode == 0 else ""

    return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain") else "")


def main() -> int:
    """0 clean, 1 a row is red, 2 the plan, its rows or a report cannot be read."""
    strict = os.environ.get("STRICT", "") not in ("", "0")
    here = ROOT / "tests" / "plan"
    try:
        seen = look(ROOT)
        requirements = rows((here / "requirements.toml").read_text("utf-8"))
        judged = judge((here / "phase2-plan.md").read_text("utf-8"), requirements, seen)
    except (ValueError, KeyError, TypeError, ET.ParseError) as error:
        sys.stderr.write(f"make plan: {error}\n")
        return 2
    (ROOT / "plan.md").write_text(as_markdown(judged, seen.commit), "utf-8")
    (ROOT / "plan.json").write_text(
        json.dumps(as_json(judged, seen.commit, strict=strict), ensure_ascii=False, indent=2) + "\n", "utf-8"
    )
    sys.stdout.write(as_text(judged, seen.commit))
    return exit_code(judged, strict=strict)


if __name__ == "__main__":
    sys.exit(main())
