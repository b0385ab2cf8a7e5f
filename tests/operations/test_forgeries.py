"""Forged approvals, forged evidence and a forged journal, each of them written down as well as a forger can: none counts.

`signed` and `gated` are those of the gate's own tests: real journal in PostgreSQL, real signatures of `ssh-keygen`.
"""

from __future__ import annotations

import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from tests.operations.test_gate import CONFIG, TREE, gated, key, refusal, signed, signer

from dodai.core.errors import DodaiError
from dodai.operations.evidence import RehearsalRecord
from dodai.operations.gates import IN_FORCE, Gates

__all__ = ["gated"]

NOBODYS, NOT_IN_TIME, NOT_THIS = "is no signature of a key that may sign", "expired", "is for the plan"
NOW = datetime.now(UTC)


def resigned(folder, of, name="taro", **changes):
    """Every field as the forger wants it, with a true signature of that."""
    words = replace(signed(folder, of, name), **changes)
    message = folder / "message"
    message.write_bytes(words.message)
    (folder / "message.sig").unlink(missing_ok=True)
    argv = ["ssh-keygen", "-q", "-Y", "sign", "-f", key(folder, name), "-n", "plan@dodai", message]
    subprocess.run(argv, check=True, capture_output=True)
    return replace(words, signature=(folder / "message.sig").read_text())


def altered(folder, plan, **changes):
    """A true approval, changed after it was signed."""
    return replace(signed(folder, plan, "taro"), **changes)


def without(approval, *names):
    return {name: value for name, value in approval.as_data().items() if name not in names}


APPROVALS = {
    "by a key for another namespace": (lambda f, p: signed(f, p, "taro", namespace="git"), NOBODYS),
    "by the key of somebody else": (lambda f, p: signed(f, p, "taro", by="eve"), NOBODYS),
    "by somebody who may not sign": (lambda f, p: signed(f, p, "eve"), NOBODYS),
    "under the name of another signer": (lambda f, p: altered(f, p, principal="mika@example.com"), NOBODYS),
    "by a key that was valid until yesterday": (lambda f, p: signed(f, p, "old"), NOBODYS),
    "by a key that is valid from tomorrow": (lambda f, p: signed(f, p, "new"), NOBODYS),
    "by a key for git alone": (lambda f, p: signed(f, p, "git"), NOBODYS),
    "by a key that is trusted for certificates alone": (lambda f, p: signed(f, p, "authority"), NOBODYS),
    "by the one who deploys": (lambda f, p: signed(f, p, "hana"), "is by the one who deploys"),
    "by the one who deploys under a second name": (lambda f, p: signed(f, p, "oncall", by="hana"), "key of the one who"),
    "by the one who deploys under a pattern": (lambda f, p: signed(f, p, "any", by="hana"), "key of the one who"),
    "for another environment": (lambda f, p: signed(f, p, "taro", env="production"), NOT_THIS),
    "for another environment, relabelled": (
        lambda f, p: replace(signed(f, p, "taro", env="production"), env=p.request.env), NOBODYS),
    "for another plan": (lambda f, p: resigned(f, p, plan="0" * 64), NOT_THIS),
    "for another plan, relabelled": (lambda f, p: replace(resigned(f, p, plan="0" * 64), plan=p.hash), NOBODYS),
    "for the beginning of the plan's hash": (lambda f, p: resigned(f, p, plan=p.hash[:12]), NOT_THIS),
    "for the plan's hash in capitals": (lambda f, p: resigned(f, p, plan=p.hash.upper()), NOT_THIS),
    "for no environment": (lambda f, p: resigned(f, p, env=""), NOT_THIS),
    "with a longer time": (
        lambda f, p: replace(signed(f, p, "taro", hours=30), expires_at=NOW.replace(year=2099).isoformat()), NOT_IN_TIME),
    "with a later time, unexpired": (
        lambda f, p: replace(
            signed(f, p, "taro", hours=30), signed_at=(NOW - timedelta(hours=1)).isoformat(),
            expires_at=(NOW + timedelta(hours=1)).isoformat()), NOBODYS),
    "expired": (lambda f, p: signed(f, p, "taro", hours=25), NOT_IN_TIME),
    "with a longer time than the gate's": (lambda f, p: signed(f, p, "taro", hours=25, lasts=9999), NOT_IN_TIME),
    "ended before it began": (lambda f, p: signed(f, p, "taro", hours=1, lasts=-2), NOT_IN_TIME),
    "from the future": (lambda f, p: signed(f, p, "taro", hours=-2), "from the future"),
    "at a time without an offset": (
        lambda f, p: resigned(f, p, signed_at="2026-11-29T03:00:00", expires_at="2099-01-01T00:00:00"), "no times"),
    "at no time": (lambda f, p: resigned(f, p, signed_at="now", expires_at="never"), "no times"),
    "with no signature": (lambda f, p: altered(f, p, signature=""), NOBODYS),
    "with half a signature": (lambda f, p: altered(f, p, signature=signed(f, p, "taro").signature[:200]), NOBODYS),
    "with a signature of other words": (
        lambda f, p: altered(f, p, signature=resigned(f, p, plan="1" * 64).signature), NOBODYS),
    "with one sign of the signature changed": (lambda f, p: altered(f, p, signature=flipped(f, p)), NOBODYS),
    "with a signature that is no text": (lambda f, p: altered(f, p, signature="\ud800"), NOBODYS),
    "with a line moved into the name": (lambda f, p: altered(f, p, principal="taro@example.com\nx"), "names nobody"),
    "with a blank before the name": (lambda f, p: resigned(f, p, principal=" taro@example.com"), "names nobody"),
    "with a zero byte in the name": (lambda f, p: resigned(f, p, principal="taro@example.com\0"), "names nobody"),
    "with the name in capitals": (lambda f, p: resigned(f, p, principal="TARO@EXAMPLE.COM"), NOBODYS),
    "in the name of everybody": (lambda f, p: resigned(f, p, principal="*"), "is by the one who deploys"),
    "in the names of two": (lambda f, p: resigned(f, p, principal="taro@example.com,mika@example.com"), NOBODYS),
    "with an option for a name": (lambda f, p: resigned(f, p, principal="-Oprint-pubkey"), NOBODYS),
    "with no name in the record": (lambda f, p: without(signed(f, p, "taro"), "principal"), "names nobody"),
    "with no times in the record": (lambda f, p: without(signed(f, p, "taro"), "signed_at", "expires_at"), "no times"),
    "with a number for a plan": (lambda f, p: {**signed(f, p, "taro").as_data(), "plan": 1}, NOT_THIS),
}  # fmt: skip


