"""A protected environment with real commands: no evidence, a dirty tree, nobody's signature; then all of them."""

from __future__ import annotations

import json

import pytest
from tests.end_to_end.protected_app import SIGNERS, ProtectedApp
from tests.support.proposed import carry_out

from dodai.core import proposal

APPROVED = f'allowed_signers = "{SIGNERS}"'
WITH_DATABASE = '[database]\nused_by = ["web"]\n'
FIRST = "-- +goose Up\nCREATE TABLE a (b int);\n-- +goose Down\nDROP TABLE a;\n"


@pytest.fixture
def app(tmp_path, database):
    folder = tmp_path / "app"
    folder.mkdir()
    made = ProtectedApp(folder, database)
    yield made
    made.clear()


def refused(done, code, *said):
    assert (done.returncode, code in done.stderr) == (1, True), done.stderr
    assert all(words in done.stderr for words in said), done.stderr


def test_deploy_needs_evidence_and_a_signature_and_history_says_who_gave_them(app):
    """Refused until both are there; afterwards the log names commit, signer and key."""
    app.signers("hana").write(protection=APPROVED).commit()
    unproven = app.run("deploy", "staging", "--yes")
    refused(unproven, "DOD257")
    carry_out(unproven.stderr, proposal.REHEARSE_RECORD, cwd=app.folder, env="staging")
    unsigned = app.run("deploy", "staging", "--yes")
    refused(unsigned, "DOD369", "lacks 1 of 1 approvals")
    plan = app.refused_plan()
    refused(
        app.run("approve", plan, "--key", str(app.key("eve")), "--yes"), "DOD369", "does not stand in `allowed_signers`"
    )
    refused(
        app.run("approve", plan, "--key", str(app.key("eve")), "--yes", "--as", "hana@example.com"),
        "DOD369",
        "may not sign",
    )
    signing = ["--key", str(app.key("hana")), "--json", "--yes"]
    signed = carry_out(unsigned.stderr, proposal.APPROVE, cwd=app.folder, plan=plan, more=signing)
    assert json.loads(signed.stdout)["principal"] == "hana@example.com", signed.stderr
    assert f"  commit      {app.git('rev-parse', 'HEAD')}\n" in signed.stderr
    assert "  release     web: nothing -> " in signed.stderr
    unasked = app.run("approve", plan, "--key", str(app.key("hana")))
    assert (unasked.returncode, "DOD052" in unasked.stderr) == (2, True), unasked.stderr
    done = app.run("deploy", "staging", "--yes")
    assert done.returncode == 0, done.stderr
    told = app.run("history", "staging").stdout
    assert "approved by hana@example.com (SHA256:" in told
    assert "rehearsal rehearse-" in told
    assert "level source, commit " in told
    newest = json.loads(app.run("history", "staging", "--json").stdout)["plans"][0]
    assert set(newest["admittedBy"]) == {"evidence", "approvals"}
    # The release in service keeps its gate: taking `protected` out of the manifest takes nothing away.
    app.write(protected=False, spoil="# quietly").commit()
    refused(app.run("deploy", "staging", "--yes"), "DOD257")


def test_rollback_on_a_protected_environment_runs_what_was_in_service_and_nothing_else(app):
    """Going back needs no gate; a file of the old release that somebody changed meanwhile is noticed."""
    app.write().commit()
    app.evidence()
    assert app.run("deploy", "staging", "--yes").returncode == 0
    old = json.loads(app.run("releases", "staging", "--json").stdout)["releases"][0]["release"]
    app.write(spoil="# two").commit()
    app.evidence()
    assert app.run("deploy", "staging", "--yes").returncode == 0
    file = app.folder / ".dodai" / "env" / "staging" / "releases" / old / "tree" / "web.py"
    good = file.read_text()
    file.write_text(good + "\n# quietly\n")
    refused(app.run("rollback", "staging", "--yes"), "DOD366", "`web.py` was changed")
    file.write_text(good)
    back = app.run("rollback", "staging", "--yes")
    assert back.returncode == 0, back.stderr
    # The release that came back is protected as the one before it was.
    app.write(protected=False, spoil="# three").commit()
    refused(app.run("deploy", "staging", "--yes"), "DOD257")


