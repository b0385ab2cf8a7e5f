"""The gate of a protected environment, attacked: real journal in PostgreSQL, real signatures of `ssh-keygen`."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from tests.operations.control_place import ControlPlace

from dodai.core.errors import DodaiError
from dodai.core.page import Text
from dodai.engine.execute import SystemClock, execute, resume
from dodai.engine.plan import Observed, Plan, PlanRequest, Step
from dodai.operations.approval import NAMESPACE, Approval, is_same_person
from dodai.operations.environment_policy import EnvironmentPolicy
from dodai.operations.evidence import RehearsalRecord, Source
from dodai.operations.gates import AFTERWARDS, IN_FORCE, Gates
from dodai.operations.run.audit_log import AuditLog, stated
from dodai.operations.run.gate import BREAK_GLASS, GatePorts, admission
from dodai.providers.local.signature import SshKeygen

TREE, CONFIG = "a" * 64, "c" * 64
SOURCE = Source(TREE, CONFIG)
EVERY_HOUR = ("Mon-Sun 00:00-24:00 UTC",)


class Behind(SystemClock):
    """The clock of a machine that somebody set back by a year."""

    def now(self):
        return datetime.now(UTC) - timedelta(days=365)


@dataclass
class Gated:
    """An environment with a gate; its only change is a line in `done`."""

    place: ControlPlace
    gates: Gates
    source: Source = SOURCE
    done: list[str] = field(default_factory=list)

    @property
    def statements(self):
        return AuditLog(self.place.journal)

    @property
    def env(self):
        return self.place.env

    def plan(self, release="r1", actor="hana", **arguments):
        told = {IN_FORCE: self.gates.as_text(), **arguments}
        request = PlanRequest("deploy", self.env, release, actor, manifest_hash=CONFIG, arguments=told)
        ports = GatePorts(self.statements, SshKeygen(), lambda: self.source)

        async def look(_):
            return Observed("done" if release in self.done else "needed")

        async def act(_):
            self.done.append(release)

        change = Step(id="change", title=Text("c", "c"), area="x", observe=look, apply=act, verify=look, undo=act)
        return Plan(request, Text("d", "d"), (admission(request, self.source.tree, ports), change))

    async def deploy(self, *args, clock=None, **arguments):
        with self.place.journal() as journal:
            plan = self.plan(*args, **arguments)
            return await execute(plan, journal, self.place.lease(), clock=clock)

    async def state(self, kind, words):
        request = stated(kind, self.env, "somebody", words)
        with self.place.journal() as journal:
            outcome = await execute(self.statements.statement(request), journal, self.place.lease())
        assert outcome.exit_code == 0, outcome.summary()

    async def rehearsed(self, **changes):
        at = datetime.now(UTC) - timedelta(hours=changes.pop("hours", 0), seconds=1)
        good = RehearsalRecord("source", TREE, CONFIG, "r1", "f" * 40, (), "ok", at.isoformat())
        await self.state("rehearse", replace(good, **changes).as_data())


@pytest.fixture
def gated(tmp_path, database):
    place = ControlPlace(tmp_path, database)
    yield Gated(place, Gates())
    place.close()


def key(folder, name):
    path = folder / f"key-{name}"
    if not path.exists():
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def signer(folder, name, options=""):
    kind, public = key(folder, name).with_suffix(".pub").read_text().split()[:2]
    return " ".join(filter(None, (f"{name}@example.com", options, kind, public))) + "\n"


def signed(folder, plan, name, *, by="", hours=0.0, lasts=24.0, namespace=NAMESPACE, env=""):
    """An approval of `plan`, given `hours` ago; `by` is whose key it is really made with."""
    at = datetime.now(UTC) - timedelta(hours=hours, seconds=1)
    ends = at + timedelta(hours=lasts)
    words = Approval(
        plan.hash, env or plan.request.env, f"{name}@example.com", at.isoformat(), ends.isoformat(), account="x"
    )
    message = folder / "message"
    message.write_bytes(words.message)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", key(folder, by or name), "-n", namespace, message]
    (folder / "message.sig").unlink(missing_ok=True)
    subprocess.run(argv, check=True, capture_output=True)
    return replace(words, signature=(folder / "message.sig").read_text())


def refusal(outcome):
    error = outcome.error()
    assert error is not None, "it was let in"
    assert outcome.exit_code == 1, error.message
    return error


def sql(dsn, *statements):
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("ALTER TABLE dodai.control_event DISABLE TRIGGER ALL")
        connection.execute("ALTER TABLE dodai.control_plan DISABLE TRIGGER ALL")
        for statement in statements:
            assert connection.execute(statement).rowcount == 1


# --- evidence ---


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"tree": "b" * 64}, "is of another tree"),
        ({"config": "d" * 64}, "is of another manifest"),
        ({"outcome": "failed"}, "failed"),
        ({"hours": 25}, "25.0 h old, at most 24 h count"),
        ({"hours": -3}, "from the future"),
    ],
)
async def test_evidence_that_does_not_count_is_refused_with_the_reason(gated, changes, why):
    """Exit 1, nothing changed, and what each newest rehearsal lacks."""
    gated.gates = Gates(evidence="source")
    await gated.rehearsed(**changes)
    error = refusal(await gated.deploy())
    assert error.code.id == "DOD257"
    assert any(why in line for line in error.details)
    assert gated.done == []
    await gated.rehearsed()
    assert (await gated.deploy()).exit_code == 0


async def test_artifact_evidence_is_never_what_a_local_rehearsal_gave(gated):
    """`evidence = "artifact"` stays closed for `source`."""
    gated.gates = Gates(evidence="artifact")
    await gated.rehearsed()
    error = refusal(await gated.deploy())
    assert "of level `source`, `artifact` is asked for" in error.details[0]
    await gated.rehearsed(level="artifact")
    assert (await gated.deploy()).exit_code == 0


async def test_machine_whose_clock_was_set_back_makes_nothing_fresh(gated):
    """The control database's clock decides: a year behind, two days old is still two days old."""
    gated.gates = Gates(evidence="source", freeze=EVERY_HOUR)
    await gated.rehearsed(hours=48)
    assert refusal(await gated.deploy(clock=Behind())).code.id == "DOD360"
    gated.gates = Gates(evidence="source")
    assert "48.0 h old" in refusal(await gated.deploy(clock=Behind())).details[0]


