"""The plan has a row for each sentence, and a row is green only for what a report of this commit shows."""

from __future__ import annotations

import ast
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

HERE = Path(__file__).parent


def _load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("plan_judge", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


judge = _load(HERE / "judge.py")

PLAN = "# Plan\n\n- first:\n  - `a` works\n1. second\n"
CONTEXT = {"state": "context", "reason": "heading"}


def junit(*cases: str, commit: str = "c1", **said: str) -> str:
    """A report in pytest's form; a case is `dotted.name outcome`, and `said` are further properties of it."""
    body = ""
    for case in cases:
        name, _, outcome = case.partition(" ")
        classname, _, test = name.rpartition(".")
        inner = "" if outcome == "passed" else f'<{outcome} message="x"/>'
        if outcome == "left":
            inner = f'<skipped message="{judge.LEFT}: one of 3 cases is carried out"/>'
        body += f'<testcase classname="{classname}" name="{test}">{inner}</testcase>'
    said |= {"commit": commit} if commit else {}
    properties = "".join(f"<property name={quoteattr(name)} value={quoteattr(value)}/>" for name, value in said.items())
    properties = f"<properties>{properties}</properties>" if said else ""
    return f'<testsuites><testsuite name="pytest">{properties}{body}</testsuite></testsuites>'


def row(row_id: str, text: str, **fields: object) -> str:
    entry = {"id": row_id, "text": text, **fields}
    if entry.get("state") == "met":
        entry = {"command": "run", "evidence": "seen", **entry}
    if entry.get("state") == "todo":
        entry = {"command": "run", "evidence": "seen", "missing": "it", **entry}
    return "[[row]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in entry.items())


def _toml(value: object) -> str:
    if isinstance(value, list):
        return (
            "["
            + ", ".join("{" + ", ".join(f"{k} = {json.dumps(v)}" for k, v in each.items()) + "}" for each in value)
            + "]"
        )
    return json.dumps(value, ensure_ascii=False)


def seen(
    *,
    commit: str = "c1",
    tests: str | None = None,
    report: object | None = None,
    files: Mapping[str, str] | None = None,
) -> object:
    return judge.Seen(
        commit,
        judge.test_report(tests) if tests else None,
        judge.rehearsal(json.dumps(report)) if report is not None else None,
        (files or {}).get,
    )


def judged_one(conditions: list[dict[str, str]], look: object, state: str = "met") -> object:
    rows = judge.rows(row("only", "it works", state=state, **{"pass": conditions}))
    return judge.judge("it works\n", rows, look)[0]


# --- the real plan and its rows ---


def test_every_sentence_of_the_plan_has_a_row_and_every_row_a_sentence():
    """The rows are the plan's sentences, in the plan's order."""
    plan = (HERE / "phase2-plan.md").read_text("utf-8")
    rows = judge.rows((HERE / "requirements.toml").read_text("utf-8"))
    assert [line.text for line in judge.sentences(plan)] == [each.text for each in rows]


def test_every_row_can_be_judged_without_any_report():
    """Rows that wait for each other, or are malformed, would fail here and not first in CI."""
    plan = (HERE / "phase2-plan.md").read_text("utf-8")
    rows = judge.rows((HERE / "requirements.toml").read_text("utf-8"))
    assert len(judge.judge(plan, rows, seen())) == len(rows)


def test_every_test_that_a_row_names_exists():
    """A row cannot point at a test that was renamed."""
    rows = judge.rows((HERE / "requirements.toml").read_text("utf-8"))
    for each in rows:
        for condition in each.conditions:
            path, _, name = condition.get("test", "").partition("::")
            if path:
                source = (HERE.parents[1] / path).read_text("utf-8")
                assert f"def {name.rpartition('::')[2].partition('[')[0]}" in source, (
                    f"row {each.id}: {condition['test']}"
                )


def test_no_test_that_a_row_names_is_left_to_another_run():
    """Every row is judged by each run of the whole suite."""
    for each in judge.rows((HERE / "requirements.toml").read_text("utf-8")):
        for condition in each.conditions:
            path, _, name = condition.get("test", "").partition("::")
            tree = ast.parse((HERE.parents[1] / path).read_text("utf-8")) if path else ast.Module([], [])
            whole = [ast.unparse(one) for one in tree.body if isinstance(one, ast.Assign)]
            assert not any("pytestmark" in one and "mark.share" in one for one in whole), f"row {each.id}: {path}"
            wanted = name.rpartition("::")[2].partition("[")[0]
            for function in ast.walk(tree):
                if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and wanted in ("", function.name):
                    marks = [ast.unparse(mark) for mark in function.decorator_list]
                    assert not any("mark.share" in mark for mark in marks), f"row {each.id}: {path}::{function.name}"


# --- sentences and rows ---


def test_sentences_lose_their_list_mark_and_keep_their_line():
    """Headings, bullets and numbers are marks; code and colons are text."""
    assert [(s.text, s.line, s.level) for s in judge.sentences(PLAN)] == [
        ("Plan", 1, 1),
        ("first:", 3, 0),
        ("`a` works", 4, 0),
        ("second", 5, 0),
    ]


@given(st.lists(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1), min_size=1))
def test_no_line_of_a_plan_is_lost(lines):
    """Whatever stands on a line that is not blank is a sentence."""
    assert len(judge.sentences("\n\n".join(lines))) == len(lines)


