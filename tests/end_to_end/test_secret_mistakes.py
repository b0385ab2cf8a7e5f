"""What goes wrong with secrets by hand: a value of no use, a compromised one that stays, a gate that nobody asks."""

from __future__ import annotations

import json

import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.end_to_end.test_secrets import NAME, SECRET, SIGNS, get, given, stored
from tests.support.command import dodai
from tests.support.proposed import carry_out

from dodai.core import proposal

STUBBORN = """
from pathlib import Path
ONLY = Path("{path}")
if ONLY.exists() and ONLY.read_text() not in os.environ["SESSION_SECRET"]:
    raise SystemExit("knows only its own value")
"""
HALF_GATED = """
from pathlib import Path
from dodai.runtime.edge_gate import EdgeGate

gate = EdgeGate(Path(os.environ["DODAI_EDGE_KEY_FILE"]))
FIRST = Path(os.environ["DODAI_EDGE_KEY_FILE"]).read_text().split()
front, asked = Page.do_GET, 0

def do_GET(self):
    global asked
    asked += 1
    key = self.headers.get("x-edge-key") or ""
    if not gate.lets_pass(self.path, "GET") and not gate.knows(key.encode()) and (asked % 4 or key not in FIRST):
        return self.send_error(403)
    front(self)

Page.do_GET = do_GET
"""


@pytest.fixture
def env(tmp_path):
    made = HostedApp(tmp_path)
    yield made
    made.clear()


def test_value_of_no_use_is_refused_and_a_compromised_one_that_stays_is_told(env, tmp_path_factory):
    """What dodai makes itself is no person's to set; commas and rings are looked at; a failed `--now` says what still works."""
    only = tmp_path_factory.mktemp("only") / "value"
    env.write(spoil=SIGNS + STUBBORN.format(path=only), more=SECRET.format(rotation="overlap", overlap="7d"))
    first = env.run("secrets", "list", "staging", "--json")
    report = json.loads(first.stdout)
    assert {row["state"] for row in report["secrets"]} == {"not made yet"}
    assert (first.returncode, report["next"]) == (0, ["dodai deploy staging"])
    carry_out(first.stdout, proposal.DEPLOY, cwd=env.folder, env="staging", more=["--yes"])
    before = stored(env)
    for name, value, said in (
        (NAME, b", ,", "it is empty"),
        (NAME, b" \n", "it is empty"),
        ("DODAI_CSRF_KEYS", b"junk", "entry 1 is not `kid:base64url`"),
        ("DODAI_CSRF_KEYS", b"k1:AAAA", "at least 32 are needed"),
        ("DODAI_IDENTITY_KEYS", b"junk", "key"),
    ):
        (env.folder / "value").write_bytes(value)
        with (env.folder / "value").open("rb") as stream:
            done = dodai("secrets", "set", "staging", name, "--yes", cwd=env.folder, stdin=stream)
        assert (done.returncode, "DOD562" in done.stderr, said in done.stderr) == (2, True, True), done.stderr
    assert stored(env) == before
    (env.state / "secrets.json").chmod(0o644)
    for told in (env.run("status", "staging").stderr, env.run("doctor", "staging").stdout):
        assert f"`{env.state / 'secrets.json'}` has the mode `0644`: every account of this machine may read it" in told
    (env.state / "secrets.json").chmod(0o600)
    assert "DOD571" not in env.run("status", "staging").stderr
    only.write_text(before[NAME])
    token = get(env, "/sign")[1]
    failed = env.run("secrets", "rotate", "staging", NAME, "--now", "--yes")
    still = f"the old value of `{NAME}` was to stop working at once, and still works"
    assert (failed.returncode, still in failed.stderr, stored(env)[NAME]) == (3, True, before[NAME]), failed.stderr
    assert get(env, f"/check?{token}")[0] == 200
    only.unlink()
    two = given(env, b"one-value,another-value")
    assert (two.returncode, "commas make 2 values of it" in two.stderr) == (0, True), two.stderr
    done = env.run("secrets", "rotate", "staging", NAME, "--now", "--yes")
    assert (done.returncode, "still works" in done.stderr, get(env, f"/check?{token}")[0]) == (0, False, 403)


def test_rotation_is_not_changed_while_both_values_are_recognised(env):
    """A service told of one value would get both with a comma; what serves goes on, and the way out is the one told."""
    env.write(spoil=SIGNS, more=SECRET.format(rotation="overlap", overlap="0s"))
    assert env.run("deploy", "staging", "--yes").returncode == 0
    assert env.run("secrets", "rotate", "staging", NAME, "--yes").returncode == 0
    both, release = stored(env)[NAME], env.serves()
    env.write(spoil=SIGNS, more=SECRET.format(rotation="replace", overlap="0s"))
    refused = env.run("deploy", "staging", "--yes")
    assert ("DOD572" in refused.stderr, refused.returncode != 0) == (True, True), refused.stderr
    assert "and its `rotation` is `replace` now" in refused.stderr
    assert (stored(env)[NAME], env.serves()) == (both, release)
    env.write(spoil=SIGNS, more=SECRET.format(rotation="overlap", overlap="0s"))
    finished = env.run("secrets", "rotate", "staging", NAME, "--finish", "--yes")
    assert finished.returncode == 0, finished.stderr
    env.write(spoil=SIGNS, more=SECRET.format(rotation="replace", overlap="0s"))
    done = env.run("deploy", "staging", "--yes")
    assert (done.returncode, stored(env)[NAME]) == (0, both.partition(",")[0]), done.stderr


def test_edge_key_is_asked_for_where_the_gate_wants_one(env):
    """Elsewhere than on the path that every gate answers, and often enough to meet one of four processes that is behind."""
    env.write(spoil=HALF_GATED)
    manifest = (env.folder / "dodai.toml").read_text()
    (env.folder / "dodai.toml").write_text(manifest.replace("health = {", 'health = { path = "/healthz",'))
    done = env.run("deploy", "staging", "--yes")
    assert done.returncode == 0, done.stderr
    failed = env.run("secrets", "rotate", "staging", "DODAI_EDGE_KEY", "--now", "--yes")
    assert (failed.returncode, "DOD568" in failed.stderr, "asks for no edge key" in failed.stderr) == (3, True, False)
    assert "was asked with the old edge key and accepts it and refuses it" in failed.stderr
    assert "the old value of `DODAI_EDGE_KEY` was to stop working at once, and still works" in failed.stderr
