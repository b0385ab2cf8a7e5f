"""Rehearsals that a machine has to sign: who can write the journal makes none up, changes none, and moves none."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.end_to_end.protected_app import SIGNERS, ProtectedApp
from tests.operations.test_gate import CONFIG, TREE, gated, key, signer

from dodai.operations.approval import NAMESPACE as PLANS
from dodai.operations.evidence import NAMESPACE, RehearsalRecord
from dodai.operations.gates import Gates
from dodai.providers.local.signature import SshKeygen

__all__ = ["gated"]
FIX = "is not signed by a machine of `evidence_signers`"


def record(folder, env, *, name="ci", by="", namespace=NAMESPACE, **changes):
    """A rehearsal signed by `name`, or by the key of `by` in its name; `changes` are made after that."""
    at = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    plain = RehearsalRecord("source", TREE, CONFIG, "r1", "f" * 40, ("p",), "ok", at, signer=f"{name}@example.com")
    words = plain.signed(changes.pop("of", env)).message
    return replace(plain, signature=SshKeygen().sign(words, key(folder, by or name), namespace), **changes)


@pytest.fixture
def asked(gated, tmp_path):
    """An environment that knows the machine `ci`, and nobody else."""
    gated.gates = Gates(evidence="source", evidence_signers=signer(tmp_path, "ci"))
    return gated


async def test_rehearsal_that_a_known_machine_signed_counts(asked, tmp_path):
    """As it was written, read back from the journal."""
    await asked.state("rehearse", record(tmp_path, asked.env).as_data())
    outcome = await asked.deploy()
    assert (outcome.exit_code, asked.done) == (0, ["r1"]), outcome.error()


@pytest.mark.parametrize(
    "forged",
    [
        lambda f, e: replace(record(f, e), signer="", signature=""),
        lambda f, e: record(f, e, name="mallory"),
        lambda f, e: record(f, e, by="mallory"),
        lambda f, e: record(f, e, namespace=PLANS),
        lambda f, e: record(f, e, of="another"),
        lambda f, e: record(f, e, commit="0" * 40),
        lambda f, e: record(f, e, pending=("p", "q")),
        lambda f, e: record(f, e, at=(datetime.now(UTC) - timedelta(seconds=5)).isoformat()),
        lambda f, e: record(f, e, signer="ci@example.com mallory"),
        lambda f, e: record(f, e, signer="ci@example.com\n"),
        lambda f, e: replace(record(f, e), signature="署名"),
    ],
    ids=[
        "unsigned",
        "stranger",
        "other-key",
        "plan's",
        "other-env",
        "commit",
        "pending",
        "time",
        "two-names",
        "line",
        "words",
    ],
)
async def test_rehearsal_that_was_made_up_or_changed_counts_for_nothing(asked, tmp_path, forged):
    """It is in the journal, its chain is whole, and the deploy says why it does not count."""
    await asked.state("rehearse", forged(tmp_path, asked.env).as_data())
    error = (await asked.deploy()).error()
    assert (error.code.id, asked.done) == ("DOD257", [])
    assert FIX in " ".join(error.details)


def test_stricter_side_names_the_machines():
    """A release cannot bring the keys that its own evidence is signed with."""
    before, own = Gates(evidence="source", evidence_signers="theirs"), Gates(evidence="source", evidence_signers="mine")
    assert own.and_those_of(before).evidence_signers == "theirs"
    assert Gates(evidence="source").and_those_of(before).evidence_signers == "theirs"
    assert own.and_those_of(Gates(evidence="source")).evidence_signers == "mine"
    assert Gates.from_text(own.as_text()) == own


def test_rehearsal_is_refused_before_it_begins_where_it_could_not_be_signed(tmp_path, database):
    """Without a key, with one that nobody knows, with a file that names none."""
    folder = tmp_path / "app"
    folder.mkdir()
    app = ProtectedApp(folder, database)
    app.signers("ci").write(protection=f'approvals = 0\nevidence_signers = "{SIGNERS}"')
    app.commit()
    for words, said in (
        ((), "add `--key FILE`"),
        (("--key", str(app.key("mallory"))), "is none of `evidence_signers`"),
    ):
        done = app.run("rehearse", "--record", "staging", *words)
        assert (done.returncode, "DOD257" in done.stderr, said in done.stderr) == (1, True, True), done.stderr
    (folder / SIGNERS).write_text("\n")
    app.commit()
    done = app.run("rehearse", "--record", "staging", "--key", str(app.key("ci")))
    assert (done.returncode, "DOD341" in done.stderr, "is empty" in done.stderr) == (2, True, True), done.stderr