def test_a_sentence_without_a_row_is_refused_with_its_line():
    """The judge does not skip what it has no row for."""
    rows = judge.rows(row("a", "Plan", **CONTEXT) + row("b", "second", **CONTEXT))
    with pytest.raises(ValueError, match=r"line 3 of the plan, `first:`"):
        judge.judge(PLAN, rows, seen())


def test_a_last_sentence_without_a_row_is_refused():
    """Too few rows at the end are seen as well."""
    rows = judge.rows("".join(row(t, t, **CONTEXT) for t in ("Plan", "first:", "`a` works")))
    with pytest.raises(ValueError, match=r"4 sentences, requirements.toml 3 rows"):
        judge.judge(PLAN, rows, seen())


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        (row("a", "x", state="met", **{"pass": []}), "needs `pass`"),
        (row("a", "x", state="met", evidence="", **{"pass": [{"file": "f"}]}), "needs `evidence`"),
        (row("a", "x", state="met", missing="y", **{"pass": [{"file": "f"}]}), "yet says what is `missing`"),
        (row("a", "x", state="todo", missing=""), "needs `missing`"),
        (row("a", "x", state="context"), "needs `reason`"),
        (row("a", "x", state="done"), "unknown state `done`"),
        (row("a", "x", state="met", **{"pass": [{"tset": "f"}]}), "a condition has exactly one of"),
        (row("a", "x", **CONTEXT) * 2, "`a` stands twice"),
    ],
    ids=["no-condition", "no-evidence", "met-and-missing", "todo-why", "context-why", "state", "typo", "twice"],
)
def test_a_row_that_says_too_little_is_refused(entry, words):
    """A row cannot be called met without saying how that is seen."""
    with pytest.raises(ValueError, match=words):
        judge.rows(entry)


# --- one condition ---


def test_a_row_whose_test_passed_is_met():
    """Every parametrisation counts, and a file stands for all its tests."""
    look = seen(tests=junit("tests.csrf.test_x.test_a[1] passed", "tests.csrf.test_x.test_a[2] passed"))
    assert judged_one([{"test": "tests/csrf/test_x.py::test_a"}], look).state == "pass"
    assert judged_one([{"test": "tests/csrf/test_x.py::test_a[2]"}], look).state == "pass"
    assert judged_one([{"test": "tests/csrf/test_x.py"}], look).state == "pass"


@pytest.mark.parametrize("outcome", ["failure", "error", "skipped"])
@pytest.mark.parametrize("name", ["tests/csrf/test_x.py::test_a", "tests/csrf/test_x.py"])
def test_a_failed_erring_or_skipped_test_turns_the_row_red(outcome, name):
    """One bad parametrisation among good ones is enough."""
    look = seen(tests=junit("tests.csrf.test_x.test_a[1] passed", f"tests.csrf.test_x.test_a[2] {outcome}"))
    judged = judged_one([{"test": name}], look)
    assert judged.state == "fail"
    assert judged.checks[0].why == f"`tests.csrf.test_x.test_a[2]`: {outcome}"


