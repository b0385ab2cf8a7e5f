"""A service without a port: healthy by what it says, finished by a signal, started again when it falls silent."""

from __future__ import annotations

import os
import signal

import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.support.wait import until

WORKER = """
import os, pathlib, signal, sys, time

done = []
signal.signal(signal.SIGTERM, lambda *_: done.append(1))
print("starts as", os.environ["DODAI_RELEASE"], "PORT" in os.environ, flush=True)
# SPOIL
while not done:
    sys.stdout.write("queue ser"); sys.stdout.flush()
    print("ved", flush=True)
    time.sleep(0.1)
time.sleep(0.3)  # the job that is under way
with open(os.path.join(os.environ["DODAI_STATE"], "jobs"), "a") as jobs:
    jobs.write(f"finished by {os.environ['DODAI_RELEASE']}\\n")
"""
SERVICE = """
[service.mailer]
command = ["{python}", "mailer.py"]
kind = "worker"
needs = ["web"]
drain = "5s"
[service.mailer.health]
heartbeat = "queue served"
heartbeat_age = "2s"
consecutive = 1
timeout = "10s"
"""


class WorkerApp(HostedApp):
    def write(self, *, spoil="", more=SERVICE):
        (self.folder / "mailer.py").write_text(WORKER.replace("# SPOIL", spoil))
        return super().write(more=more)

    def worker(self):
        services = self.status()["host"]["services"]
        mailer = next(one for one in services if one["name"] == "mailer")
        return mailer, next(one for one in mailer["instances"] if one["live"])


@pytest.fixture
def env(tmp_path):
    made = WorkerApp(tmp_path)
    yield made
    made.clear()


def test_worker_is_released_finished_and_started_again_without_a_port(env):
    """The new one beside the old until that has finished its job; one that hangs is replaced; a silent release is undone."""
    old = env.deployed()
    service, instance = env.worker()
    assert (service["address"], instance["address"], instance["state"]) == ("", "", "running")
    assert f"starts as {old} False" in env.run("logs", "staging", "mailer").stdout
    new = env.deployed(spoil="# the next")
    assert new != old
    assert (env.state / "jobs").read_text() == f"finished by {old}\n"
    hung = env.worker()[1]["pid"]
    os.kill(hung, signal.SIGSTOP)
    until(lambda: env.worker()[1]["pid"] not in (0, hung))
    assert "no line with `queue served` for" in env.worker()[1]["trouble"]
    env.write(spoil="while not done: time.sleep(0.1)")
    undone = env.run("deploy", "staging", "--yes")
    assert (undone.returncode, "no line with `queue served` yet" in undone.stderr) == (3, True), undone.stderr
    assert (env.worker()[1]["release"], env.serves()) == (new, new)


def test_service_that_a_release_has_no_more_is_stopped_with_the_old_release_and_comes_back_with_it(env):
    """Nobody else would ever end it: it would work on with the code and the secrets of back then."""
    old = env.deployed()
    env.write(more="")
    (env.folder / "web.py").write_text("raise SystemExit(1)")
    undone = env.run("deploy", "staging", "--yes")
    assert (undone.returncode, f"web, mailer serves {old}" in undone.stderr) == (3, True), undone.stderr
    assert env.worker()[1]["release"] == old
    env.write(more="")
    said = env.run("deploy", "staging", "--dry-run").stdout
    assert f"mailer: {old} -> stopped" in said, said
    done = env.run("deploy", "staging", "--yes")
    assert done.returncode == 0, done.stderr
    assert (env.state / "jobs").read_text() == f"finished by {old}\n"
    assert [one["name"] for one in env.status(code=0)["host"]["services"]] == ["web"]
    back = env.run("rollback", "staging", "--yes")
    assert (back.returncode, env.worker()[1]["release"]) == (0, old), back.stderr


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (SERVICE.replace('heartbeat = "queue served"\n', ""), "nothing says whether the worker"),
        (SERVICE.replace("heartbeat_age", 'liveness = "/livez"\nheartbeat_age'), "has `liveness`"),
        (SERVICE.replace('"mailer.py"', '"mailer.py", "{port}"'), "asks for `{port}`"),
        (SERVICE + '[service.api]\ncommand = ["x"]\nenv = { M = "{mailer.url}" }\n', "has no address"),
    ],
    ids=["no health", "a path", "a port", "an address"],
)
def test_worker_that_cannot_be_one_is_refused_before_anything_is_started(env, more, said):
    """By `deploy` as well as by `check`."""
    env.write(more=more)
    refused = env.run("deploy", "staging", "--yes")
    assert (refused.returncode, "DOD315" in refused.stderr, said in refused.stderr) == (2, True, True), refused.stderr
    assert not env.processes()
