"""A missing real part is a skip at home and an error in CI, unless it is excused; the commit is in the report."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

HERE = Path(__file__).parent
EXCUSED = '[[part]]\nname = "no-such-part"\nreason = "no licence"\nunproven = "flight"\n'
SUITE = """
import pytest

@pytest.mark.optional_part("no-such-part")
def test_absent(): assert False

@pytest.mark.optional_part("sh")
def test_present(): pass
"""


def run(tmp_path: Path, *words: str, excused: str = "", **env: str) -> subprocess.CompletedProcess[str]:
    """A suite of its own with our hooks, below a checkout of its own."""
    (tmp_path / "excused.toml").write_text(excused, "utf-8")
    (tmp_path / "conftest.py").write_text((HERE / "optional_parts.py").read_text("utf-8"), "utf-8")
    (tmp_path / "test_suite.py").write_text(SUITE, "utf-8")
    ini = "[pytest]\nmarkers =\n  optional_part(name): x\n"
    (tmp_path / "pytest.ini").write_text(ini, "utf-8")
    argv = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--junitxml",
        "report.xml",
        *(words or ["."]),
    ]
    clean = {key: value for key, value in os.environ.items() if key != "DODAI_TEST_REQUIRE_ALL"}
    return subprocess.run(
        argv,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**clean, "PYTHONPATH": str(HERE.parent), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **env},
        check=False,
    )


def test_an_absent_part_is_a_skip_with_its_reason_at_home(tmp_path):
    """Somebody without goose can still run the suite, and sees what did not run."""
    done = run(tmp_path)
    assert done.returncode == 0
    assert "1 passed, 1 skipped" in done.stdout
    assert "absent: no-such-part (1 tests skipped)" in done.stdout
    assert "excused parts: 0, absent here: 1" in done.stdout


def test_an_absent_part_is_an_error_where_all_are_required(tmp_path):
    """CI cannot lose a real part without anybody noticing."""
    done = run(tmp_path, DODAI_TEST_REQUIRE_ALL="1")
    assert done.returncode == 1
    assert "`no-such-part` is absent, DODAI_TEST_REQUIRE_ALL=1" in done.stdout


def test_an_excused_part_is_a_skip_everywhere_and_says_what_is_unproven(tmp_path):
    """The excuse is in the output of every run."""
    done = run(tmp_path, excused=EXCUSED, DODAI_TEST_REQUIRE_ALL="1")
    assert done.returncode == 0
    assert "absent: no-such-part (1 tests skipped); unproven: flight" in done.stdout
    assert "excused parts: 1, absent here: 1" in done.stdout


def test_the_junit_report_names_the_commit(tmp_path):
    """`make plan` refuses a report that is of another commit."""
    git = ["git", "-C", str(tmp_path), "-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "x"], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    run(tmp_path)
    properties = ET.parse(tmp_path / "report.xml").getroot().iter("property")
    assert {p.get("name"): p.get("value") for p in properties}["commit"] == head + "+"  # the suite's own files


@pytest.mark.parametrize(
    ("words", "paths", "narrowed"),
    [
        ([], ["."], ""),
        (["test_suite.py::test_present"], ["test_suite.py::test_present"], ""),
        (["./test_suite.py", "-k", "present"], ["test_suite.py"], "-k present"),
        (["test_suite.py", "-x", "--deselect", "test_suite.py::test_absent"], ["test_suite.py"], "--deselect ['test_suite.py::test_absent'] --maxfail 1"),
        (["test_suite.py", "no_such_file.py"], ["test_suite.py", "no_such_file.py"], "a run that ended with 4"),
    ],
)  # fmt: skip
def test_the_junit_report_says_what_was_asked_for(tmp_path, words, paths, narrowed):
    """A part of a suite that is green is not a suite that is green."""
    run(tmp_path, *words)
    said = {p.get("name"): p.get("value") for p in ET.parse(tmp_path / "report.xml").getroot().iter("property")}
    assert (json.loads(said["paths"]), said["narrowed"]) == (paths, narrowed)


def test_the_excuses_of_this_project_are_complete():
    """Each says its name, its reason and what is unproven."""
    spec = importlib.util.spec_from_file_location("optional_parts_under_test", HERE / "optional_parts.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    excused = module.excuses((HERE / "excused.toml").read_text("utf-8"))
    assert all(each.name and each.reason and each.unproven for each in excused)
    with pytest.raises(TypeError):
        module.excuses('[[part]]\nname = "x"\n')
