"""The table of admission: no command is without a rule, and no rule lets through what a gate asks for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dodai.cli.main import COMMANDS
from dodai.core.errors import DodaiError
from dodai.engine.journal import PlanEntry
from dodai.engine.plan import PlanRequest
from dodai.operations.admission import RULES, AdmissionState, admit, admit_resume, let_in
from dodai.operations.gates import AFTERWARDS, IN_FORCE, Gates, Kept, in_service
from dodai.operations.run.gate_sources import gates_in_service, keep
from dodai.wiring import environments
from dodai.wiring.find_project import load_project

NOW = datetime(2026, 11, 29, 3, 0, tzinfo=UTC)
ALWAYS = ("Mon-Sun 00:00-24:00 UTC",)
STRICT = Gates(evidence="source", approvals=1, signers="keys", freeze=ALWAYS)
CHANGING = {"up", "down", "deploy", "resume", "rollback", "restart", "exec", "install", "relieve"}
READING = {"check", "completion", "routes", "rehearse", "approve", "releases", "replaced", "status", "trace", "history", "explain", "docs", "doctor", "watch", "alerts", "checklist", "logs"}  # fmt: skip
SECRETS = {"list", "rotate", "set"}
MIGRATING = {"up", "down", "adopt", "repair"}
LOOKING = {"status", "new", "check", "rehearse", "stats", "validate"}
NEW_CODE = ("up", "deploy", "migrate up")


def test_every_command_has_a_rule_or_changes_nothing():
    """A new command is put on one side before this is green again; `rehearse`, `approve` and `alerts` only state something."""
    from dodai.cli.migrate import command as migrate
    from dodai.cli.secrets import command as secrets

    unplaced = set(COMMANDS) - {"migrate", "secrets", "incident"} - CHANGING - READING
    assert not unplaced, "name it in `READING` here, or in `CHANGING` and in `RULES` of `dodai.operations.admission`"
    assert set(COMMANDS) >= CHANGING | READING
    assert set(migrate.list_commands(None)) == MIGRATING | LOOKING
    assert set(secrets.list_commands(None)) == SECRETS
    named = CHANGING | {"rotate", "restore", "undo", "trust", "take over"} | {f"migrate {name}" for name in MIGRATING}
    assert set(RULES) == named


def outcome(change, gates, reason="", *, controlled=True):
    """The gates that are left, or the code of the refusal."""
    try:
        return admit(change, AdmissionState("staging", gates, controlled, NOW), reason)
    except DodaiError as error:
        return error.code.id


GATES = st.builds(
    Gates,
    evidence=st.sampled_from([None, "source", "artifact"]),
    approvals=st.integers(0, 2),
    signers=st.sampled_from(["", "keys"]),
    freeze=st.sampled_from([(), ALWAYS]),
)


@given(gates=GATES, change=st.sampled_from(sorted(RULES)), reason=st.sampled_from(["", "it burns"]))
def test_no_command_brings_new_code_past_a_gate(gates, change, reason):
    """Refused, or the plan carries every gate; a reason replaces neither evidence nor approvals."""
    left = outcome(change, gates, reason)
    if gates.protected and outcome(change, gates, reason, controlled=False) != "DOD341":
        pytest.fail("protection without its control database is open")
    if not gates.protected or isinstance(left, str):
        return
    if change in NEW_CODE:
        assert (left.evidence, left.approvals, left.signers) == (gates.evidence, gates.approvals, gates.signers)
        assert left.freeze == gates.freeze or (reason and change == "migrate up")
    elif change == "restore":
        assert (left.approvals, RULES[change].known_release) == (gates.approvals, True)
    else:
        assert RULES[change].known_release or RULES[change].reason or change in ("down", "resume", "undo", "install")
        assert not RULES[change].reason or reason


@pytest.mark.parametrize(
    ("change", "reason", "code"),
    [
        ("up", "", "DOD361"),
        ("up", "it burns", "DOD361"),
        ("down", "", "DOD360"),
        ("trust", "", "DOD363"),
        ("take over", "", "DOD363"),
        ("exec", "", "DOD363"),
        ("migrate up", "", "DOD360"),
        ("migrate down", "", "DOD256"),
        ("migrate adopt", "", "DOD363"),
        ("migrate repair", "", "DOD363"),
    ],
)
def test_refusal_names_what_is_missing(change, reason, code):
    """One code for each; everything else is refused by its plan, under the lock."""
    assert outcome(change, STRICT, reason) == code


def entry(kind, release="r1", plan_id="p1", force=None, after=None):
    arguments = {name: gates.as_text() for name, gates in ((IN_FORCE, force), (AFTERWARDS, after)) if gates}
    return PlanEntry(plan_id, "h", PlanRequest(kind, "staging", release, arguments=arguments), (), "")


def test_plan_begun_around_the_gates_is_taken_back_and_never_finished():
    """An `up`, or a deploy of weaker gates; one that was let in goes on whatever froze since."""
    standing = AdmissionState("staging", STRICT, True, NOW)
    for stray in (entry("up"), entry("deploy"), entry("deploy", force=replace(STRICT, approvals=0))):
        with pytest.raises(DodaiError) as caught:
            admit_resume(stray, standing, admitted=False)
        assert caught.value.code.id == "DOD361"
        assert "--undo" in caught.value.fix
    admit_resume(entry("deploy", force=STRICT), standing, admitted=False)
    admit_resume(entry("deploy"), standing, admitted=True)
    admit_resume(entry("up"), replace(standing, gates=Gates(freeze=ALWAYS)), admitted=False)


def test_only_what_passed_the_gates_of_its_time_may_come_back():
    """What served before there was a gate, what was let in, what a rollback brought back; not what `up` put there."""
    before = entry("deploy", "r0", "p0")
    first = entry("deploy", "r1", "p1", STRICT, STRICT)
    around = entry("up", "r2", "p2", after=STRICT)
    back = entry("rollback", "r1", "p3", after=STRICT)
    back_to_it = entry("rollback", "r2", "p4", after=STRICT)
    assert let_in((before, first, around, back, back_to_it), frozenset({"p1"})) == {"r0", "r1"}


def test_gates_are_those_of_the_newest_release_and_of_every_record_that_was_lost():
    """A journal that knows the plan of what is kept elsewhere is newer than that; an emptied one is not."""
    kept = Kept("p1", STRICT)
    assert in_service(Kept(), [kept], lambda _: False) == STRICT
    assert in_service(Kept("p2", Gates()), [kept], lambda _: True) == Gates()
    assert in_service(Kept("p2", Gates()), [kept], lambda _: False).protected


async def test_manifest_that_names_another_folder_takes_no_gate_away(tmp_path):
    """What this checkout remembers of an environment counts wherever today's tree says that its state is."""
    manifest = '[project]\nname = "small"\n[env.staging]\n{}\n[service.web]\ncommand = ["web"]\npublic = true\n'
    keep(tmp_path / ".dodai" / "env" / "staging", Kept("p1", STRICT))
    for line in ("", 'folder = "elsewhere"', f'folder = "{tmp_path}/outside"'):
        here = environments.open(load_project(manifest.format(line).encode(), tmp_path), "staging")
        assert (await gates_in_service(here)) == STRICT
