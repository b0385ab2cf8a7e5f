"""Ask the few tests that were red in a whole run once more, alone: `python tests/ask_again.py REPORT`.

A machine that stood still for a second turns one test of six thousand red. Such a test is named as unstable, and the
run goes on; one that is red again, or more than `FEW` of them, is a red run. What a test said the second time replaces
its first outcome in the report, from which `make plan` judges.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

FEW = 3


def red(report: ET.ElementTree) -> dict[str, ET.Element]:
    """The cases that failed or erred, by name."""
    cases = (case for case in report.iter("testcase"))
    return {named(case): case for case in cases if case.find("failure") is not None or case.find("error") is not None}


def named(case: ET.Element) -> str:
    return f"{case.get('classname')}.{case.get('name')}"


def main(path: Path) -> int:
    """0 when each of a few red tests is green alone, 1 otherwise."""
    report = ET.parse(path)
    before = red(report)
    if not 0 < len(before) <= FEW:
        print(f"{len(before)} red: not asked again")
        return 1
    again = path.with_name("again.xml")
    words = ["--last-failed", "-n", "0", "-q", f"--junit-xml={again}"]
    if subprocess.run([sys.executable, "-m", "pytest", *words], check=False).returncode:
        return 1
    after = {named(case): case for case in ET.parse(again).iter("testcase")}
    if set(after) != set(before):
        print(f"asked again: {sorted(after)}, red were: {sorted(before)}")
        return 1
    for suite in report.iter("testsuite"):
        for case in [each for each in suite.iter("testcase") if named(each) in before]:
            suite.remove(case)
        suite.extend(after.values())
    report.write(path, "utf-8", xml_declaration=True)
    for name in sorted(before):
        print(f"UNSTABLE: {name} was red in the whole run and green alone")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