def test_who_deploys_cannot_approve_and_a_changed_tree_needs_a_new_approval(app, tmp_path):
    """The key may sign, its owner is the one who asked; and what was approved is this plan only."""
    from tests.end_to_end.protected_app import account

    app.signers(account(), "hana").write(protection=APPROVED).commit()
    app.evidence()
    refused(app.run("deploy", "staging", "--yes"), "DOD369")
    plan = app.refused_plan()
    refused(app.run("approve", plan, "--key", str(app.key(account())), "--yes"), "DOD369", "is who deploys")
    assert app.run("approve", plan, "--key", str(app.key("hana")), "--yes").returncode == 0
    app.write(protection=APPROVED, spoil="# another").commit()
    app.evidence()
    refused(app.run("deploy", "staging", "--yes"), "DOD369", "is for the plan")
    assert app.run("approve", "deploy-nothing").returncode == 2


def test_dirty_tree_gives_no_evidence(app):
    """Before a second is spent on it: changed, new or hidden files, no git at all."""
    app.write()
    refused(app.run("rehearse", "--record", "staging"), "DOD257", "no commit")
    app.commit()
    (app.folder / "new.py").write_text("x = 1\n")
    refused(app.run("rehearse", "--record", "staging"), "DOD257", "not committed")
    app.git("config", "status.showUntrackedFiles", "no")
    refused(app.run("rehearse", "--record", "staging"), "DOD257", "not committed")
    (app.folder / "new.py").unlink()
    app.git("config", "core.fileMode", "false")
    (app.folder / "web.py").chmod(0o755)
    refused(app.run("rehearse", "--record", "staging"), "DOD257", "not committed")
    (app.folder / "web.py").chmod(0o644)
    app.git("update-index", "--assume-unchanged", "web.py")
    (app.folder / "web.py").write_text("x = 1\n")
    refused(app.run("rehearse", "--record", "staging"), "DOD257", "hidden from `git status`")
    assert not (app.folder / ".dodai" / "rehearsals").exists()
    assert app.run("rehearse", "--record", "staging", "--only", "x").returncode == 2


def test_frozen_environment_is_opened_by_a_reason_that_is_recorded(app):
    """The end of the window is named; a rollback needs no reason."""
    freeze = 'freeze = ["2020-01-01T00:00/2099-01-01T00:00 Asia/Tokyo"]'
    app.write(protection=freeze, protected=False)
    refused(app.run("deploy", "staging", "--yes"), "DOD360", "until 2099-01-01T00:00+09:00")
    assert app.run("deploy", "staging", "--yes", "--break-glass", " ").returncode == 2
    assert app.run("deploy", "staging", "--yes", "--break-glass", "payments are down").returncode == 0
    app.write(protection=freeze, protected=False, spoil="# two")
    assert app.run("deploy", "staging", "--yes", "--break-glass", "again").returncode == 0
    back = app.run("rollback", "staging", "--yes")
    assert back.returncode == 0, back.stderr
    assert "break-glass: payments are down" in app.run("history", "staging").stdout