@pytest.mark.parametrize("table", ["control_event", "control_plan"])
async def test_edited_journal_is_noticed_before_the_gate_is_asked(gated, table):
    """Old evidence made young, or the request that carries it: the chain is broken, exit 4."""
    gated.gates = Gates(evidence="source")
    await gated.rehearsed(hours=48)
    young, column = datetime.now(UTC).isoformat()[:13], "data" if table == "control_event" else "request"
    old = (datetime.now(UTC) - timedelta(hours=48, seconds=1)).isoformat()[:13]
    where = "kind = 'rehearsed'" if table == "control_event" else "request LIKE '%rehearse%'"
    sql(gated.place.dsn, f"UPDATE dodai.{table} SET {column} = replace({column}, '{old}', '{young}') WHERE {where}")
    with pytest.raises(DodaiError) as caught:
        await gated.deploy()
    assert (caught.value.code.id, caught.value.exit_code, gated.done) == ("DOD353", 4, [])


# --- approvals ---


@pytest.fixture
def signing(gated, tmp_path):
    gated.gates = Gates(evidence="source", approvals=1, signers=signer(tmp_path, "taro") + signer(tmp_path, "mika"))
    return gated


async def test_signature_over_the_plan_lets_it_in_once(signing, tmp_path):
    """Used up: the same plan again needs a new one, and the old record written once more is no new one."""
    await signing.rehearsed()
    assert refusal(await signing.deploy()).code.id == "DOD369"
    approval = signed(tmp_path, signing.plan(), "taro")
    await signing.state("approve", approval.as_data())
    outcome = await signing.deploy()
    assert (outcome.exit_code, signing.done) == (0, ["r1"])
    by = (await signing.statements.admitted())[0].by
    assert "approved by taro@example.com (SHA256:" in by["approvals"]
    signing.done.clear()
    assert "is used up" in refusal(await signing.deploy()).details[0]
    await signing.state("approve", approval.as_data())
    assert refusal(await signing.deploy()).code.id == "DOD369"
    await signing.state("approve", signed(tmp_path, signing.plan(), "taro").as_data())
    assert (await signing.deploy()).exit_code == 0


