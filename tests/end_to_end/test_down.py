"""`down` stops under the lock and on record, and calls stopped only what it saw to be so; unknown is a word of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.support.command import dodai
from tests.support.wait import until

from dodai.engine.lease import FileLease
from dodai.providers.local.host.state import StateFolder

AS_NOBODY = Path(__file__).with_name("other_user_dodai.py")


@pytest.fixture
def env(tmp_path):
    made = HostedApp(tmp_path)
    yield made
    made.clear()


def last_plan(env):
    return json.loads(env.run("history", "staging", "--json").stdout)["plans"][0]


async def test_down_waits_for_nobody_who_holds_the_lock(env):
    """Exit 75 with the holder, and everything serves on."""
    release = env.deployed()
    lease = FileLease(env.state / "lease", actor="somebody else")
    await lease.acquire()
    refused = env.run("down", "staging")
    assert (refused.returncode, "somebody else" in refused.stderr) == (75, True), refused.stderr
    await lease.release()
    assert env.serves() == release


def test_down_is_on_record_and_is_called_stopped_only_once_nothing_runs(env):
    """Who stopped it and how that ended is history; a second time it was stopped already, and says so."""
    assert env.write().run("down", "staging").stdout.startswith("not running: staging; nothing was ever started")
    env.deployed()
    stopped = env.run("down", "staging", "--json")
    assert (stopped.returncode, json.loads(stopped.stdout)["state"]) == (0, "stopped"), stopped.stderr
    assert not env.processes()
    plan = last_plan(env)
    assert (plan["kind"], plan["state"], plan["planId"]) == ("down", "ok", json.loads(stopped.stdout)["planId"])
    assert env.run("down", "staging").stdout.startswith("already stopped: staging")


def test_down_beside_an_unfinished_deploy_leaves_that_to_be_taken_back(env):
    """Whoever wants it off gets it off; the deploy is still open, and its end says what serves then."""
    old = env.deployed()
    env.write(spoil="# the next")
    env.killed("done:start-web", "deploy", "staging", "--yes")
    assert env.run("down", "staging").returncode == 0
    assert not env.processes()
    told = env.status(4)
    assert (told["state"], told["next"]) == ("interrupted", "dodai resume staging")
    done = env.run("resume", "staging", "--undo", "--yes", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["closed"], env.serves()) == (4, True, ""), told
    assert told["next"] == "dodai restart staging"
    done = env.run("restart", "staging", "--yes")
    assert (done.returncode, env.serves()) == (0, old), done.stderr


def test_down_that_is_killed_is_resumed_to_its_end(env):
    """It cannot be undone, so both ways of resuming stop what is left; no Host is started for that."""
    env.deployed()
    env.killed("applying:stop", "down", "staging")
    assert env.status(4)["state"] == "interrupted"
    done = env.run("resume", "staging", "--yes")
    assert (done.returncode, env.processes()) == (0, []), done.stderr


@pytest.mark.parametrize("lost", ["socket", "lock", "folder"])
def test_host_whose_files_were_removed_is_unknown_and_can_be_stopped(env, lost):
    """Never `not running`, never a second Host beside it; `down` ends it, however little is left."""
    env.deployed()
    until(env.launchers)  # somebody is ready to bring it back, and it is not gone
    pid = env.known()["pid"]
    os.kill(pid, signal.SIGSTOP)  # so that nothing is made again at once
    socket = StateFolder(env.state).socket
    socket.unlink()
    if lost == "lock":
        (env.state / "host.lock").unlink()
    elif lost == "folder":
        shutil.rmtree(env.state)
    told = env.status(4)
    assert (told["state"], str(pid) in told["host"]["unknown"]) == ("unknown", True), told
    if lost == "lock":
        refused = env.run("restart", "staging", "--yes")
        assert refused.returncode, refused.stdout
    stopped = env.run("down", "staging")
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout.startswith("stopped: staging")
    assert not env.processes()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
def test_another_user_is_told_that_only_the_owner_can_say_whether_it_runs(env, tmp_path):
    """Exit 4 from `status`, 1 from `down`, and it serves on: what may not be asked is not what does not run."""
    release = env.deployed()
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)

    def as_nobody(*words):
        return dodai(*words, cwd=env.folder, driver=AS_NOBODY)

    told = as_nobody("status", "staging")
    assert (told.returncode, "unknown whether it runs" in told.stdout) == (4, True), told
    assert "belongs to `root`" in told.stdout
    refused = as_nobody("down", "staging", "--yes")
    assert (refused.returncode, "DOD381" in refused.stderr) == (1, True), refused
    assert env.serves() == release
