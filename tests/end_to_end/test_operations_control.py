"""Deploy, resume and status of real processes over a control database of its own: killed, paused, cut off."""

from __future__ import annotations

import json
import signal
from dataclasses import replace
from pathlib import Path

import pytest
from tests.end_to_end.controlled_app import REAL_STORIES, ControlledApp, RealMatrix
from tests.levels import part
from tests.support.proposed import carry_out
from tests.support.wait import until

from dodai.core import proposal


@pytest.fixture
def app(tmp_path, database):
    small = ControlledApp(tmp_path, database)
    small.release("the first")
    yield small
    small.clear()


STRIDE = 6
"""Every record is a kill point in tests/engine/test_kill.py, one of some in tests/operations/test_kill_matrix.py; here
real processes take each sixth step, others at another commit, and each story begins at another one."""


@pytest.mark.parametrize("name", ["deploy", "rollback", "resume", "resume --undo"])
def test_command_killed_at_a_step_ends_like_one_in_peace(name, app):
    """With real processes: one release serves alone, recorded once, started once, the log whole."""
    matrix = RealMatrix(app)
    story = next(story for story in REAL_STORIES if story.name == name)
    for at in part(one_per_step(matrix.points(story)), STRIDE, name):
        matrix.kill(story, at)
    assert matrix.bad == []
    assert "the audit log is whole" in app.run("history", "staging").stderr


def one_per_step(points):
    """The point right behind `applying` or `undoing`, or the last one of a step that has nothing to do."""
    chosen = {}
    for point in points:
        step = point.rpartition(":")[2]
        if step and not chosen.get(step, "before").startswith(("applying", "undoing")):
            chosen[step] = point
    assert len(chosen) > 1
    return list(chosen.values())