async def test_plan_that_changed_after_the_approval_is_refused(signing, tmp_path):
    """Another release, another tree under the same name, another gate, a break-glass: none of them was signed."""
    await signing.rehearsed()
    await signing.state("approve", signed(tmp_path, signing.plan(), "taro").as_data())
    for changed in (
        {"release": "r2"},
        {"previous:web": "r0"},
        {BREAK_GLASS: "it burns"},
    ):
        error = refusal(await signing.deploy(**changed))
        assert "is for the plan" in error.details[0]
    signing.source = Source("a" * 63 + "b", CONFIG)
    await signing.rehearsed(tree=signing.source.tree)
    assert "is for the plan" in refusal(await signing.deploy()).details[0]
    assert signing.done == []


async def test_who_deploys_does_not_approve(signing, tmp_path):
    """Neither by the name of the account, nor while a CI claims to be somebody else."""
    await signing.rehearsed()
    for actor in ("taro", "taro@example.com", "TARO", "robot (claimed by CI, account taro)"):
        await signing.state("approve", signed(tmp_path, signing.plan(), "taro").as_data())
        assert "is by the one who deploys" in refusal(await signing.deploy(actor=actor)).details[0]
    assert all(is_same_person(name, "taro") for name in ("taro@example.com", "*@example.com", "*", "t?ro@example.com"))


async def test_two_approvals_are_two_people_with_two_keys(signing, tmp_path):
    """The same person again, or the same key under another name, is one."""
    shared = signer(tmp_path, "taro").replace("taro@", "kenji@")
    signing.gates = replace(signing.gates, approvals=2, signers=signing.gates.signers + shared)
    await signing.rehearsed()
    plan = signing.plan()
    await signing.state("approve", signed(tmp_path, plan, "taro").as_data())
    await signing.state("approve", signed(tmp_path, plan, "taro", hours=0.1).as_data())
    await signing.state("approve", signed(tmp_path, plan, "kenji", by="taro").as_data())
    error = refusal(await signing.deploy())
    assert "lacks 1 of 2 approvals" in error.message
    assert sum("signed already" in line for line in error.details) == 2
    await signing.state("approve", signed(tmp_path, plan, "mika").as_data())
    assert (await signing.deploy()).exit_code == 0


async def test_key_that_was_valid_until_yesterday_signs_nothing(signing, tmp_path):
    """`valid-before` in `allowed_signers` is judged by the control database's clock."""
    yesterday = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y%m%d")
    signing.gates = replace(signing.gates, signers=signer(tmp_path, "taro", f'valid-before="{yesterday}"'))
    await signing.rehearsed()
    await signing.state("approve", signed(tmp_path, signing.plan(), "taro").as_data())
    assert refusal(await signing.deploy(clock=Behind())).code.id == "DOD369"


async def test_edited_approval_breaks_the_chain(signing, tmp_path):
    """Exit 4 before anything is asked."""
    await signing.rehearsed()
    await signing.state("approve", signed(tmp_path, signing.plan(), "taro").as_data())
    sql(
        signing.place.dsn,
        "UPDATE dodai.control_event SET data = replace(data, 'taro@', 'mika@') WHERE kind = 'approved'",
    )
    with pytest.raises(DodaiError) as caught:
        await signing.deploy()
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD353", 4)


