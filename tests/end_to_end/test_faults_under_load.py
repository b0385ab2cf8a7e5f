"""The local rows of the fault table: a release is changed, something breaks, and nobody who asks meanwhile notices."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from tests.end_to_end.controlled_app import ControlledApp
from tests.end_to_end.visitors import visitors
from tests.support.command import argv, clean_environment
from tests.support.wait import until

from dodai.providers.local.host.state import StateFolder, is_watched
from dodai.providers.postgres.durable import durable

FLAPPING = """
class Flapping(Page):
    asked = 0

    def do_GET(self):
        global READY
        if self.path == "/readyz":
            Flapping.asked += 1
            READY = Flapping.asked % 2 == 0
        super().do_GET()
        READY = True

Page = Flapping
"""
BAD = {
    "exits at boot": ('print("no vault", flush=True); sys.exit(3)', "DOD387", "exited with code 3", "no vault"),
    "never healthy": ("READY = False", "DOD387", "answered 503", "small app starts"),
    "wrong version": ('VERSION = "r0"', "DOD388", "healthy as `r0`", ""),
    "health flaps": (FLAPPING, "DOD387", "is not ready", "small app starts"),
}
MIGRATED = """
[database]
used_by = ["web"]
[migrations]
folder = "db/migrations"
lock_timeout = "200ms"
lock_patience = "2s"
"""


@pytest.fixture
def app(tmp_path, database):
    """A first release serves; its lock and journal are in a control database."""
    small = ControlledApp(tmp_path, database)
    small.release("the first")
    assert small.run("deploy", "staging", "--yes").returncode == 0
    yield small
    small.clear()


def stopped_at(app, at, *words):
    """The command, paused right behind its record `at`."""
    process = app.driven(at, *words, with_signal="SIGSTOP")
    until(lambda: Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T")
    return process


def driven_log(app):
    return (app.folder / "driven.log").read_text()


@pytest.mark.parametrize("kind", BAD)
def test_bad_release_is_undone_with_reason_and_log_while_everybody_is_served(kind, app):
    """Exit 3, everything restored, why, and the end of what the release itself said."""
    spoil, code, reason, said = BAD[kind]
    good = app.web()["release"]
    app.write(spoil=spoil, environment=f"control_url = {json.dumps(app.dsn)}")
    manifest = app.folder / "dodai.toml"
    manifest.write_text(manifest.read_text().replace("consecutive = 1", "consecutive = 3"))
    with visitors(app) as seen:
        failed = app.run("deploy", "staging", "--yes")
    assert failed.returncode == 3, failed.stderr
    assert "failed and everything was restored" in failed.stderr
    assert code in failed.stderr
    assert reason in failed.stderr
    assert (f"web | {said}" in failed.stderr) or not said
    assert app.serving() == [(good, True)]
    assert seen.failed == []


def test_signal_in_each_step_ends_in_a_known_state_while_everybody_is_served(app):
    """SIGTERM and SIGINT: before the point of no return all is taken back, behind it `resume` has one thing to finish."""
    points = ["intent:preflight", "intent:secrets", "intent:edge", "applying:start-web", "applying:switch-web"]
    points += ["applying:smoke", "applying:retire-web"]
    with visitors(app) as seen:
        for number, at in enumerate(points):
            old, name = app.web()["release"], ("SIGTERM", "SIGINT")[number % 2]
            app.release(f"interrupted at {at}")
            code = app.driven(at, "deploy", "staging", "--yes", with_signal=name).wait(60)
            assert code == {"SIGTERM": 143, "SIGINT": 130}[name], driven_log(app)
            if at == "applying:retire-web":
                assert "next: `dodai resume staging`" in driven_log(app)
                assert app.run("resume", "staging", "--yes").returncode == 0
                old = app.newest().release
            assert app.serving() == [(old, True)], at
            assert app.run("resume", "staging", "--yes").returncode == 1  # nothing is unfinished, the lock is free
    assert seen.failed == []


def test_control_database_that_goes_away_in_the_middle_stops_the_deploy_and_nobody_else(tmp_path):
    """Exit 4 with what to do; when it is back, `resume` finishes, once."""
    folder, app = tmp_path / "app", None
    folder.mkdir()
    try:
        with durable(tmp_path / "control") as cluster:
            app = ControlledApp(folder, cluster.dsn(tcp=True))
            app.release("the first")
            assert app.run("deploy", "staging", "--yes").returncode == 0
            app.release("the second")
            deploying = stopped_at(app, "applying:start-web", "deploy", "staging", "--yes")
        with visitors(app) as seen:
            deploying.send_signal(signal.SIGCONT)
            assert deploying.wait(60) == 4, driven_log(app)
            assert "DOD376 control-database-unavailable" in driven_log(app)
            assert "next: `dodai resume staging`" in driven_log(app)
            assert app.run("deploy", "staging", "--yes").returncode == 1
            with durable(tmp_path / "control", port=cluster.port):
                ended = app.run("resume", "staging", "--yes")
                assert ended.returncode == 0, ended.stderr
                assert app.newest().recorded == 1
                assert app.serving() == [(app.newest().release, True)]
                assert "the audit log is whole" in app.run("history", "staging").stderr
        assert seen.failed == []
    finally:
        if app:
            app.clear()


def test_paused_holder_is_replaced_under_load_and_a_second_one_is_told_who_it_is(app):
    """75 with holder and time of takeover while it may still wake; after that the other finishes, it changes nothing."""
    app.release("next")
    with visitors(app) as seen:
        paused = stopped_at(app, "applying:switch-web", "deploy", "staging", "--yes")
        refused = app.run("resume", "staging", "--yes")
        assert refused.returncode == 75
        assert "has held the lock on `staging` for" in refused.stderr
        assert "may be taken over in" in refused.stderr
        app.rows("UPDATE dodai.control_lease SET expires_at = clock_timestamp()")
        assert app.run("resume", "staging", "--yes").returncode == 0
        before = app.rows("SELECT max(seq) FROM dodai.control_event")
        paused.send_signal(signal.SIGCONT)
        assert paused.wait(60) == 75, driven_log(app)
    assert app.rows("SELECT max(seq) FROM dodai.control_event") == before
    assert app.serving() == [(app.newest().release, True)]
    assert seen.failed == []


def test_disk_that_fills_up_in_the_middle_stops_the_deploy_and_resume_finishes_it(app):
    """No file may grow any more: exit 4, nothing further is changed; with room again it ends as it should."""
    app.release("next")
    with visitors(app) as seen:
        deploying = stopped_at(app, "applying:start-web", "deploy", "staging", "--yes")
        resource.prlimit(deploying.pid, resource.RLIMIT_FSIZE, (1, 1))
        deploying.send_signal(signal.SIGCONT)
        assert deploying.wait(60) == 4
        assert app.newest().state == ""
        assert app.run("resume", "staging", "--yes").returncode == 0
    assert app.newest()[1:3] == ("ok", 1)
    assert app.serving() == [(app.newest().release, True)]
    assert seen.failed == []


def test_disk_that_is_full_is_refused_before_the_first_change(app):
    """A release that is there already, so nothing but the journal has to be written: exit 1, nothing to resume."""
    release = app.web()["release"]

    def full():
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    refused = subprocess.run(
        argv("deploy", "staging", release, "--yes"), cwd=app.folder, env=clean_environment(), preexec_fn=full,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (refused.returncode, "DOD352 journal-not-writable" in refused.stderr) == (1, True), refused.stderr
    assert app.run("resume", "staging", "--yes").returncode == 1


def test_terminal_that_is_gone_and_everybody_to_be_told_with_it_does_not_fail_a_deploy(app):
    """Nobody reads stderr any more, so neither progress nor the notice can be said: the release serves all the same."""
    app.release("next")
    reading, writing = os.pipe()
    os.close(reading)

    def unheard(*words):
        return subprocess.run(
            argv(*words), cwd=app.folder, env=clean_environment(), stdout=writing,
            stderr=writing, stdin=subprocess.DEVNULL, timeout=60, check=False,
        ).returncode  # fmt: skip

    with visitors(app) as seen:
        assert unheard("deploy", "staging", "--yes") == 0
        assert unheard("resume", "staging", "--yes") == 1  # a failure stays one: nothing is unfinished
        assert unheard("resume", "staging", "--yes", "--json") == 1
    os.close(writing)
    assert app.newest()[1:3] == ("ok", 1)
    assert app.serving() == [(app.newest().release, True)]
    assert seen.failed == []


def test_release_whose_files_are_gone_is_refused_before_the_first_change(app):
    """What cannot be started cannot be gone back to: exit 1, and the present release goes on."""
    first = app.web()["release"]
    app.release("next")
    assert app.run("deploy", "staging", "--yes").returncode == 0
    shutil.rmtree(app.folder / ".dodai" / "env" / "staging" / "releases" / first)
    with visitors(app) as seen:
        refused = app.run("rollback", "staging", "--yes")
    assert (refused.returncode, "DOD396 no-such-release-tree" in refused.stderr) == (1, True), refused.stderr
    assert app.serving() == [(app.newest().release, True)]
    assert seen.failed == []


def migrated(app, *statements):
    """The tree with these migrations, each a file."""
    app.write(
        spoil=f"# {len(statements)} migrations", environment=f"control_url = {json.dumps(app.dsn)}", more=MIGRATED
    )
    folder = app.folder / "db" / "migrations"
    folder.mkdir(parents=True, exist_ok=True)
    for number, statement in enumerate(statements, 1):
        (folder / f"{number}_change.sql").write_text(f"-- +goose Up\n{statement}\n-- +goose Down\nSELECT 1;\n")


def test_long_transaction_in_the_way_of_a_migration_stops_the_deploy_and_names_its_pid(app):
    """Bounded wait, then everything is as before; when it has ended, the same command goes through. Nobody waits."""
    change = "ALTER TABLE note ADD COLUMN likes int;"
    migrated(app, "CREATE TABLE note (id int);")
    assert app.run("deploy", "staging", "--yes").returncode == 0
    good = app.web()["release"]
    url = json.loads((app.folder / ".dodai" / "env" / "staging" / "database.json").read_text())["direct"]
    migrated(app, "CREATE TABLE note (id int);", change)
    with visitors(app) as seen, psycopg.connect(url) as long:
        long.execute("SELECT * FROM note")
        failed = app.run("deploy", "staging", "--yes")
        assert failed.returncode in (3, 4), failed.stderr
        assert str(long.info.backend_pid) in failed.stderr
        assert "lock" in failed.stderr
        assert app.serving() == [(good, True)]
        long.rollback()
        ended = app.run(*failed_next(failed), "--yes")
        assert ended.returncode == 0, ended.stderr
    assert app.newest()[1:3] == ("ok", 1)
    assert seen.failed == []


def failed_next(failed):
    """The command that the failure names as the next one."""
    line = next(line for line in failed.stderr.splitlines() if line.strip().startswith("next: `dodai "))
    return line.split("`")[1].split()[1:]


def test_migration_that_was_applied_before_the_journal_was_lost_is_not_applied_again(app):
    """Killed behind the migration, then both journals gone: the ledger says that it is there."""
    migrated(app, "CREATE TABLE note (id int);")
    with visitors(app) as seen:
        app.killed("before applied:migrate", "deploy", "staging", "--yes")
        app.rows("DROP SCHEMA dodai CASCADE")
        for path in (app.folder / ".dodai" / "env" / "staging").glob("journal.sqlite*"):
            path.unlink()
        again = app.run("deploy", "staging", "--yes")
    assert again.returncode == 0, again.stderr
    assert "already  migrate" in again.stderr
    assert app.serving() == [(app.newest().release, True)]
    assert seen.failed == []


def test_wrong_control_url_is_refused_and_nothing_is_started(app):
    """Somebody mistyped it: exit 1, the address is named, no host and no process more than before."""
    watched = app.folder / ".dodai" / "env" / "staging"
    until(lambda: is_watched(StateFolder(watched)))  # the launcher comes a moment after the deploy
    before = app.processes()
    replace(app, dsn="postgresql://hana@127.0.0.1:1/dodai").release("next")
    refused = app.run("deploy", "staging", "--yes")
    assert (refused.returncode, "127.0.0.1:1" in refused.stderr) == (1, True)
    assert app.processes() == before