def test_going_back_to_older_data_needs_a_signature(app):
    """A rollback alone may always run; one that puts a restore point back is approved like a deploy.

    Whoever approves is shown which locks the migrations take, or why nobody knows.
    """
    folder = app.folder / "db" / "migrations"
    folder.mkdir(parents=True)
    app.signers("hana")
    for number, table in enumerate("ac", 1):
        made = FIRST.replace("TABLE a", f"TABLE {table}")
        more = {"a": "", "c": "ALTER TABLE a ADD COLUMN c int;\nCREATE INDEX ON a (c);\n"}[table]
        (folder / f"0000{number}_{table}.sql").write_text(made.replace("-- +goose Down\n", f"{more}-- +goose Down\n"))
        app.write(more=WITH_DATABASE, protection=APPROVED, spoil=f"# {number}").commit()
        app.evidence()
        refused(app.run("deploy", "staging", "--yes"), "DOD369")
        shown = app.approve("hana")
        done = app.run("deploy", "staging", "--yes")
        assert done.returncode == 0, done.stderr
    taken = [line.split(None, 1)[1] for line in shown.splitlines() if line.startswith("  locks  ")]
    assert taken == [
        "db/migrations/00002_c.sql:3: AccessExclusiveLock on public.a, keeps writers out",
        "db/migrations/00002_c.sql:4: AccessExclusiveLock on public.a, keeps writers out, reads it as a whole",
    ]
    told = json.loads(app.run("releases", "staging", "--json").stdout)
    back = ("rollback", "staging", told["releases"][1]["release"], "--restore", told["restorePoints"][0], "--yes")
    refused(app.run(*back), "DOD369", "lacks 1 of 1 approvals")
    app.approve("hana", "restore")
    done = app.run(*back)
    assert done.returncode == 0, done.stderr
    assert app.run("history", "staging").stdout.count("approved by hana@example.com") == 3


def test_protection_that_rests_on_nothing_is_refused(app):
    """Exit 2: no signers named, or a file that is not there."""
    app.write(protection="").commit()
    done = app.run("deploy", "staging", "--yes")
    assert (done.returncode, "DOD341" in done.stderr) == (2, True), done.stderr
    app.write(protection=APPROVED).commit()
    done = app.run("deploy", "staging", "--yes")
    assert (done.returncode, "DOD341" in done.stderr) == (2, True), done.stderr


def test_migrations_of_a_protected_environment_go_through_the_same_gate(app):
    """Pending files need a rehearsal of exactly these, on a copy once there is data; down needs a reason."""
    folder = app.folder / "db" / "migrations"
    folder.mkdir(parents=True)
    (folder / "00001_a.sql").write_text(FIRST)
    app.write(more=WITH_DATABASE).commit()
    refused(app.run("deploy", "staging", "--yes"), "DOD257")
    app.record()
    first = app.run("deploy", "staging", "--yes")
    assert first.returncode == 0, first.stderr
    assert "migration-evidence" in first.stderr
    (folder / "00002_c.sql").write_text(FIRST.replace("TABLE a", "TABLE c"))
    app.commit()
    refused(app.run("migrate", "up", "--env", "staging"), "DOD257")
    app.record()
    (folder / "00003_d.sql").write_text(FIRST.replace("TABLE a", "TABLE d"))
    refused(app.run("migrate", "up", "--env", "staging"), "DOD257")
    (folder / "00003_d.sql").unlink()
    # The URL alone is no way around the gate, whatever environment is named.
    url = json.loads((app.folder / ".dodai/env/staging/database.json").read_text())["direct"]
    others = (("adopt", "--yes"), ("repair", "00001", "--reason", "typo", "--yes"))
    for words in (("up",), ("down", "--yes"), *others):
        refused(app.run("migrate", *words, DATABASE_URL=url), "DOD264", "give `--env staging`")
    done = app.run("migrate", "up", "--env", "staging")
    assert (done.returncode, "00002_c.sql" in done.stdout) == (0, True), done.stderr
    refused(app.run("migrate", "down", "--env", "staging", "--yes"), "DOD256")
    done = app.run("migrate", "down", "--env", "staging", "--yes", "--break-glass", "c locks everybody out")
    assert done.returncode == 0, done.stderr
    told = app.run("history", "staging").stdout
    assert "break-glass: c locks everybody out (dodai migrate down" in told
    (folder / "00001_a.sql").write_text(FIRST.replace("b int", "b bigint"))
    done = app.run("migrate", "repair", "1", "--env", "staging", "--reason", "same on disk", "--yes")
    assert done.returncode == 0, done.stderr
    assert "same on disk (dodai migrate repair 1" in app.run("history", "staging").stdout
