"""The Host dies, alone or with its launcher, at rest or in the middle of a plan: it comes back, and the words are true."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import socket
import subprocess
import time

import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.support.command import argv, clean_environment
from tests.support.wait import until

from dodai.providers.local.host.state import StateFolder, is_watched

BACK_S = 15.0
"""5 s on a machine with time to spare; the tests of many share this one."""


@pytest.fixture
def env(tmp_path):
    made = HostedApp(tmp_path)
    yield made
    made.clear()


def test_host_that_is_killed_comes_back_with_the_recorded_release(env):
    """Within 5 s, at the same address, whatever the tree says by now; again when the new one is killed too."""
    release = env.deployed()
    until(lambda: len(env.launchers()) == 1)
    env.write(spoil="# something newer in the tree")
    for _ in range(2):
        began = time.monotonic()
        dead = env.kill_host()
        assert env.is_back(release, began) <= BACK_S
        assert env.known()["pid"] != dead
    told = env.status(0)
    assert (told["state"], told["next"]) == ("serving", None)
    assert env.run("rollback", "staging", "--yes").returncode == 1  # there is none before it, and that is the reason
    assert env.deployed("# the next") not in ("", release)


def test_launcher_that_is_killed_is_replaced(env):
    """The Host starts another one, which does its work."""
    release = env.deployed()
    (first,) = until(env.launchers)
    os.kill(first, signal.SIGKILL)
    until(lambda: env.launchers() not in ([], [first]))
    began = time.monotonic()
    env.kill_host()
    assert env.is_back(release, began) <= BACK_S


def test_what_was_stopped_on_purpose_stays_stopped(env):
    """`down` ends the launcher as well; and `status` names the command that serves the same release again."""
    release = env.deployed()
    until(env.launchers)
    env.write(spoil="# not deployed")
    assert env.run("down", "staging").returncode == 0
    until(lambda: not env.processes())
    told = env.status(4)
    assert (told["state"], told["next"], told["recorded"]) == ("stopped", "dodai restart staging", release)
    done = env.run("restart", "staging", "--yes")
    assert (done.returncode, env.serves()) == (0, release), done.stderr


def test_host_and_launcher_killed_at_once_are_told_and_one_command_serves_again(env):
    """Nobody is left to bring it back: exit 4, and the named command serves the recorded release, not the tree."""
    release = env.deployed()
    until(env.launchers)
    env.write(spoil="# not deployed")
    os.kill(env.known()["pid"], signal.SIGSTOP)  # so that it starts no other launcher meanwhile
    until(lambda: not env.keepers(signal.SIGKILL) and not env.processes())
    told = env.status(4)
    assert (told["state"], told["next"]) == ("stopped", "dodai restart staging")
    done = env.run(*told["next"].split()[1:], "--yes")
    assert (done.returncode, env.serves()) == (0, release), done.stderr
    assert env.status(0)["state"] == "serving"


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("at", "undo"),
    [
        ("applying:start-web", False),
        ("done:start-web", True),
        ("applied:switch-web", False),  # the one point where both ways differ in what serves
        ("applied:switch-web", True),
        ("intent:smoke", True),
    ],
)
def test_host_killed_in_the_middle_of_a_deploy_ends_in_true_words(env, at, undo):
    """Whatever the command ends with, what it says is what serves; and what is left is finished or taken back."""
    old = env.deployed()
    env.write(spoil="# the next")
    done = env.driven(at, "deploy", "staging", "--yes", "--json")
    told = json.loads(done.stdout)
    new = next(path.name for path in (env.state / "releases").iterdir() if path.name not in (old, ".lock"))
    assert_true(env, told, old, new)
    if not told["closed"]:
        done = env.run("resume", "staging", "--yes", "--json", *(["--undo"] if undo else []))
        told = json.loads(done.stdout)
        assert_true(env, told, old, new)
        assert (told["closed"], env.serves()) == (True, old if undo else new), told


def assert_true(env, told, old, new):
    """The state of an end against what answers at the edge."""
    serves, said = env.serves(), told.get("seen") or ""
    if told["error"]:  # what to do is one command, behind a look at the Host where a call found none; nothing by hand
        look = f"look at `dodai status staging` and `{env.state / 'host.log'}`: every call is safe to repeat; then "
        run = f"run `{told['next']}`"
        assert told["error"]["fix"] in (run, f"wait and {run}", look + run), told["error"]
    match told["state"]:
        case "ok" | "already":
            assert serves == new, told
        case "restored":
            assert serves == old, json.dumps(told)
        case "interrupted":  # the Host may still be on its way back
            until(lambda: env.serves() == old, lambda: json.dumps(told))
        case _:
            assert told["exitCode"] == 4, told
            assert told["next"], told
    assert not said or (f"serves {serves}" in said if serves else "nothing serves" in said), (said, serves)


UNWELL = """
import pathlib
answer = Page.do_GET
def do_GET(self):
    global READY
    READY = not pathlib.Path(os.environ["DODAI_STATE"], "unwell").exists()
    answer(self)
