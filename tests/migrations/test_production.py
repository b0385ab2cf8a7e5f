"""The production procedure: evidence on protected environments, and the pages that describe it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from tests.migrations.conftest import FAST, up

from dodai.core.errors import DodaiError
from dodai.core.page import LANGS, Text
from dodai.engine.plan import Plan, PlanRequest
from dodai.migrations import run
from dodai.migrations.document import migration_operations, tool_decision
from dodai.migrations.goose_file import files_of
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Evidence, MigrationTarget
from dodai.migrations.run.production import CONDITIONS, evidence_step

Make = Callable[..., MigrationTarget]
FILES = {"1_a.sql": up("CREATE TABLE a (b int);", head="-- dodai: irreversible first table\n")}


@dataclass
class Context:
    """What a step gets; notes are kept."""

    plan_id: str = "p1"
    step_id: str = "s"
    env: str = "production"
    actor: str = "somebody"
    fencing_token: int = 1
    notes: list[str] = field(default_factory=list)

    def remaining_s(self) -> float:
        return 30.0

    def note(self, text: str) -> None:
        self.notes.append(text)


@dataclass
class Rehearsals:
    found: Sequence[Evidence]

    def rehearsals(self, env: str) -> Sequence[Evidence]:
        return self.found if env == "production" else ()


def checksums(target: MigrationTarget) -> tuple[str, ...]:
    return tuple(m.raw_sha256 for m in files_of(target).migrations)


async def test_a_protected_environment_refuses_without_fresh_evidence(make_target: Make):
    """Missing, too old, of other files, or failed: all refused with DOD257 and the command that brings it."""
    target = make_target(FILES)
    good = checksums(target)
    for bad in (
        (),
        (Evidence("r", good, 10**6, "done"),),
        (Evidence("r", ("x",), 1, "done"),),
        (Evidence("r", good, 1, "failed"),),
    ):
        step = evidence_step(target, env="production", evidence=Rehearsals(bad))
        with pytest.raises(DodaiError) as caught:
            await step.observe(Context())
        assert (caught.value.code.id, caught.value.exit_code) == ("DOD257", 1)
        assert "dodai rehearse --record production" in caught.value.fix


async def test_fresh_evidence_of_exactly_these_files_lets_it_through(make_target: Make):
    """After they are applied no evidence is needed."""
    target = make_target(FILES)
    store = Rehearsals((Evidence("r7", checksums(target), 60, "done"),))
    step = evidence_step(target, env="production", evidence=store)
    assert "r7" in (await step.observe(Context())).detail
    run.up(target)
    step = evidence_step(target, env="production", evidence=Rehearsals(()))
    assert (await step.observe(Context())).state == "done"


async def test_a_rehearsal_that_ran_more_before_still_counts_for_the_rest(make_target: Make):
    """A plan that goes on after a crash has fewer pending files than the rehearsal had; others in front prove nothing."""
    target = make_target({**FILES, "2_b.sql": up("CREATE TABLE b (b int);", head="-- dodai: irreversible b\n")})
    first, second = checksums(target)
    store = Rehearsals((Evidence("r8", ("x", first, second), 60, "done"),))
    assert "r8" in (await evidence_step(target, env="production", evidence=store).observe(Context())).detail
    for wrong in ((second, first), (first,), (first, second, "x")):
        step = evidence_step(target, env="production", evidence=Rehearsals((Evidence("r9", wrong, 60, "done"),)))
        with pytest.raises(DodaiError, match="no fresh rehearsal"):
            await step.observe(Context())


def test_the_page_says_who_when_how_and_the_way_back_in_both_languages(make_target: Make):
    """Rendered from the policy, the rules and the plan's own steps."""
    target = make_target(FILES)
    steps = (
        evidence_step(target, env="production", evidence=Rehearsals(())),
        run.step(target, needs=("migration-evidence",)),
    )
    plan = Plan(PlanRequest("deploy", "production", "r1"), Text("deploy", "デプロイ"), steps)
    policy = run.MigrationTarget(target.root, FAST, target.connect).policy
    page = migration_operations(policy, plan, files_of(target).migrations)
    for lang in LANGS:
        text = page.render(lang)
        assert "dodai migrate up" in text
        assert "DOD204" in text
        assert "first table" in text
        for step in steps:
            assert step.title(lang) in text
        for condition in CONDITIONS:
            assert condition.when(lang) in text
    assert "実行者" in page.render("ja")
    assert tool_decision(policy).render("ja") != tool_decision(policy).render("en")


@pytest.mark.parametrize(("format_", "table"), [("alembic", "alembic_version"), ("django", "django_migrations")])
def test_the_decision_about_a_tool_that_stays_names_its_own_ledger(format_, table):
    """Nothing is said of goose there."""
    for lang in LANGS:
        text = tool_decision(MigrationsPolicy(format=format_)).render(lang)
        assert table in text
        assert "goose" not in text
