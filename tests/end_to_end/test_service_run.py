"""How a service is run: how many, as whom, with which packages, and who starts it again after a reboot."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psycopg
import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.support.wait import until

from dodai.engine.lease import FileLease
from dodai.providers.local.host import launcher

ACCOUNT = "daemon"  # every Linux has it, and nothing runs as it
SPEAKS = """
answer = Page.do_GET
def do_GET(self):
    if self.path != "/told":
        return answer(self)
    body = told().encode()
    self.send_response(200)
    self.send_header("content-length", str(len(body)))
    self.end_headers()
    self.wfile.write(body)
Page.do_GET = do_GET
"""
TELLS = """
import urllib.parse
def told():
    key = open(os.environ["DODAI_EDGE_KEY_FILE"]).read()
    open(os.path.join(os.environ["DODAI_STATE"], "lines", f"of-{os.getpid()}"), "w").close()
    url = os.environ["DATABASE_URL"]
    return json.dumps({
        "uid": os.getuid(), "groups": os.getgroups(), "key": bool(key), "pid": os.getpid(), "url": url,
        "role": urllib.parse.urlsplit(url).username,
    })
"""
LEAST = f"""instances = 2
user = "{ACCOUNT}"
[service.web.limits]
open_files = 256
[database]
used_by = ["web"]
role = "small_app"
[migrations]
folder = "db/migrations"
"""


class RunApp(HostedApp):
    def page(self, path):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.known()['ports']['edge']}{path}", timeout=30) as answer:
            return answer.read().decode()

    def manifest(self, change):
        path = self.folder / "dodai.toml"
        path.write_text(change(path.read_text()))


@pytest.fixture
def env(tmp_path):
    made = RunApp(tmp_path)
    yield made
    made.clear()


@pytest.mark.skipif(os.getuid() != 0, reason="only root starts services as somebody else")
def test_service_runs_as_an_account_of_its_own_and_signs_in_as_a_role_that_owns_nothing(env, tmp_path):
    """It reads its edge's key and writes its lines as that account, and rows as that role; more it cannot."""
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(0o755)
    python = shutil.which("python3", path="/usr/bin:/usr/local/bin")
    env.migration(1, "CREATE TABLE note (id int PRIMARY KEY);", "DROP TABLE note;", "SELECT id FROM note;")
    env.write(spoil=TELLS + SPEAKS, more=LEAST.replace('role = "small_app"\n', ""))
    env.manifest(lambda text: text.replace("{python}", python))
    assert env.run("deploy", "staging", "--yes").returncode == 0
    env.manifest(lambda text: text.replace('used_by = ["web"]\n', 'used_by = ["web"]\nrole = "small_app"\n'))
    done = env.run("deploy", "staging", "--yes")  # while the database runs, and the ledger is there
    assert done.returncode == 0, done.stderr
    told = [json.loads(env.page("/told")) for _ in range(4)]
    assert {(one["uid"], one["key"], one["role"]) for one in told} == {(1, True, "small_app")}
    assert len({one["pid"] for one in told}) == 2
    assert (env.state / "edge.key").stat().st_mode & 0o077 == 0o040
    asked = "import os, resource; print(os.getuid(), os.getgroups(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])"
    beside = env.run("exec", "staging", "web", "--", python, "-c", asked)
    assert beside.stdout == f"1 {told[0]['groups']} 256\n", beside.stderr
    with psycopg.connect(told[0]["url"], autocommit=True) as session:
        session.execute("INSERT INTO note VALUES (1)")
        for refused in ("DROP TABLE note", "CREATE TABLE mine (id int)", "COPY note TO PROGRAM 'id'",
                        "DELETE FROM dodai.migration_log", "DELETE FROM goose_db_version", "ALTER ROLE small_app SUPERUSER"):  # fmt: skip
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(refused)
    restarted = env.run("restart", "staging", "--yes")
    assert restarted.returncode == 0, restarted.stderr
    hung = json.loads(env.page("/told"))
    assert hung["role"] == "small_app"
    os.kill(hung["pid"], signal.SIGSTOP)
    lines = [line for line in env.run("status", "staging").stdout.splitlines() if " live " in line]
    os.kill(hung["pid"], signal.SIGCONT)
    told = {f" pid {hung['pid']} " in line: "no answer" in line for line in lines}
    assert (len(lines), told) == (2, {True: True, False: False}), lines


PUTS = """
import pathlib, sysconfig
shade = pathlib.Path("shades.txt").read_text().strip()
pathlib.Path(sysconfig.get_path("purelib"), "shade.py").write_text(f"SHADE = {shade!r}")
"""