def test_a_row_with_a_case_that_was_left_out_is_not_judged():
    """What ran was green, and that is not enough; a red one is red all the same."""
    look = seen(tests=junit("tests.t.test_a[1] passed", "tests.t.test_a[2] left"))
    judged = judged_one([{"test": "tests/t.py::test_a"}], look)
    assert (judged.state, judged.checks[0].why) == (
        "unjudged",
        "not judged: 1 of 2 cases are left to `make test-whole`",
    )
    assert judge.exit_code((judged,), strict=False) == 1
    assert judged_one([{"test": "tests/t.py::test_a[1]"}], look).state == "pass"
    look = seen(tests=junit("tests.t.test_a[1] failure", "tests.t.test_a[2] left"))
    assert judged_one([{"test": "tests/t.py::test_a"}], look).state == "fail"


@pytest.mark.parametrize(
    ("paths", "narrowed", "state"),
    [
        ([], "", "pass"),
        (["tests"], "", "pass"),
        (["."], "", "pass"),
        (["tests/u.py", "tests/t.py"], "", "pass"),
        (["tests/t.py::test_a"], "", "pass"),
        (["tests/t.py::test_a[1]"], "", "unjudged"),
        (["tests/t.py::test"], "", "unjudged"),
        (["tests/u.py"], "", "unjudged"),
        ([], "-k token", "unjudged"),
        (["tests/t.py"], "--maxfail 1", "unjudged"),
    ],
)
def test_a_run_of_a_selection_judges_only_what_it_was_asked_for_whole(paths, narrowed, state):
    """The cases of a test that were not collected are in no report, so the report says what was asked for."""
    look = seen(tests=junit("tests.t.test_a[1] passed", paths=json.dumps(paths), narrowed=narrowed))
    assert judged_one([{"test": "tests/t.py::test_a"}], look).state == state


def test_a_test_that_errs_after_it_passed_turns_the_row_red():
    """pytest reports a failing teardown as a second case of the same name."""
    look = seen(tests=junit("tests.t.test_a passed", "tests.t.test_a error"))
    assert judged_one([{"test": "tests/t.py::test_a"}], look).state == "fail"


@pytest.mark.parametrize("name", ["tests/t.py::test_b", "tests/t.py::test", "tests/tt.py", "tests/t.py::test_a[1]"])
def test_a_test_that_did_not_run_turns_the_row_red(name):
    """The beginning of a name is not the name."""
    judged = judged_one([{"test": name}], seen(tests=junit("tests.t.test_a passed")))
    assert (judged.state, judged.checks[0].why) == ("fail", f"`{name}` did not run")


def test_a_test_inside_a_class_is_found():
    """The class is part of the dotted name."""
    look = seen(tests=junit("tests.t.TestIt.test_a passed"))
    assert judged_one([{"test": "tests/t.py::TestIt::test_a"}], look).state == "pass"


@pytest.mark.parametrize("commit", ["c0", "", "c1+"])
def test_a_report_of_another_or_no_commit_is_stale(commit):
    """What passed somewhere else says nothing about this checkout."""
    look = seen(tests=junit("tests.t.test_a passed", commit=commit))
    assert judged_one([{"test": "tests/t.py::test_a"}], look).state == "stale"


@pytest.mark.parametrize(("reported", "state"), [("c1", "pass"), ("c1+", "pass"), ("c0", "stale"), ("", "stale")])
def test_while_there_are_uncommitted_changes_a_report_of_their_commit_counts(reported, state):
    """CI has none, so there only the commit itself does."""
    look = seen(commit="c1+", tests=junit("tests.t.test_a passed", commit=reported))
    assert judged_one([{"test": "tests/t.py::test_a"}], look).state == state


def test_outside_of_a_repository_no_report_counts():
    """Nobody can say what was tested."""
    assert (
        judged_one([{"test": "tests/t.py"}], seen(commit="", tests=junit("tests.t.test_a passed", commit=""))).state
        == "stale"
    )


def test_without_a_report_the_row_is_red_and_says_what_to_run():
    """Nothing is met because nobody looked."""
    assert judged_one([{"test": "tests/t.py"}], seen()).checks[0].why == "no report: run `make test`"
    judged = judged_one([{"drill": "d"}], seen())
    assert (judged.state, judged.checks[0].why) == ("fail", "no report: run `make rehearse`")