def test_undo_of_a_killed_deploy_leaves_the_old_release(app):
    """`resume --undo` after a crash behind the switch: traffic is back, the new process is gone."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    good = app.web()["release"]
    app.release("other")
    app.killed("applied:switch-web", "deploy", "staging", "--yes")
    carry_out(app.run("doctor", "staging").stdout, proposal.STATUS, cwd=app.folder, env="staging")
    assert app.web()["release"] != good
    assert json.loads(app.run("status", "staging", "--json").stdout)["next"] == "dodai resume staging"
    refused = app.run("deploy", "staging", "--yes")
    assert (refused.returncode, "DOD355" in refused.stderr) == (1, True), refused.stderr
    undone = app.run("resume", "staging", "--undo", "--yes")
    assert undone.returncode == 0, undone.stderr
    assert [(one["release"], one["live"]) for one in app.web()["instances"]] == [(good, True)]


def test_paused_operator_is_replaced_and_changes_nothing_when_it_wakes(app):
    """SIGSTOP before the switch, its time runs out, a second person finishes, SIGCONT: exit 75, one release serves."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    app.release("next")
    paused = app.driven("applying:switch-web", "deploy", "staging", "--yes", with_signal="SIGSTOP")
    until(
        lambda: app.rows(
            "SELECT 1 FROM dodai.control_event WHERE kind = 'applying' AND step_id = 'switch-web' AND token = 2",
        )
    )
    until(lambda: Path(f"/proc/{paused.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    refused = app.run("resume", "staging", "--yes")
    assert refused.returncode == 75, refused.stderr
    assert "DOD350 environment-is-locked" in refused.stderr
    assert "lock:" in app.run("status", "staging").stdout
    app.rows("UPDATE dodai.control_lease SET expires_at = clock_timestamp()")
    assert app.run("resume", "staging", "--yes").returncode == 0
    before = app.rows("SELECT max(seq) FROM dodai.control_event")
    paused.send_signal(signal.SIGCONT)
    assert paused.wait(30) == 75, (app.folder / "driven.log").read_text()
    assert app.rows("SELECT max(seq) FROM dodai.control_event") == before
    assert len(app.web()["instances"]) == 1


def test_without_its_control_database_nothing_is_started_and_status_still_answers(app):
    """Refused before the first change; the person on call sees what runs and what cannot be asked."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    release = app.web()["release"]
    replace(app, dsn="postgresql://hana:s3cret@127.0.0.1:1/dodai").release("next")
    failed = app.run("deploy", "staging", "--yes")
    assert failed.returncode == 1
    assert "DOD376 control-database-unavailable" in failed.stderr
    assert "s3cret" not in failed.stderr
    told = app.run("status", "staging")
    assert told.returncode == 4
    assert "problem:" in told.stdout
    assert "lock:       unknown" in told.stdout
    assert "next:       bring it back, or correct `control_url`" in told.stdout
    assert [one["release"] for one in app.web()["instances"]] == [release]


def test_without_a_readable_copy_status_answers_and_one_command_makes_it_anew(app):
    """Garbage in the file beside the control database: exit 4 with the command that fixes it, and it does."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    copy = app.folder / ".dodai" / "env" / "staging" / "journal.sqlite"
    copy.write_bytes(b"rubbish" * 1000)
    app.release("next")
    failed = app.run("deploy", "staging", "--yes")
    assert (failed.returncode, "DOD353" in failed.stderr) == (4, True), failed.stderr
    told = app.run("status", "staging")
    assert told.returncode == 4
    assert "next:       `dodai resume staging --trust database`" in told.stdout
    carry_out(told.stdout, proposal.TRUST_DATABASE, cwd=app.folder, env="staging", more=["--yes"])
    assert copy.with_name("journal.sqlite").stat().st_size > 0
    assert app.run("deploy", "staging", "--yes").returncode == 0
    assert "next:       nothing to do" in app.run("status", "staging").stdout
    cut = "DELETE FROM dodai.control_event WHERE seq > (SELECT max(seq) - 3 FROM dodai.control_event)"
    app.rows(f"SET session_replication_role = replica; {cut}")  # as a restore of the control database leaves it
    told = app.run("deploy", "staging", "--yes")
    assert "DOD375" in told.stderr, told.stderr
    carry_out(told.stderr, proposal.TRUST_COPY, cwd=app.folder, env="staging", more=["--yes"])


def test_no_secret_reaches_journal_or_copy(app):
    """Digests only: the values of the environment's secrets are in no record and in no file but their own."""
    manifest = app.folder / "dodai.toml"
    manifest.write_text(manifest.read_text() + '[secret.SESSION_SECRET]\nused_by = ["web"]\n')
    assert app.run("deploy", "staging", "--yes").returncode == 0
    folder = app.folder / ".dodai" / "env" / "staging"
    values = json.loads((folder / "secrets.json").read_text())
    assert "SESSION_SECRET" in values
    told = app.run("releases", "staging", "--json").stdout
    assert set(values) == set(json.loads(told)["releases"][0]["secretDigests"])
    kept = str(app.rows("SELECT data FROM dodai.control_event")) + told
    kept += str(app.rows("SELECT request FROM dodai.control_plan"))
    copies = b"".join(path.read_bytes() for path in folder.glob("journal.sqlite*"))
    for value in values.values():
        secret = value.partition(":")[2] or value
        assert secret not in kept
        assert secret.encode() not in copies


def test_address_of_the_control_database_is_a_secret_and_its_absence_stops_nobody_who_says_why(app, database):
    """`secret:CONTROL`; without its value nothing changes but a `down` with a reason, on record as soon as that can be."""
    app.write(environment='control_url = "secret:CONTROL"')
    assert app.run("deploy", "staging", "--yes", CONTROL=database).returncode == 0
    assert database not in "".join(str(row) for row in app.rows("SELECT manifest, request FROM dodai.control_plan"))
    for words, code in ((("deploy", "staging", "--yes"), 1), (("status", "staging"), 4), (("down", "staging"), 1)):
        told = app.run(*words)
        assert told.returncode == code, told.stderr
        assert "the secret `CONTROL`, which has no value here" in told.stdout + told.stderr
    assert "`dodai down staging --break-glass REASON`" in told.stderr
    assert "small app starts" in app.run("logs", "staging").stdout
    stopped = app.run("down", "staging", "--yes", "--break-glass", "it sends wrong bills")
    assert (stopped.returncode, "not on record yet" in stopped.stdout) == (0, True), stopped.stderr
    assert not app.processes()
    assert app.run("restart", "staging", "--yes", CONTROL=database).returncode == 0
    plans = json.loads(app.run("history", "staging", "--json", CONTROL=database).stdout)["plans"]
    (glass,) = [plan["statement"] for plan in plans if plan["kind"] == "break-glass"]
    assert glass["reason"].startswith("it sends wrong bills (by ")
    assert glass["command"] == "dodai down staging"