async def test_plan_that_was_let_in_is_finished_after_its_approval_ran_out(signing, tmp_path):
    """A resume goes on with what was agreed to, whatever expired or froze meanwhile."""
    await signing.rehearsed()
    await signing.state("approve", signed(tmp_path, signing.plan(), "taro").as_data())
    plan = signing.plan()

    async def lost(_):
        raise SystemExit  # the process dies in the middle of its change

    broken = replace(plan, steps=(plan.steps[0], replace(plan.steps[1], apply=lost)))
    with signing.place.journal() as journal, pytest.raises(SystemExit):
        await execute(broken, journal, signing.place.lease())
    signing.source = Source("e" * 64, CONFIG)
    sql(signing.place.dsn, "UPDATE dodai.control_lease SET expires_at = NULL, holder = NULL")
    with signing.place.journal() as journal:
        outcome = await resume(journal, signing.place.lease("mika"), signing.env, lambda _: plan)
    assert (outcome.exit_code, signing.done) == (0, ["r1"])


async def test_statement_that_was_cut_off_is_finished_by_resume_and_written_once(gated):
    """Before and after the record of it: one rehearsal on record, and the next plan may begin."""
    gated.gates = Gates(evidence="source")
    good = RehearsalRecord("source", TREE, CONFIG, "r1", "f" * 40, (), "ok", datetime.now(UTC).isoformat())
    plan = gated.statements.statement(stated("rehearse", gated.env, "hana", good.as_data()))
    (step,) = plan.steps
    for number, written in enumerate((False, True), 1):

        async def lost(context, written=written):
            if written:
                await step.apply(context)
            raise SystemExit

        with gated.place.journal() as journal, pytest.raises(SystemExit):
            await execute(replace(plan, steps=(replace(step, apply=lost),)), journal, gated.place.lease())
        with gated.place.journal() as journal:
            outcome = await resume(journal, gated.place.lease("taro"), gated.env, gated.statements.statement)
        assert outcome.exit_code == 0
        assert len(await gated.statements.rehearsals()) == number


# --- freeze ---


async def test_frozen_environment_says_until_when_and_a_reason_opens_it(gated):
    """DOD360, exit 1; the reason is in the journal with what it let in."""
    gated.gates = Gates(freeze=("2020-01-01T00:00/2099-01-01T00:00 Asia/Tokyo",))
    error = refusal(await gated.deploy())
    assert error.code.id == "DOD360"
    assert "`staging` is frozen until 2099-01-01T00:00+09:00" in error.message
    assert (await gated.deploy(**{BREAK_GLASS: "payments are down"})).exit_code == 0
    assert (await gated.statements.admitted())[0].by == {"freeze": "break-glass: payments are down"}


async def test_break_glass_opens_no_other_gate(signing):
    """Evidence and approvals stay."""
    assert refusal(await signing.deploy(**{BREAK_GLASS: "now"})).code.id == "DOD257"
    await signing.rehearsed()
    assert refusal(await signing.deploy(**{BREAK_GLASS: "now"})).code.id == "DOD369"


# --- where gates come from ---

STRICT = Gates("artifact", 60.0, 2, 60.0, "keys", ("Sat 00:00-24:00 UTC",))


def test_a_release_cannot_take_away_the_gate_it_goes_through():
    """The stricter of each; who may sign is what the release in service says."""
    assert Gates().and_those_of(STRICT) == STRICT
    mine = Gates("source", 3600.0, 1, 3600.0, "mine", ("Sun 00:00-24:00 UTC",))
    both = mine.and_those_of(STRICT)
    assert both == replace(STRICT, freeze=("Sat 00:00-24:00 UTC", "Sun 00:00-24:00 UTC"))
    assert mine.and_those_of(Gates()) == mine
    assert Gates.from_text(both.as_text()) == both
    assert json.loads(both.as_text())["signers"] == "keys"
    assert {IN_FORCE, AFTERWARDS} == {"gates", "gates_afterwards"}


def test_an_environment_that_is_not_protected_has_its_freeze_only():
    """`approvals` and `evidence` mean nothing without `protected`."""
    open_one = EnvironmentPolicy("x", "local", (), "", 0, protected=False, freeze=("Sat 00:00-24:00 UTC",))
    assert Gates.of(open_one, 60.0, "") == Gates(freeze=open_one.freeze)
    assert Gates.of(replace(open_one, protected=True), 60.0, "k").approvals == 1
