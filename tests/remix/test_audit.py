"""The audit of the quiz's tiers in node, read as text: what is taken out of one action is found there and nowhere else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from tests.quiz.stack import QUIZ
from tests.remix import tiers

from dodai.csrf.policy import CsrfPolicy
from dodai.csrf.route_table import RouteTable
from dodai.providers.remix import RemixTier
from dodai.wiring.find_project import find_project

CHECKED = [
    (folder.name, path.name)
    for folder in (tiers.ROUTER, tiers.REMIX2)
    for path in sorted((folder / "app" / "routes").iterdir())
    if tiers.VERIFY in path.read_text("utf-8")
]
LEFT_OUT = shutil.ignore_patterns("node_modules", "build", "public", ".cache", ".react-router")


def bare(target: Path, name: str) -> Path:
    """A copy of a tier in which each action stands alone: no root middleware, no wrapped build."""
    folder = Path(shutil.copytree(QUIZ / name, target / name, ignore=LEFT_OUT))
    root = folder / "app" / "root.tsx"
    root.write_text(root.read_text("utf-8").replace("[csrf.middleware, headers, known]", "[headers, known]"), "utf-8")
    (folder / "server.ts").unlink(missing_ok=True)
    return folder


def audited(folder: Path) -> RouteTable:
    policy = CsrfPolicy.from_manifest(find_project(QUIZ / "dodai.toml").manifest.section("csrf") or {})
    found = RemixTier().routes(folder, root=folder.parent, service="web", policy=policy, today="2026-11-29")
    assert isinstance(found, RouteTable), found
    return found


@pytest.mark.parametrize(("tier", "name"), CHECKED, ids=[f"{tier}-{name}" for tier, name in CHECKED])
def test_an_action_without_verification_is_unprotected_for_that_route_alone(tmp_path: Path, tier: str, name: str):
    """The others are proven as before, each by its own first statement."""
    folder = bare(tmp_path, tier)
    before = {row.source: row.verdict for row in audited(folder).state_changing}
    assert set(before.values()) <= {"protected", "exempt"}
    tiers.without_verification(folder, [name])
    after = {row.source: row.verdict for row in audited(folder).state_changing}
    changed = {source for source in after if after[source] != before[source]}
    assert changed == {f"{tier}/app/routes/{name}"}
    assert {after[source] for source in changed} == {"unprotected"}


@pytest.mark.parametrize("tier", ["client", "client-remix2"])
def test_what_stands_before_every_action_is_named(tier: str):
    """Each row says what protects it, and that its action asks as well."""
    rows = [row for row in audited(QUIZ / tier).state_changing if row.verdict == "protected"]
    assert len(rows) >= 8
    for row in rows:
        assert re.match(r"`csrf\.(middleware|wrapBuild\(build\))` stands before every action", row.evidence), row
        assert row.evidence.endswith("the action asks as well"), row
