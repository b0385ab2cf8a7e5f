"""Files of a release that were changed after it was published are never served, whichever way they would come."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.support.wait import until

from dodai.core.errors import DodaiError
from dodai.providers.local.release_tree import ReleaseTrees


@pytest.fixture
def env(tmp_path):
    made = HostedApp(tmp_path)
    yield made
    made.clear()


def tamper(env, release):
    page = env.state / "releases" / release / "tree" / "web.py"
    page.write_text(page.read_text().replace("hello from", "evil from"))


def test_tampered_release_is_not_restarted_and_a_deploy_of_its_tree_publishes_it_anew(env):
    """The restart is refused before anything changes; what was approved is what the next deploy serves."""
    release = env.deployed()
    tamper(env, release)
    refused = env.run("restart", "staging", "--yes")
    assert (refused.returncode in (1, 3), "web.py` was changed" in refused.stderr) == (True, True), refused.stderr
    assert env.serves() == release
    assert env.run("deploy", "staging", "--yes").returncode == 0
    assert env.run("restart", "staging", "--yes").returncode == 0
    assert env.serves() == release


@pytest.mark.parametrize(
    "path", ["json.py", "http/__init__.py", "node_modules/x/index.js", "lib.so", "linked"], ids=lambda path: path
)
def test_release_with_code_beside_its_own_is_not_what_was_published(tmp_path, path):
    """A module of that name would be run before the real one; what a service leaves behind does no harm."""
    source = tmp_path / "source"
    (source / "pages").mkdir(parents=True)
    (source / "web.py").write_text("import json\n")
    trees = ReleaseTrees(tmp_path / "releases")
    release = trees.publish(str(source))
    tree = Path(trees.path(release))
    for left in ("upload.jpg", "static/app.js", "data.sqlite3", "node_modules/.cache/a.js", "__pycache__/web.pyc"):
        (tree / left).parent.mkdir(parents=True, exist_ok=True)
        (tree / left).write_text("left behind")
    proven = trees.proven(release)
    assert not (tree / "__pycache__").exists()  # what is there would be run instead of `web.py`
    added = tree / path
    added.parent.mkdir(parents=True, exist_ok=True)
    added.symlink_to(source) if path == "linked" else added.write_text("evil")
    with pytest.raises(DodaiError, match=f"`{path}` was added"):
        trees.proven(release)
    assert trees.publish(str(source)) == release  # anew
    assert trees.proven(release) == proven


def test_release_with_a_planted_module_is_neither_restarted_nor_gone_back_to(env):
    """`import http` of the service would find it; the process that serves goes on as it was started."""
    release = env.deployed()
    (env.state / "releases" / release / "tree" / "http.py").write_text("raise SystemExit('evil')")
    refused = env.run("restart", "staging", "--yes")
    assert (refused.returncode in (1, 3), "http.py` was added" in refused.stderr) == (True, True), refused.stderr
    assert env.serves() == release


def test_release_tampered_with_between_admission_and_resume_is_not_served(env):
    """A plan that was let in is let in for these files."""
    old = env.deployed()
    env.write(spoil="# the next")
    env.killed("intent:start-web", "deploy", "staging", "--yes")
    new = next(path.name for path in (env.state / "releases").iterdir() if path.name not in (old, ".lock"))
    tamper(env, new)
    resumed = env.run("resume", "staging", "--yes")
    assert (resumed.returncode, "web.py` was changed" in resumed.stderr) == (1, True), resumed.stderr
    plans = json.loads(env.run("history", "staging", "--json").stdout)["plans"]
    assert plans[0]["state"] == "refused"  # not `restored`: nothing had been changed
    assert env.serves() == old


def test_host_does_not_come_back_with_a_tampered_release_and_says_why(env):
    """Nothing serves rather than something nobody approved; a deploy of the clean tree ends that."""
    release = env.deployed()
    until(env.launchers)
    tamper(env, release)
    env.kill_host()
    told = until(lambda: json.loads(env.run("status", "staging", "--json").stdout)["host"]["trouble"])
    assert "web.py` was changed" in told
    status = env.run("status", "staging", "--wait")
    assert (status.returncode, "by itself" in status.stdout) == (4, False), status.stdout
    assert "deploy from its commit again" in status.stdout
    assert env.serves() == ""
    env.write(spoil="# the next")
    assert env.run("deploy", "staging", "--yes").returncode == 0
    assert env.serves() not in ("", release)