def flipped(folder, plan):
    head, first, *rest = signed(folder, plan, "taro").signature.splitlines(keepends=True)
    at = len(first) - 10
    return "".join([head, first, rest[0][:at] + ("A" if rest[0][at] != "A" else "B") + rest[0][at + 1 :], *rest[1:]])


def at(**ago):
    return (NOW - timedelta(**ago)).isoformat()


EVIDENCE = {
    "of another tree": ({"tree": "b" * 64}, "of another tree"),
    "of the tree's name in capitals": ({"tree": TREE.upper()}, "of another tree"),
    "of the beginning of the tree's name": ({"tree": TREE[:16]}, "of another tree"),
    "of another manifest": ({"config": "d" * 64}, "of another manifest"),
    "of no manifest": ({"config": ""}, "of another manifest"),
    "that failed": ({"outcome": "failed"}, "failed"),
    "that went well in other words": ({"outcome": "OK"}, "failed"),
    "of a level that nobody knows": ({"level": "every"}, "no known level"),
    "of yesterday": ({"at": at(hours=25)}, "h old"),
    "from the future": ({"at": at(hours=-3)}, "from the future"),
    "at a time without an offset": ({"at": "2026-11-29T03:00:00"}, "no time that can be read"),
    "at no time": ({"at": "today"}, "no time that can be read"),
    "with no time in the record": ({"at": None}, "no time that can be read"),
    "with nothing in the record": (dict.fromkeys(("level", "tree", "config", "outcome", "at", "pending")), "another tree"),
}  # fmt: skip

EVENT = "dodai.control_event"
LAST = f"(SELECT max(seq) FROM {EVENT})"
JOURNAL = {
    "a name in an approval": f"UPDATE {EVENT} SET data = replace(data, 'eve@', 'mika@') WHERE kind = 'approved'",
    "a time in a rehearsal": f"UPDATE {EVENT} SET data = replace(data, '202', '302') WHERE kind = 'rehearsed'",
    "a refusal into an admission": f"UPDATE {EVENT} SET kind = 'admitted' WHERE seq = {LAST}",
    "a record that is gone": f"DELETE FROM {EVENT} WHERE seq = {LAST}",
    "a record that was added": f"INSERT INTO {EVENT} SELECT env, seq + 1, plan_id, step_id, 'admitted', at, token, data,"
    f" hash, repeat('a', 64) FROM {EVENT} WHERE seq = {LAST}",
    "the gates in a request": "UPDATE dodai.control_plan SET request = replace(request, 'approvals', 'approval5')",
    "the steps of a plan": "UPDATE dodai.control_plan SET steps = '[]'",
    "the head that is remembered": "UPDATE dodai.control_head SET hash = repeat('a', 64)",
}


