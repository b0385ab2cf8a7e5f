"""What a message proposes is carried out where it proposes it, and works: states of an environment, one after another."""

from __future__ import annotations

import os
import signal

import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.support.proposed import carry_out
from tests.support.wait import until

from dodai.core import proposal

YES = ("--yes",)
UNREADY_LATER = """
import threading, pathlib
def spoil():
    global READY
    READY = not pathlib.Path("{mark}").exists()
    threading.Timer(0.05, spoil).start()
spoil()
"""


@pytest.fixture
def app(tmp_path):
    small = HostedApp(tmp_path).write()
    yield small
    small.clear()


def refused(app, *words):
    done = app.run(*words)
    assert done.returncode != 0, done.stdout
    return done.stderr


def test_before_and_after_the_first_release(app):
    """Nothing deployed, nothing unfinished, nothing to go back to, a word that is no release, and what was stopped."""
    said = app.run("status", "staging").stdout
    assert proposal.DEPLOY(env="staging") in refused(app, "rollback", "staging", "--yes")
    assert proposal.DEPLOY(env="staging") in refused(app, "restart", "staging", "--yes")
    carry_out(said, proposal.DEPLOY, cwd=app.folder, env="staging", more=YES)
    only = refused(app, "rollback", "staging", "--yes")
    assert "has no release before" in only
    carry_out(only, proposal.DEPLOY, cwd=app.folder, env="staging", more=YES)
    known = {"ENV": "staging"}
    carry_out(refused(app, "resume", "staging", "--yes"), proposal.HISTORY, cwd=app.folder, env="staging")
    carry_out(refused(app, "approve", "12345678"), proposal.HISTORY, cwd=app.folder, env="ENV", known=known)
    carry_out(refused(app, "rollback", "staging", "nope"), proposal.RELEASES, cwd=app.folder, env="staging")
    assert app.run("down", "staging", "--yes").returncode == 0
    carry_out(app.run("status", "staging").stdout, proposal.RESTART, cwd=app.folder, env="staging", more=YES)
    assert app.status(0)["state"] == "serving"


def test_a_plan_that_was_cut_short(app):
    """`status` and a new deploy name both ways out, and each of them ends it."""
    old = app.deployed()
    app.write(spoil="# next")
    app.killed("applied:start-web", "deploy", "staging", "--yes")
    said = refused(app, "deploy", "staging", "--yes")
    assert proposal.RESUME(env="staging") in said
    carry_out(said, proposal.RESUME_UNDO, cwd=app.folder, env="staging", more=YES)
    assert app.serves() == old
    app.killed("applied:start-web", "deploy", "staging", "--yes")
    said = app.run("status", "staging").stdout
    assert proposal.RESUME_UNDO(env="staging") in said
    carry_out(said, proposal.RESUME, cwd=app.folder, env="staging", more=YES)
    assert app.serves() != old


def test_what_serves_is_no_longer_ready(app, tmp_path):
    """Going back is proposed where something served before, and a Host that was killed is waited for."""
    old = app.deployed()
    mark = tmp_path / "unready"
    app.deployed(UNREADY_LATER.format(mark=mark))
    mark.touch()
    until(lambda: app.status()["state"] == "not ready")
    said = app.run("status", "staging").stdout
    carry_out(said, proposal.LOGS_SERVICE, cwd=app.folder, env="staging", service="web")
    carry_out(refused(app, "logs", "staging", "zzzz"), proposal.LOGS, cwd=app.folder, env="staging")
    carry_out(said, proposal.ROLLBACK, cwd=app.folder, env="staging", more=YES)
    assert app.serves() == old
    launchers = until(app.launchers)
    for pid in launchers:  # nobody brings it back while it is looked at
        os.kill(pid, signal.SIGSTOP)
    app.kill_host()
    said = app.run("status", "staging").stdout
    for pid in launchers:
        os.kill(pid, signal.SIGCONT)
    carry_out(said, proposal.STATUS_WAIT, cwd=app.folder, env="staging")
    until(lambda: app.serves() == old)


def test_up_beside_another_and_up_that_lost_its_host(app):
    """A second `up` names how to stop the first; one whose Host went away names how to start it."""
    first = app.start("up", "staging")
    until(lambda: "Ctrl-C stops all" in app.output(), app.output, first)
    carry_out(refused(app, "up", "staging"), proposal.DOWN, cwd=app.folder, env="staging")
    first.wait(30)
    until(lambda: not app.processes(), app.output)
    carry_out(app.output(), proposal.UP, cwd=app.folder, env="staging")


def test_the_first_up_that_fails(app):
    """There is no release before it; once its cause is gone, the command that it names serves.

    Also where a migration was applied, which remains: to resume the release that failed would fail again.
    """
    app.write(spoil="raise SystemExit('no configuration')", more='[database]\nused_by = ["web"]\n')
    app.migration(1, "CREATE TABLE a (b int);", "DROP TABLE a;", "SELECT b FROM a;")
    said = refused(app, "up", "staging")
    assert "the release before" not in said
    assert "remains: migrate (cannot be undone)" in said
    assert "next: `dodai up staging` once it is corrected" in said
    assert "resume" not in said
    app.write(more='[database]\nused_by = ["web"]\n')
    carry_out(said, proposal.UP, cwd=app.folder, env="staging")
