"""What services wrote can be seen whatever became of the Host, and a command in their place is on record."""

from __future__ import annotations

import json

import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.support.wait import until

from dodai.engine.lease import FileLease

SAYS = 'print("pepper is", os.environ["PEPPER"], "of 01a20a288b427b969a28243b7e75d12c", flush=True)'
SECRET = '[secret.PEPPER]\nused_by = ["web"]\n'


@pytest.fixture
def env(tmp_path):
    made = HostedApp(tmp_path)
    made.write(spoil=SAYS, more=SECRET)
    assert made.run("deploy", "staging", "--yes").returncode == 0
    yield made
    made.clear()


def test_logs_show_what_services_wrote_whatever_became_of_files_and_host(env):
    """Without secrets, by service, time and request id; a removed file loses nothing more; readable after `down`."""
    follower = env.start("logs", "staging", "web", "--follow")
    until(lambda: "pepper is [secret]" in env.output(), env.output, follower)
    (log,) = (env.state / "logs").glob("web-*.log")
    log.unlink()
    assert env.run("restart", "staging", "--yes").returncode == 0
    until(lambda: env.output().count("pepper is [secret]") == 2, env.output, follower)
    follower.terminate()
    follower.wait(10)
    assert env.run("down", "staging").returncode == 0
    asked = env.run("logs", "staging", "--since", "1h", "--request", "01a20a288b427b969a28243b7e75d12c", "--json")
    (line,) = map(json.loads, asked.stdout.splitlines())
    assert (line["part"], line["text"].startswith("pepper is [secret]")) == ("web", True)
    assert line["at"].endswith("Z")
    for words, code, said in (
        (("--request", "f" * 32), 1, "no such line"),
        (("wbe",), 2, "did you mean `web`?"),
        (("--since", "soon"), 2, "`soon` is not a span of time"),
    ):
        done = env.run("logs", "staging", *words)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr


def test_exec_runs_in_the_place_of_the_service_and_is_on_record(env, tmp_path):
    """Its files, settings and secrets, its exit code, no secret in what is shown or kept; nothing runs off the record."""
    pepper = json.loads((env.state / "secrets.json").read_text())["PEPPER"]
    code = f"import os, sys; print(os.environ['PEPPER'] == '{pepper}', os.environ['PEPPER'], os.getcwd()); sys.exit(7)"
    done = env.run("exec", "staging", "web", "--", "python", "-c", code)
    release = env.serves()
    assert (done.returncode, done.stderr) == (7, "")
    assert done.stdout == f"True [secret] {env.state}/releases/{release}/tree\n"
    plans = json.loads(env.run("history", "staging", "--limit", "2", "--json").stdout)["plans"]
    assert [plan["kind"] for plan in plans] == ["exec-ended", "exec"]
    assert (plans[0]["statement"]["exitCode"], plans[0]["statement"]["release"]) == (7, release)
    assert (pepper in json.dumps(plans), "[secret]" in plans[1]["statement"]["command"]) == (False, True)


def test_no_record_of_a_command_has_a_secret_however_it_was_quoted(env, tmp_path):
    """A shell's quotes break a value into pieces; the reason's own record has the command as well."""
    value = "it's a 'quoted' pepper"
    (tmp_path / "value").write_text(value)
    with (tmp_path / "value").open("rb") as given:
        done = env.run("secrets", "set", "staging", "PEPPER", "--yes", stdin=given)
    assert done.returncode == 0, done.stderr
    done = env.run("exec", "staging", "web", "--break-glass", "to look", "--", "echo", value)
    assert (done.returncode, done.stdout) == (0, "[secret]\n"), done.stderr
    plans = json.loads(env.run("history", "staging", "--limit", "3", "--json").stdout)["plans"]
    assert [plan["kind"] for plan in plans] == ["exec-ended", "exec", "break-glass"]
    assert all(plan["statement"]["command"].endswith("echo '[secret]'") for plan in plans), plans


def test_command_without_a_secret_that_the_service_needs_is_refused_with_its_name(env):
    """The file of secrets is gone: no defect of dodai, and a restart makes new values."""
    (env.state / "secrets.json").unlink()
    refused = env.run("exec", "staging", "web", "--", "true")
    assert (refused.returncode, "DOD560" in refused.stderr) == (1, True), refused.stderr
    listed = env.run("secrets", "list", "staging")
    assert "DOD080" not in listed.stderr, listed.stderr
    assert env.run("restart", "staging", "--yes").returncode == 0
    assert env.run("exec", "staging", "web", "--", "true").returncode == 0


async def test_exec_that_cannot_be_recorded_is_not_run(env):
    """Somebody holds the lock: exit 75 with who it is, and the command did nothing."""
    lease = FileLease(env.state / "lease", actor="somebody else")
    await lease.acquire()
    refused = env.run("exec", "staging", "web", "--", "touch", str(env.folder / "ran"))
    await lease.release()
    assert (refused.returncode, "somebody else" in refused.stderr) == (75, True), refused.stderr
    assert not (env.folder / "ran").exists()
