"""Deploy, resume and status of real processes over a control database of its own: killed, paused, cut off."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import signal
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from tests.end_to_end.small_app import SmallApp, eventually
from tests.postgres_fixture import database, postgres  # noqa: F401

from dodai.wiring.local import LocalEnvironment
from dodai.wiring.project import Project

DRIVER = Path(__file__).with_name("killed_dodai.py")
STEPS = ("preflight", "secrets", "edge", "start-web", "switch-web", "smoke", "retire-web", "record")


@pytest.fixture
def app(tmp_path, database):  # noqa: F811
    small = SmallApp(tmp_path)
    write(small, database)
    yield small
    small.clear()


def write(small, dsn, spoil=""):
    small.write(spoil=spoil, environment=f"control_url = {json.dumps(dsn)}")


def driven(app, at, *words, with_signal="SIGKILL"):
    """The command in the background, hit by a signal as soon as its record `at` is durable."""
    environment = app.environment({"KILL_AT": at, "KILL_WITH": with_signal})
    environment["PYTHONPATH"] = str(DRIVER.parents[2])
    with (app.folder / "driven.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, str(DRIVER), *words], cwd=app.folder, env=environment, stdout=log, stderr=log,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip


def rows(dsn, query, *values):
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(query, values or None)
        return cursor.fetchall() if cursor.description else []


def web(app):
    """What the Host says about the service, asked without the price of a command."""
    host = LocalEnvironment.of(Project.find(app.folder / "dodai.toml"), "staging").host
    service = asyncio.run(host.status()).service("web")
    return dataclasses.asdict(service) if service else None


def test_deploy_killed_at_every_step_is_finished_by_resume(app, database):  # noqa: F811
    """One kill per step with real processes: the new release alone serves, recorded once, nothing left over."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    for number, step in enumerate(STEPS):
        write(app, database, spoil=f"# release {number}")
        kind = "intent" if step in ("preflight", "secrets", "edge") else "applying"
        killed = driven(app, f"{kind}:{step}", "deploy", "staging", "--yes")
        assert killed.wait(30) == -signal.SIGKILL, (step, (app.folder / "driven.log").read_text())
        resumed = app.run("resume", "staging", "--yes")
        assert resumed.returncode == 0, (step, resumed.stderr)
        newest = rows(
            database, "SELECT data FROM dodai.control_event WHERE kind = 'released' ORDER BY seq DESC LIMIT 1"
        )
        service = web(app)
        assert service["release"] == json.loads(newest[0][0])["release"], step
        assert [one["release"] for one in service["instances"]] == [service["release"]], step
    recorded = rows(
        database, "SELECT count(*), count(DISTINCT plan_id) FROM dodai.control_event WHERE kind = 'released'"
    )
    assert recorded == [(len(STEPS) + 1, len(STEPS) + 1)]
    assert "the audit log is whole" in app.run("history", "staging").stderr


def test_undo_of_a_killed_deploy_leaves_the_old_release(app, database):  # noqa: F811
    """`resume --undo` after a crash behind the switch: traffic is back, the new process is gone."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    good = web(app)["release"]
    write(app, database, spoil="# other")
    assert driven(app, "applied:switch-web", "deploy", "staging", "--yes").wait(30) == -signal.SIGKILL
    assert web(app)["release"] != good
    assert json.loads(app.run("status", "staging", "--json").stdout)["next"] == "dodai resume staging"
    refused = app.run("deploy", "staging", "--yes")
    assert (refused.returncode, "DOD355" in refused.stderr) == (1, True), refused.stderr
    undone = app.run("resume", "staging", "--undo", "--yes")
    assert undone.returncode == 0, undone.stderr
    assert [(one["release"], one["live"]) for one in web(app)["instances"]] == [(good, True)]


def test_paused_operator_is_replaced_and_changes_nothing_when_it_wakes(app, database):  # noqa: F811
    """SIGSTOP before the switch, its time runs out, a second person finishes, SIGCONT: exit 75, one release serves."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    write(app, database, spoil="# next")
    paused = driven(app, "applying:switch-web", "deploy", "staging", "--yes", with_signal="SIGSTOP")
    eventually(
        lambda: rows(
            database,
            "SELECT 1 FROM dodai.control_event WHERE kind = 'applying' AND step_id = 'switch-web' AND token = 2",
        )
    )
    eventually(lambda: Path(f"/proc/{paused.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    refused = app.run("resume", "staging", "--yes")
    assert refused.returncode == 75, refused.stderr
    assert "DOD350 environment-is-locked" in refused.stderr
    assert "lock:" in app.run("status", "staging").stdout
    rows(database, "UPDATE dodai.control_lease SET expires_at = clock_timestamp()")
    assert app.run("resume", "staging", "--yes").returncode == 0
    before = rows(database, "SELECT max(seq) FROM dodai.control_event")
    paused.send_signal(signal.SIGCONT)
    assert paused.wait(30) == 75, (app.folder / "driven.log").read_text()
    assert rows(database, "SELECT max(seq) FROM dodai.control_event") == before
    assert len(web(app)["instances"]) == 1


def test_without_its_control_database_nothing_is_started_and_status_still_answers(app, database):  # noqa: F811
    """Refused before the first change; the person on call sees what runs and what cannot be asked."""
    assert app.run("deploy", "staging", "--yes").returncode == 0
    release = web(app)["release"]
    write(app, "postgresql://hana:s3cret@127.0.0.1:1/dodai", spoil="# next")
    failed = app.run("deploy", "staging", "--yes")
    assert failed.returncode == 1
    assert "DOD376 control-database-unavailable" in failed.stderr
    assert "s3cret" not in failed.stderr
    told = app.run("status", "staging")
    assert told.returncode == 0
    assert "problem:" in told.stdout
    assert [one["release"] for one in web(app)["instances"]] == [release]


def test_no_secret_reaches_journal_or_copy(app, database):  # noqa: F811
    """Digests only: the values of the environment's secrets are in no record and in no file but their own."""
    manifest = app.folder / "dodai.toml"
    manifest.write_text(manifest.read_text() + '[secret.SESSION_SECRET]\nused_by = ["web"]\n')
    assert app.run("deploy", "staging", "--yes").returncode == 0
    folder = app.folder / ".dodai" / "env" / "staging"
    values = json.loads((folder / "secrets.json").read_text())
    assert "SESSION_SECRET" in values
    told = app.run("releases", "staging", "--json").stdout
    assert set(values) == set(json.loads(told)["releases"][0]["secretDigests"])
    kept = str(rows(database, "SELECT data FROM dodai.control_event")) + told
    kept += str(rows(database, "SELECT request FROM dodai.control_plan"))
    copies = b"".join(path.read_bytes() for path in folder.glob("journal.sqlite*"))
    for value in values.values():
        secret = value.partition(":")[2] or value
        assert secret not in kept
        assert secret.encode() not in copies
