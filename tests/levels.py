"""How much of its largest grids a run carries out: `make test` takes a part of them, `make test-whole` all.

What is marked `share(n)`, a test or by `pytestmark` a file, is carried out in one of n of its cases when the whole suite
runs, and in all of them when somebody names its file or its folder. Which ones, the commit decides, so that another
commit runs others. The rest is in the report as skipped, and `make plan` judges no row by it. What loops over points
itself takes `part` of them.
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from tests.plan.judge import LEFT

WHOLE, NAMED, DEFAULT = "whole", "named", "default"
LEVEL, TURN, REPEATABLE = "DODAI_TEST_LEVEL", "DODAI_TEST_TURN", "DODAI_TEST_REPEATABLE"
T = TypeVar("T")


def level() -> str:
    return os.environ.get(LEVEL, NAMED)


@functools.cache
def turn() -> int:
    """A number of the commit that is checked out; `DODAI_TEST_TURN` asks for another one. 0 outside of a repository."""
    if given := os.environ.get(TURN):
        return int(given)
    argv = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return int(done.stdout[:8], 16) if done.returncode == 0 else 0


def part(points: Sequence[T], every: int, name: str = "") -> Sequence[T]:
    """One of `every` points, at least one, and all of them at the level `whole`; `name` shifts where it begins."""
    return points if level() == WHOLE else taken(points, every, turn() + zlib.crc32(name.encode()))


def taken(points: Sequence[T], every: int, number: int) -> Sequence[T]:
    """Every point is taken by one of the numbers 0 to `every` - 1, and every number takes one if there is any."""
    every = min(every, len(points)) or 1
    return points[number % every :: every]


# --- hooks -------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """The level of this run, and the order of a repeatable one; its workers inherit both: they are given paths."""
    if hasattr(config, "workerinput") or os.environ.get(LEVEL) == WHOLE:
        return
    named = config.args_source == pytest.Config.ArgsSource.ARGS
    os.environ[LEVEL] = NAMED if named else DEFAULT
    if os.environ.get(REPEATABLE) == "1" and config.getoption("randomly_seed", None) == "default":
        config.option.randomly_seed = turn()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip the cases that are not this commit's turn; they stay in the report."""
    if level() != DEFAULT:
        return
    groups: dict[str, list[pytest.Item]] = {}
    every: dict[str, int] = {}
    for item in items:
        for node, mark in itertools.islice(item.iter_markers_with_node("share"), 1):
            whose = item.nodeid.partition("[")[0] if node is item else node.nodeid
            groups.setdefault(whose, []).append(item)
            (every[whose],) = mark.args
    for whose, cases in groups.items():
        cases.sort(key=lambda item: zlib.crc32(item.nodeid.encode()))  # so that no side of a grid is left out
        mine = {id(item) for item in taken(cases, every[whose], turn() + zlib.crc32(whose.encode()))}
        for item in cases:
            if id(item) not in mine:
                item.add_marker(pytest.mark.skip(reason=f"{LEFT}: one of {every[whose]} cases is carried out"))