Page.do_GET = do_GET
"""
BREAKS_AND_EXITS = "open(os.environ['DODAI_STATE'] + '/unwell', 'w'); sys.exit(3)"
BREAKS_ONCE = """    if self.path == "/" and not pathlib.Path(os.environ["DODAI_STATE"], "visited").exists():
        for name in ("visited", "unwell"):
            pathlib.Path(os.environ["DODAI_STATE"], name).touch()
    answer(self)"""


def test_release_serves_only_once_its_process_says_so(env):
    """Neither `ok` nor `restored` of a process that runs and is not ready: exit 4, what was seen, and the log to read."""
    old = env.deployed(spoil=UNWELL)
    env.write(spoil=BREAKS_AND_EXITS)
    done = env.run("deploy", "staging", "--yes", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["state"], told["next"]) == (4, "needs_person", "dodai logs staging web"), told
    assert told["seen"].startswith(f"nothing serves; web of {old} is not ready"), told
    assert "restored" not in told["error"]["message"]
    (env.state / "unwell").unlink()
    assert env.status(0)["state"] == "serving"
    env.write(spoil=UNWELL.replace("    answer(self)", BREAKS_ONCE))
    done = env.run("deploy", "staging", "--yes", "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["state"]) == (4, "needs_person"), told
    assert "nothing serves; web of" in told["seen"], told
    (env.state / "unwell").unlink()
    assert env.run("resume", "staging", "--yes").returncode == 0
    assert env.status()["answers"] == {"web": "ready"}


SECRET = '[secret.TOKEN]\nused_by = ["web"]\nowner = "ops"\n'
WRITES_ITS_SECRET = "open(os.environ['DODAI_STATE'] + '/token', 'w').write(os.environ['TOKEN'])"


def test_changed_secret_reaches_the_process_of_the_same_tree(env):
    """Another instance of the same release is started with it; the record names what runs, and nothing runs twice."""
    env.write(spoil=WRITES_ITS_SECRET, more=SECRET)
    assert env.run("deploy", "staging", "--yes").returncode == 0
    release = env.serves()
    secrets = env.state / "secrets.json"
    values = json.loads(secrets.read_text())
    secrets.write_text(json.dumps({**values, "TOKEN": "another-value"}))
    again = env.run("deploy", "staging", "--yes")
    assert again.returncode == 0, again.stderr
    assert (env.serves(), (env.state / "token").read_text()) == (release, "another-value")
    (instance,) = env.status(0)["host"]["services"][0]["instances"]
    assert (instance["live"], instance["release"]) == (True, release)
    pid = instance["pid"]
    assert "already  start-web" in env.run("deploy", "staging", "--yes").stderr
    assert env.status(0)["host"]["services"][0]["instances"][0]["pid"] == pid


def test_restart_starts_the_same_anew_without_a_gap_and_undoes_it_when_it_is_not_healthy(env):
    """Another process of the same release; with a secret it cannot live with, the old process goes on serving."""
    env.write(spoil="assert os.environ['TOKEN'] != 'bad'", more=SECRET)
    assert env.run("deploy", "staging", "--yes").returncode == 0
    release = env.serves()
    pid = env.status(0)["host"]["services"][0]["instances"][0]["pid"]
    done = env.run("restart", "staging", "web", "--yes")
    assert (done.returncode, env.serves()) == (0, release), done.stderr
    (instance,) = env.status(0)["host"]["services"][0]["instances"]
    assert instance["pid"] != pid
    secrets = env.state / "secrets.json"
    secrets.write_text(json.dumps({**json.loads(secrets.read_text()), "TOKEN": "bad"}))
    failed = env.run("restart", "staging", "--yes")
    assert (failed.returncode, env.serves()) == (3, release), failed.stderr
    (left,) = env.status(0)["host"]["services"][0]["instances"]
    assert (left["pid"], left["live"]) == (instance["pid"], True)
    assert env.run("restart", "staging", "nobody", "--yes").returncode == 2


def test_socket_that_was_cleaned_away_or_replaced_is_made_again(env):
    """Meanwhile it is unknown whether it runs, never `not running` nor `ended`; `down` stops it in order."""
    release = env.deployed()
    socket = StateFolder(env.state).socket
    pid = env.known()["pid"]
    for left in ("", "a file of somebody else"):
        os.kill(pid, signal.SIGSTOP)  # so that it is not made again at once
        socket.unlink()
        if left:
            socket.write_text(left)
        told = env.status(4)
        assert (told["state"], told["next"]) == ("unknown", None)
        assert f"pid {pid} holds" in told["host"]["unknown"]
        assert "have ended" not in told["host"]["unknown"]
        os.kill(pid, signal.SIGCONT)
        until(lambda: env.status()["state"] == "serving")
    assert (env.known()["pid"], env.serves()) == (pid, release)


def test_undo_after_host_and_launcher_died_never_says_that_nothing_is_to_do(env):
    """The old false word: exit 0 `taken back` while nothing served, and `status` had nothing to do."""
    old = env.deployed()
    env.write(spoil="# the next")
    until(env.launchers)
    done = env.driven("all done:start-web", "deploy", "staging", "--yes", "--json")
    told = json.loads(done.stdout)
    assert told["exitCode"] == 4, told
    until(lambda: not env.processes())
    assert env.status(4)["next"] == "dodai resume staging"
    done = env.run("resume", "staging", "--undo", "--yes", "--json")
    assert (done.returncode, env.serves()) == (0, old), done.stdout
    assert f"web serves {old}" in json.loads(done.stdout)["seen"]
    assert env.status(0)["state"] == "serving"


def test_service_that_hangs_is_started_again_where_the_manifest_asks_for_liveness(env):
    """Stopped in its tracks it answers nobody; the next process serves, and `status` says why there is one."""
    env.write()
    manifest = env.folder / "dodai.toml"
    asked = 'timeout = "3s", liveness = "/", liveness_interval = "0.2s", liveness_failures = 2 }'
    manifest.write_text(manifest.read_text().replace('timeout = "3s" }', asked))
    assert env.run("deploy", "staging", "--yes").returncode == 0
    release = env.serves()
    pid = env.status(0)["host"]["services"][0]["instances"][0]["pid"]
    os.kill(pid, signal.SIGSTOP)
    until(lambda: env.serves() == release)
    assert env.status(0)["host"]["services"][0]["instances"][0]["pid"] != pid
    assert "it runs and does not work" in env.run("status", "staging").stdout


def test_silent_connections_keep_neither_visitors_nor_commands_out(env):
    """More of them than the Host has descriptors: the longest silent go, the page is served, `status` answers."""
    env.write()
    few = f"ulimit -n 256; exec {shlex.join(argv('deploy', 'staging', '--yes'))}"
    done = subprocess.run(
        ["/bin/sh", "-c", few], cwd=env.folder, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    release, port = env.serves(), env.known()["ports"]["edge"]
    with contextlib.ExitStack() as silent:
        for _ in range(300):
            silent.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10))
        assert env.serves() == release != ""
        assert env.status(0)["state"] == "serving"


def test_host_killed_before_the_edge_is_looked_at_leaves_no_plan_that_cannot_end(env):
    """The edge had to be opened again with what it had: taking a bad release back does not ask for it to be gone."""
    old = env.deployed()
    until(lambda: is_watched(StateFolder(env.state)))
    env.write(spoil="sys.exit(3)")
    done = env.driven("already:secrets", "deploy", "staging", "--yes", "--json")
    assert (done.returncode, json.loads(done.stdout)["state"]) == (3, "restored"), done.stdout
    until(lambda: env.serves() == old)