REPORT = {
    "commit": "c1",
    "drills": [{"id": "good", "outcome": "ok"}, {"id": "bad", "outcome": "failed"}],
    "steps": [
        {"id": "migrate", "outcome": "done"},
        {"id": "start", "outcome": "already"},
        {"id": "smoke", "outcome": "failed"},
    ],
}


@pytest.mark.parametrize(
    ("condition", "state"),
    [
        ({"drill": "good"}, "pass"),
        ({"drill": "bad"}, "fail"),
        ({"drill": "migrate"}, "fail"),
        ({"step": "migrate"}, "pass"),
        ({"step": "smoke"}, "fail"),
        ({"step": "absent"}, "fail"),
        ({"step": "migrate", "before": "start"}, "pass"),
        ({"step": "start", "before": "migrate"}, "fail"),
        ({"step": "migrate", "before": "smoke"}, "fail"),
        ({"step": "migrate", "before": "absent"}, "fail"),
    ],
)
def test_drills_and_steps_are_read_from_the_rehearsal(condition, state):
    """A drill is no step, and only a good outcome counts."""
    assert judged_one([condition], seen(report=REPORT)).state == state


def test_a_rehearsal_of_another_commit_is_stale():
    """A rehearsal is evidence for what it rehearsed."""
    assert judged_one([{"drill": "good"}], seen(commit="c2", report=REPORT)).state == "stale"


@pytest.mark.parametrize(
    ("condition", "state"),
    [
        ({"file": "docs/a.md"}, "pass"),
        ({"file": "docs/a.md", "contains": "対象"}, "pass"),
        ({"file": "docs/a.md", "contains": "absent"}, "fail"),
        ({"file": "docs/empty.md"}, "fail"),
        ({"file": "docs/none.md"}, "fail"),
    ],
)
def test_a_file_must_exist_and_say_the_words(condition, state):
    """An empty file is no document."""
    assert judged_one([condition], seen(files={"docs/a.md": "対象一覧", "docs/empty.md": " \n"})).state == state


def test_one_broken_condition_among_good_ones_turns_the_row_red():
    """All conditions must hold; broken beats stale."""
    conditions = [{"file": "f"}, {"test": "tests/t.py"}, {"drill": "good"}]
    look = seen(tests=junit("tests.t.test_a passed", commit="c0"), report=REPORT, files={"f": "x"})
    assert judged_one(conditions, look).state == "stale"
    look = seen(tests=junit("tests.t.test_a passed", commit="c0"), report={"commit": "c1"}, files={"f": "x"})
    assert judged_one(conditions, look).state == "fail"


# --- rows that ask for rows ---


def test_a_row_over_rows_is_met_when_they_all_are():
    """Context rows say nothing; a todo below keeps the row above red; order in the file does not matter."""
    text = (
        row("all", "a", state="met", **{"pass": [{"rows": "theme-"}]})
        + row("theme-1", "b", state="met", **{"pass": [{"rows": "M1-"}]})
        + row("M1-h", "c", **CONTEXT)
        + row("M1-x", "d", state="met", **{"pass": [{"file": "f"}]})
    )
    states = [j.state for j in judge.judge("a\nb\nc\nd", judge.rows(text), seen(files={"f": "x"}))]
    assert states == ["pass", "pass", "context", "pass"]
    todo = text + row("M1-y", "e", state="todo")
    judged = judge.judge("a\nb\nc\nd\ne", judge.rows(todo), seen(files={"f": "x"}))
    assert [j.state for j in judged] == ["fail", "fail", "context", "pass", "todo"]
    assert judged[1].checks[0].why == "not met: M1-y"


def test_rows_that_wait_for_each_other_are_refused():
    """A circle would make both true."""
    text = row("a", "a", state="met", **{"pass": [{"rows": "b"}]}) + row(
        "b", "b", state="met", **{"pass": [{"rows": "a"}]}
    )
    with pytest.raises(ValueError, match="waits for itself"):
        judge.judge("a\nb", judge.rows(text), seen())


# --- the answer ---


