"""A plan is a value: its order, its hash, and what it looks like."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engine.world import Spec, World, make_plan

from dodai.core.page import LANGS, Page, Text
from dodai.engine.plan import Plan, Retry, Step
from dodai.engine.render import as_json, as_section, as_text


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "world")


def plan_of(world: World, *specs: Spec) -> Plan:
    return make_plan(list(specs), world)


def changed(plan: Plan, number: int, **fields) -> Plan:
    steps = list(plan.steps)
    steps[number] = replace(steps[number], **fields)
    return replace(plan, steps=tuple(steps))


@given(st.lists(st.lists(st.integers(0, 30), max_size=3), min_size=1, max_size=12), st.randoms(use_true_random=False))
def test_order_follows_needs_and_is_otherwise_as_written(raw, shuffler: random.Random):
    """Every step comes after what it needs; a plan written in a possible order keeps it."""
    world = World(None)  # type: ignore[arg-type] - no step runs
    specs = [Spec(f"s{n}", tuple({f"s{need % n}" for need in needs}) if n else ()) for n, needs in enumerate(raw)]
    written = make_plan(specs, world)
    assert [step.id for step in written.ordered()] == [spec.id for spec in specs]
    shuffled = list(written.steps)
    shuffler.shuffle(shuffled)
    order = [step.id for step in replace(written, steps=tuple(shuffled)).ordered()]
    assert all(order.index(need) < order.index(spec.id) for spec in specs for need in spec.needs)


@pytest.mark.parametrize(
    ("specs", "message"),
    [
        ([Spec("a"), Spec("a")], "used twice: `a`"),
        ([Spec("a", ("ghost",))], "`a` needs unknown steps: `ghost`"),
        ([Spec("a", ("c",)), Spec("b", ("a",)), Spec("c", ("b",)), Spec("d")], "in a cycle: `a`, `c`, `b`, `a`"),
        ([Spec("a", ("a",))], "in a cycle: `a`, `a`"),
    ],
)
def test_malformed_plan_is_refused_naming_its_steps(world, specs, message):
    """Duplicates, unknown needs and cycles are programming errors, told with the ids."""
    with pytest.raises(ValueError, match=message):
        plan_of(world, *specs).ordered()


async def test_malformed_plan_is_refused_before_anything_is_written(tmp_path):
    """The journal never hears of a plan that cannot be ordered."""
    from tests.engine.world import Place

    place = Place(tmp_path)
    with pytest.raises(ValueError, match="ghost"):
        await place.execute([Spec("a", ("ghost",))])
    with place.journal() as journal:
        assert await journal.history("staging") == ()


def test_hash_is_the_same_for_the_same_plan(world):
    """Two builds of one request agree, in any process."""
    one, two = plan_of(world, Spec("a"), Spec("b", ("a",))), plan_of(world, Spec("a"), Spec("b", ("a",)))
    assert one.hash == two.hash
    assert len(one.hash) == 64
    assert one.short_hash == one.hash[:12]


def test_hash_changes_with_everything_an_approver_agrees_to(world):
    """Request, ids, needs, inputs, way back and order."""
    plan = plan_of(world, Spec("a"), Spec("b", ("a",)))
    request = plan.request
    variants = [
        replace(plan, request=replace(request, kind="rollback")),
        replace(plan, request=replace(request, env="production")),
        replace(plan, request=replace(request, release="r2")),
        replace(plan, request=replace(request, manifest_hash="m2")),
        replace(plan, request=replace(request, secret_versions={"SESSION": "2"})),
        replace(plan, request=replace(request, arguments={"force": "yes"})),
        changed(plan, 1, needs=()),
        changed(plan, 1, inputs={"image": "sha256:1"}),
        changed(plan, 1, on_failure="fix_forward"),
        changed(plan, 1, point_of_no_return=True),
        changed(plan, 1, id="c"),
        plan_of(world, Spec("b"), Spec("a")),
    ]
    hashes = [plan.hash, *(variant.hash for variant in variants)]
    assert len(set(hashes)) == len(hashes)


def test_hash_does_not_change_with_who_asks(world):
    """Another person builds the same plan; approvals sign plans, not people."""
    plan = plan_of(world, Spec("a"))
    assert replace(plan, request=replace(plan.request, actor="taro")).hash == plan.hash


def dressed(world: World) -> Plan:
    plan = plan_of(world, Spec("migrate", kind="forward"), Spec("start", ("migrate",)), Spec("smoke", kind="passive"))
    plan = changed(plan, 0, command="dodai migrate up", retry=Retry(3))
    manual = Text("Ask the DNS team to switch", "DNS チームに切替を依頼")
    return changed(plan, 1, undo_title=Text("stop it", "停止"), manual=manual, inputs={"image": "sha256:1"})


def test_dry_run_lists_every_step_with_its_way_back_and_deadline(world):
    """What `--dry-run` prints."""
    plan = dressed(world)
    assert as_text(plan) == (
        f"Deploy  deploy staging r1  plan {plan.short_hash}\n"
        "  1  migrate  Throw migrate  (fix forward, within 5 s)\n"
        "  2  start    Throw start  (by hand, undo: stop it, within 5 s)\n"
        "  3  smoke    Throw smoke  (leaves nothing behind, within 5 s)\n"
    )


def test_dry_run_shows_where_there_is_no_way_back(world):
    """The point of no return is a line of its own, before the first step behind which there is no way back."""
    lines = as_text(plan_of(world, Spec("a", no_return=True), Spec("b", no_return=True)), "ja").splitlines()
    assert lines[1] == "  -  引き返せない地点"
    assert sum("-  引き返せない地点" in line for line in lines) == 1


def test_runbook_section_has_commands_in_console_blocks_and_marks_manual_steps(world):
    """Commands are fenced as `console`, which the tests execute; what a person does is marked in both languages."""
    page = Page("x", "x", sections=(as_section(dressed(world), anchor="deploy"),))
    english, japanese = page.render("en"), page.render("ja")
    assert "```console\ndodai migrate up\n```" in english
    assert "```console\ndodai deploy staging r1\n```" in english
    assert "**By hand:** Ask the DNS team to switch" in english
    assert "**手作業:** DNS チームに切替を依頼" in japanese
    assert "Tried up to 3 times" in english
    assert '<a id="deploy"></a>' in english
    assert "`migrate`" in english.split("## ")[1]


@pytest.mark.parametrize("lang", LANGS)
def test_runbook_says_how_far_back_a_failure_goes(world, lang):
    """Three plans, three sentences: everything, up to a fix-forward step, nothing after the point of no return."""
    plans = [
        plan_of(world, Spec("a")),
        plan_of(world, Spec("a", kind="forward")),
        plan_of(world, Spec("a", no_return=True)),
    ]
    sentences = {as_section(plan).blocks[0].render(lang) for plan in plans}
    assert len(sentences) == 3


def test_json_has_the_schema_and_every_step(world):
    """`dodai.plan/1`."""
    document = as_json(dressed(world))
    assert document["schema"] == "dodai.plan/1"
    assert [step["id"] for step in document["steps"]] == ["migrate", "start", "smoke"]
    assert document["steps"][0]["onFailure"] == "fix_forward"
    assert document["steps"][1]["manual"] is True
    assert document["steps"][1]["inputs"] == {"image": "sha256:1"}
    assert document["hash"] == dressed(world).hash


def test_step_defaults_are_those_of_the_contract(world):
    """A minute, one try, undone on failure."""
    fields = {name: field.default for name, field in Step.__dataclass_fields__.items()}
    assert (fields["timeout_s"], fields["retry"], fields["on_failure"]) == (60.0, Retry(1, 0.2), "undo")