def test_more_than_forty_forgeries_are_tried():
    """Each is one of the three tests below; the number is what the plan asks for."""
    assert len(APPROVALS) + len(EVIDENCE) + len(JOURNAL) >= 40


async def test_forged_approval_counts_for_nothing_and_stops_nobody(gated, tmp_path):
    """One after the other, each with its reason; with all of them on record an honest one still lets the plan in."""
    yesterday, tomorrow = f"{NOW - timedelta(days=1):%Y%m%d}", f"{NOW + timedelta(days=1):%Y%m%d}"
    hana = signer(tmp_path, "hana").split()[1:]
    lines = [
        signer(tmp_path, "taro"), signer(tmp_path, "mika"), signer(tmp_path, "old", f'valid-before="{yesterday}"'),
        signer(tmp_path, "new", f'valid-after="{tomorrow}"'), signer(tmp_path, "git", 'namespaces="git,file"'),
        signer(tmp_path, "authority", "cert-authority"),
        " ".join(["hana@example.com,oncall@example.com", *hana]) + "\n", " ".join(["any*", *hana]) + "\n",
    ]  # fmt: skip
    gated.gates = Gates(evidence="source", approvals=1, signers="".join(lines))
    await gated.rehearsed()
    for name, (forge, why) in APPROVALS.items():
        forged = forge(tmp_path, gated.plan())
        await gated.state("approve", forged if isinstance(forged, dict) else forged.as_data())
        error = refusal(await gated.deploy())
        newest = [line for line in error.details if line.startswith("`")][-1]
        assert (error.code.id, gated.done, why in newest) == ("DOD369", [], True), (name, newest)
    await gated.state("approve", signed(tmp_path, gated.plan(), "mika").as_data())
    assert ((await gated.deploy()).exit_code, gated.done) == (0, ["r1"])


async def test_forged_evidence_proves_nothing_and_stops_nobody(gated):
    """The same for rehearsals that somebody writes down."""
    gated.gates = Gates(evidence="source")
    good = RehearsalRecord("source", TREE, CONFIG, "r1", "f" * 40, (), "ok", at(seconds=1)).as_data()
    for name, (changes, why) in EVIDENCE.items():
        await gated.state("rehearse", {k: v for k, v in {**good, **changes}.items() if v is not None})
        error = refusal(await gated.deploy())
        assert (error.code.id, gated.done, why in error.details[0]) == ("DOD257", [], True), (name, error.details)
    await gated.state("rehearse", {**good, "at": datetime.now(UTC).isoformat()})
    assert ((await gated.deploy()).exit_code, gated.done) == (0, ["r1"])


@pytest.mark.parametrize("forged", JOURNAL)
async def test_forged_journal_is_broken_and_nothing_is_let_in(gated, tmp_path, forged):
    """Written past every rule by the owner of the control database: exit 4 before a gate is asked."""
    gated.gates = Gates(evidence="source", approvals=1, signers=signer(tmp_path, "mika"))
    await gated.rehearsed()
    await gated.state("approve", signed(tmp_path, gated.plan(), "eve").as_data())
    refusal(await gated.deploy())
    with psycopg.connect(gated.place.dsn, autocommit=True) as connection:
        for table in (EVENT, "dodai.control_plan", "dodai.control_head"):
            connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER ALL")
        assert connection.execute(JOURNAL[forged]).rowcount > 0
    with pytest.raises(DodaiError) as caught:
        await gated.deploy()
    assert (caught.value.code.id in ("DOD353", "DOD375"), caught.value.exit_code, gated.done) == (True, 4, [])


async def test_gates_left_out_of_a_request_are_another_plan(gated, tmp_path):
    """What was signed for a plan with a gate is no signature of the same plan without one."""
    gated.gates = Gates(evidence="source", approvals=1, signers=signer(tmp_path, "mika"))
    weaker = replace(gated.gates, approval_age_s=1e9).as_text()
    assert gated.plan().hash != gated.plan(**{IN_FORCE: weaker}).hash