def test_rollback_brings_back_the_packages_of_the_release_too(env):
    """Another lock file is another environment; the old one is kept with its release, and nothing runs in a changed one."""
    (env.folder / "put.py").write_text(PUTS)

    def deployed(shade):
        (env.folder / "requirements.txt").write_text("-r shades.txt\n")
        (env.folder / "shades.txt").write_text(shade)
        env.write(spoil=f"import shade\ndef told(): return shade.SHADE\n{SPEAKS}")
        env.manifest(lambda text: text.replace("[env", 'install = ["{python} put.py -r requirements.txt"]\n[env', 1))
        done = env.run("deploy", "staging", "--yes")
        assert done.returncode == 0, done.stderr
        return env.page("/told")

    assert [deployed("blue"), deployed("green")] == ["blue", "green"]
    back = env.run("rollback", "staging", "--yes")
    assert (back.returncode, env.page("/told")) == (0, "blue"), back.stderr
    inside = env.run("exec", "staging", "web", "--", "python", "-c", "import shade; print(shade.SHADE)")
    assert inside.stdout.strip() == "blue", inside.stderr
    homes = [path for path in (env.state / "python").iterdir() if path.is_dir()]
    assert len(homes) == 2
    (changed,) = [one for home in homes for one in home.rglob("shade.py") if "blue" in one.read_text()]
    changed.write_text('SHADE = "planted"')
    refused = env.run("restart", "staging", "--yes")
    assert (refused.returncode, "DOD317" in refused.stderr) == (3, True), refused.stderr
    assert env.page("/told") == "blue"
    beside = env.run("exec", "staging", "web", "--", "python", "-c", "print('runs')")
    assert (beside.returncode, "DOD317" in beside.stderr, beside.stdout) == (1, True, ""), beside.stderr
    ((served,),) = [one["instances"] for one in env.status()["host"]["services"]]
    os.kill(served["pid"], signal.SIGKILL)  # nor is it started again by the Host, which comes back no more either
    until(lambda: "not what was installed" in env.status()["host"]["services"][0]["instances"][0]["trouble"])
    env.kill_host()
    until(lambda: "not what was installed" in env.status()["host"]["trouble"])
    assert env.serves() == ""
    shutil.rmtree(changed.parents[3])
    installed = env.run("restart", "staging", "--yes")
    assert (installed.returncode, env.page("/told")) == (0, "blue"), installed.stderr


async def test_deploy_that_may_wait_takes_its_turn_behind_whoever_holds_the_lock(env):
    """Told for whom it waits; without the option it is refused as before, and nothing is started either way."""
    env.deployed()
    lease = FileLease(env.state / "lease", actor="somebody else")
    await lease.acquire()
    env.write(spoil="# the next")
    assert env.run("deploy", "staging", "--yes").returncode == 75
    assert env.run("deploy", "staging", "--yes", "--wait", "0.1").returncode == 75
    waiting = env.start("deploy", "staging", "--yes", "--wait", "300")
    until(lambda: "waits: `somebody else`" in env.output(), env.output, waiting)
    await lease.release()
    assert (waiting.wait(300), env.serves() in env.output()) == (0, True), env.output()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")
def test_unit_of_systemd_is_valid_and_its_command_brings_back_what_served(env, tmp_path):
    """After a reboot nothing of it runs, and the unit's command starts the recorded release, not the working tree."""
    release = env.deployed()
    env.write(spoil="sys.exit(3)")
    printed = env.run("install", "staging", "--print")
    unit = tmp_path / "dodai-small-staging.service"
    unit.write_text(printed.stdout)
    judged = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
    assert (judged.returncode, unit.name in judged.stderr) == (0, False), judged.stderr
    home = {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    written = env.run("install", "staging", "--json", **home)
    told = json.loads(written.stdout)
    assert (written.returncode, Path(told["path"]).read_text()) == (0, printed.stdout), written.stderr
    assert env.run("install", "staging", **home).stdout.startswith("already there: ")
    until(lambda: not env.killed_all())  # the power fails
    assert env.status(4)["next"] == "dodai restart staging"
    command = (sys.executable, "-I", "-S", launcher.__file__, str(env.state), "staging", sys.executable, "--stay")
    assert " ".join(f'"{word}"' for word in command) in printed.stdout
    manager = subprocess.Popen(command, cwd="/", stdin=subprocess.DEVNULL)
    try:
        until(lambda: env.serves() == release)
        assert env.run("down", "staging").returncode == 0
        assert manager.poll() is None
        assert env.run("deploy", "staging", release, "--yes").returncode == 0
        env.kill_host()
        until(lambda: env.serves() == release)
    finally:
        manager.terminate()
        manager.wait(60)
    assert manager.returncode == 0


def test_name_that_something_else_has_is_refused_before_anything_is_started(env):
    """A service beside the database under its name could be neither released nor taken back."""
    for more, said in (
        ('[service.database]\ncommand = ["x"]\n', "`[service.database]` has the name of a part"),
        ('[secret.PORT]\nused_by = ["web"]\n', "`[secret.PORT]` has the name of a variable"),
        ('[database]\nused_by = ["web"]\nrole = "postgres"\n', "which PostgreSQL keeps for itself"),
    ):
        env.write(more=more)
        done = env.run("deploy", "staging", "--yes")
        assert (done.returncode, "DOD330" in done.stderr, said in done.stderr) == (2, True, True), done.stderr
    assert not (env.state / "host.json").exists()