@pytest.mark.parametrize(
    ("state", "condition", "lenient", "strict"),
    [
        ("met", {"file": "f"}, 0, 0),
        ("met", {"file": "none"}, 1, 1),
        ("met", {"test": "tests/t.py"}, 1, 1),
        ("todo", {"file": "none"}, 0, 1),
    ],
)
def test_red_is_a_broken_row_and_under_strict_a_todo_too(state, condition, lenient, strict):
    """STRICT=1 is the gate of a finished plan."""
    look = seen(files={"f": "x"}, tests=junit("tests.t.test_a passed", commit="old"))
    judged = (judged_one([condition], look, state),)
    assert (judge.exit_code(judged, strict=False), judge.exit_code(judged, strict=True)) == (lenient, strict)


def test_a_todo_whose_conditions_hold_is_pointed_out():
    """Somebody finished the work and forgot the row."""
    judged = judged_one([{"file": "f"}], seen(files={"f": "x"}), "todo")
    assert (judged.state, judged.ready) == ("todo", True)
    assert "call it met" in judge.as_text((judged,), "c1")


def test_every_sentence_is_printed_with_its_state_in_all_three_forms():
    """Text, Markdown and JSON say the same."""
    rows = judge.rows(
        row("h", "Plan", **CONTEXT)
        + row("f", "first:", **CONTEXT)
        + row("a", "`a` works", state="met", **{"pass": [{"file": "none"}]})
        + row("s", "second", state="todo", missing="all | of it")
    )
    judged = judge.judge(PLAN, rows, seen())
    text, markdown = judge.as_text(judged, "c1"), judge.as_markdown(judged, "c1")
    document = judge.as_json(judged, "c1", strict=False)
    assert "fail     a  `a` works\n              `none` does not exist\n" in text
    assert "4 sentences at c1: 0 pass, 1 fail, 0 stale, 0 unjudged, 1 todo, 2 context" in text
    assert "| fail | `a` works | `run` | seen | `none` does not exist |" in markdown
    assert "missing: all \\| of it" in markdown
    assert [each["state"] for each in document["rows"]] == ["context", "context", "fail", "todo"]
    assert (document["schema"], document["outcome"], document["counts"]["fail"]) == ("dodai.plan/1", "failed", 1)


def test_the_command_writes_both_files_and_exits_by_the_rows(tmp_path):
    """The whole of `make plan` in a checkout of its own, from reports on disk."""
    here = tmp_path / "tests" / "plan"
    here.mkdir(parents=True)
    shutil.copy(HERE / "judge.py", here)
    (here / "phase2-plan.md").write_text("it works\n", "utf-8")
    text = row("only", "it works", state="met", **{"pass": [{"test": "tests/t.py::test_a"}, {"drill": "good"}]})
    (here / "requirements.toml").write_text(text, "utf-8")
    (tmp_path / ".gitignore").write_text(".dodai/\nplan.md\nplan.json\n", "utf-8")
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "add", "."], check=True)
    subprocess.run([*git, "commit", "-q", "-m", "x"], check=True)
    commit = judge.commit_of(tmp_path)
    reports, latest = (tmp_path / path for path in (judge.TEST_REPORT, judge.REHEARSAL_REPORT))
    reports, latest = reports.parent, latest.parent
    reports.mkdir(parents=True)
    latest.mkdir(parents=True)
    (latest / "report.json").write_text(json.dumps({**REPORT, "commit": commit}), "utf-8")

    def run(cases: str, **env: str) -> subprocess.CompletedProcess[str]:
        (reports / "tests.xml").write_text(cases, "utf-8")
        argv = [sys.executable, str(here / "judge.py")]
        clean = {key: value for key, value in os.environ.items() if key != "STRICT"}
        return subprocess.run(argv, capture_output=True, text=True, env={**clean, **env}, check=False)

    good = run(junit("tests.t.test_a passed", commit=commit), STRICT="1")
    assert (good.returncode, good.stderr) == (0, "")
    assert json.loads((tmp_path / "plan.json").read_text("utf-8"))["counts"]["pass"] == 1
    assert "| pass | it works |" in (tmp_path / "plan.md").read_text("utf-8")
    assert run(junit("tests.t.test_a skipped", commit=commit)).returncode == 1
    assert run(junit("tests.t.test_a passed", commit="0" * 40)).returncode == 1
    broken = run("<not xml")
    assert broken.returncode == 2
    assert broken.stderr.startswith("make plan: ")
