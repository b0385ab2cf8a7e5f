"""The rehearsal of the quiz with each of its web tiers in node: the same story, smoke test, probe and drills."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.quiz.copies import copy_quiz
from tests.remix import tiers

DRILLS = ("forged-posts-are-refused", "release-exits-at-boot", "request-id-through-every-tier")


@pytest.fixture(scope="module")
def quiz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the quiz with both tiers built; its manifest builds nothing, other suites use those folders as well."""
    for folder in (tiers.ROUTER, tiers.REMIX2):
        tiers.built(folder)
    copy = copy_quiz(tmp_path_factory.mktemp("tiers") / "quiz", built=True)
    manifest = (copy / "dodai.toml").read_text("utf-8")
    (copy / "dodai.toml").write_text(re.sub(r"(?ms)^build = \[.*?^\]\n", "", manifest), "utf-8")
    return copy


@pytest.mark.parametrize("tier", ["react-router", "remix2"])
def test_a_rehearsal_runs_on_either_tier_and_names_it(quiz: Path, tier: str):
    """Every journey is walked behind the edge, drills make bad releases of it, and the trace has its line."""
    words = ["rehearse", "--client", tier, "--only", ",".join(DRILLS), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "dodai", *words], cwd=quiz, capture_output=True, text=True, check=False
    )
    report = json.loads(done.stdout)
    drills = {drill["id"]: drill for drill in report["drills"]}
    assert (done.returncode, report["outcome"], report["webTier"]) == (0, "ok", tier), done.stderr + done.stdout
    assert {step["id"]: step["outcome"] for step in report["steps"]}.items() >= {
        "start-web": "done",
        "probe": "done",
        "smoke": "done",
    }.items()
    assert set(drills) == set(DRILLS)
    assert {drill["webTier"] for drill in drills.values()} == {tier}
    tiers = drills["request-id-through-every-tier"]["observed"].partition("lines of ")[2]
    assert sorted(tiers.split(", ")) == ["backend", "edge", "web"]  # in the order in which they were written
