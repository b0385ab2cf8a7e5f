"""Red tests of a whole run are asked once more, a few at most, and none of it is quiet."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from tests import ask_again

SUITE = """
from pathlib import Path
import pytest

@pytest.mark.parametrize("name", {names})
def test_it(name):
    seen = Path(name)
    first = not seen.exists()
    seen.touch()
    assert not first or not name.startswith("once")
    assert not name.startswith("always")
"""


@pytest.mark.parametrize(
    ("names", "code", "said"),
    [
        (["fine", "once"], 0, "UNSTABLE: test_it.test_it[once] was red in the whole run and green alone"),
        (["fine", "once", "always"], 1, "FAILED test_it.py::test_it[always]"),
        (["once1", "once2", "once3", "once4"], 1, "4 red: not asked again"),
        (["fine"], 1, "0 red: not asked again"),
    ],
)
def test_only_a_few_that_are_green_alone_are_let_pass_and_named(tmp_path, names, code, said):
    """Their outcome replaces the first one in the report; otherwise the report stays as it was."""
    (tmp_path / "test_it.py").write_text(SUITE.format(names=names), "utf-8")

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        env = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": "-p xdist"}  # a second each
        argv = [sys.executable, *words]
        return subprocess.run(argv, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)

    run("-m", "pytest", "-q", "--junit-xml=tests.xml")
    before = set(ask_again.red(ET.parse(tmp_path / "tests.xml")))
    assert len(before) == len([name for name in names if name != "fine"])
    done = run(str(Path(ask_again.__file__)), "tests.xml")
    assert (done.returncode, said in done.stdout) == (code, True), done.stdout + done.stderr
    report = ET.parse(tmp_path / "tests.xml")
    assert set(ask_again.red(report)) == (set() if code == 0 else before)
    assert len([*report.iter("testcase")]) == len(names)
