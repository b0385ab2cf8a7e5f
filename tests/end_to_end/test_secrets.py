"""Secrets of an environment that serves: listed without a value, rotated under traffic, finished or taken back when killed."""

from __future__ import annotations

import json
import re
import signal
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field

import pytest
from tests.end_to_end.hosted_app import COMMAND_KILLER, HostedApp
from tests.levels import WHOLE, level
from tests.support.command import dodai
from tests.support.proposed import carry_out
from tests.support.wait import until

from dodai.core import proposal

NAME = "SESSION_SECRET"
PAUSE_S = 0.005
"""Of a user between two requests; without it they take the processor from the command they watch."""
SIGNS = """
import hmac
from urllib.parse import urlsplit
VALUES = [value.encode() for value in os.environ["SESSION_SECRET"].split(",")]

def mac(value, what):
    return hmac.digest(value, what, "sha256").hex()

def answer(self):
    path, _, token = self.path.partition("?")
    what, _, given = token.partition(".")
    if path == "/sign":
        return 200, "x." + mac(VALUES[0], b"x")
    return (200 if given in [mac(value, what.encode()) for value in VALUES] else 403), ""

front = Page.do_GET

def do_GET(self):
    if self.path.startswith(("/sign", "/check")):
        status, body = answer(self)
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    else:
        front(self)

Page.do_GET = do_GET
"""
SECRET = """[secret.SESSION_SECRET]
used_by = ["web"]
owner = "web team"
rotation = "{rotation}"
overlap = "{overlap}"
every = "90d"
"""
POINTS: tuple[tuple[str, bool], ...] = (
    ("applying:sign-switch-web", True),
    ("applied:sign-switch-web", True),
    ("applied:sign", False),
    ("applied:keep", False),
)
"""The telling ones; `make test-whole` tries every point of every step, both ways."""
if level() == WHOLE:
    STEPS = ("prepare", "recognise", "recognise-start-web", "recognise-switch-web", "sign", "sign-start-web",
             "sign-switch-web", "smoke", "retire-web", "keep", "record", "forget")  # fmt: skip
    POINTS = tuple(
        (f"{kind}:{step}", undo) for step in STEPS for kind in ("applying", "applied") for undo in (False, True)
    )


@pytest.fixture
def env(tmp_path):
    made = HostedApp(tmp_path)
    yield made
    made.clear()


def deployed(env, rotation="overlap", overlap="7d"):
    env.write(spoil=SIGNS, more=SECRET.format(rotation=rotation, overlap=overlap))
    done = env.run("deploy", "staging", "--yes")
    assert done.returncode == 0, done.stderr


def stored(env):
    return json.loads((env.state / "secrets.json").read_text())


def listed(env, code=0):
    done = env.run("secrets", "list", "staging", "--json")
    assert done.returncode == code, (done.stdout, done.stderr)
    report = json.loads(done.stdout)
    return report, {row["name"]: row for row in report["secrets"]}[NAME]


def get(env, path):
    """Status and body at the edge."""
    url = f"http://127.0.0.1:{env.known()['ports']['edge']}{path}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


@dataclass
class Users:
    """People who sign in all the time, and whose earlier sign-ins have to count until they are told otherwise."""

    env: HostedApp
    over: threading.Event = field(default_factory=threading.Event)
    tokens: list[str] = field(default_factory=list)
    refused: list[object] = field(default_factory=list)
    asked: int = 0

    def run(self):
        while not self.over.wait(PAUSE_S):
            status, token = get(self.env, "/sign")
            self.tokens.append(token)
            for each in {self.tokens[0], self.tokens[len(self.tokens) // 2], self.tokens[-1]}:
                checked, _ = get(self.env, f"/check?{each}")
                self.asked += 1
                if (status, checked) != (200, 200):
                    self.refused.append((status, checked, self.asked))

    def __enter__(self):
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        until(lambda: self.asked > 5)
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(30)


def test_rotation_refuses_nobody_and_its_end_drops_the_old_value(env):
    """Both values while it lasts, the new one signs; afterwards what the old one signed is refused. Nothing is printed."""
    deployed(env)
    old = stored(env)[NAME]
    with Users(env) as users:
        done = env.run("secrets", "rotate", "staging", NAME, "--yes")
        assert done.returncode == 0, done.stderr
        seen = users.asked
        until(lambda: users.asked > seen + 5)
    assert users.refused == []
    new, behind = stored(env)[NAME].split(",")
    assert (behind, len(new) > 30) == (old, True)
    report, row = listed(env)
    assert (row["state"], row["next"], report["servicesCurrent"]) == ("rotating", "", {"web": True})
    assert users.tokens[0] != get(env, "/sign")[1]
    before = get(env, "/sign")[1]
    again = env.run("secrets", "rotate", "staging", NAME, "--yes")
    early = env.run("secrets", "rotate", "staging", NAME, "--finish", "--yes")
    assert (again.returncode, early.returncode) == (1, 1)
    assert "DOD561" in again.stderr
    assert re.search(r"in use for (6 d 23 h|7 d) more", early.stderr), early.stderr  # 7 d within the first second
    assert re.search(rf"first, in .+: `dodai secrets rotate staging {NAME} --finish`", again.stderr), again.stderr
    ended = env.run("secrets", "rotate", "staging", NAME, "--finish", "--now", "--yes")
    assert (ended.returncode, stored(env)[NAME]) == (0, new), ended.stderr
    assert (get(env, f"/check?{users.tokens[0]}")[0], get(env, f"/check?{before}")[0]) == (403, 200)
    said = "".join(one.stdout + one.stderr for one in (done, again, early, ended)) + json.dumps(report)
    assert [value for value in (old, new) if value in said] == []
    assert [path for path in env.folder.rglob("*") if path.is_file() and old.encode() in path.read_bytes()] == []


def found(env, *words):
    """The findings of `check operations` about secrets there, by code, and what was not judged."""
    done = env.run("check", "operations", "--target", "staging", "--output-format", "json", *words)
    report = json.loads(done.stdout)
    told = {one["code"]: (one["message"], one["line"], one["fix"]) for one in report["findings"]}
    return {code: row for code, row in told.items() if "DOD500" <= code <= "DOD503"}, report


def test_old_value_can_go_once_nothing_made_with_it_is_in_use(env):
    """The list names the command then, and the command that it names does it."""
    deployed(env, overlap="1s")
    assert env.run("secrets", "rotate", "staging", NAME, "--yes").returncode == 0
    _, row = until(lambda: next(((r, one) for r, one in [listed(env)] if one["next"]), None))
    assert row["next"] == f"dodai secrets rotate staging {NAME} --finish"
    line = (env.folder / "dodai.toml").read_text().splitlines().index(f"[secret.{NAME}]") + 1
    said = f"the old value of `{NAME}` of `staging` is recognised and can go"
    assert found(env)[0] == {"DOD503": (said, line, f"`{row['next']}`")}
    again = env.run("secrets", "rotate", "staging", NAME, "--yes")
    secret = {"cwd": env.folder, "env": "staging", "name": NAME, "more": ["--yes"]}
    carry_out(again.stderr, proposal.SECRETS_FINISH, **secret)
    assert listed(env)[1]["state"] == "ok"
    none = env.run("secrets", "rotate", "staging", NAME, "--finish", "--yes")
    assert (none.returncode, "no old value" in none.stderr) == (1, True)
    carry_out(none.stderr, proposal.SECRETS_LIST, cwd=env.folder, env="staging")
    aged = json.loads((env.state / "secrets.json").read_text())
    (env.state / "secrets.json").write_text(json.dumps({**aged, NAME: "somebody-wrote-this"}))
    carry_out(json.dumps(listed(env, code=1)[0]), proposal.SECRETS_ROTATE, **secret)


def test_compromised_value_stops_working_at_once(env):
    """The cost is said first; then what it signed is refused."""
    deployed(env)
    token = get(env, "/sign")[1]
    done = env.run("secrets", "rotate", "staging", NAME, "--now", "--yes")
    assert (done.returncode, "is refused from then on" in done.stderr) == (0, True), done.stderr
    assert (get(env, f"/check?{token}")[0], "," in stored(env)[NAME]) == (403, False)


@pytest.mark.parametrize(("at", "undo"), POINTS)
def test_rotation_that_is_killed_is_finished_or_taken_back(env, at, undo):
    """One value or both, never another; what runs has what is stored; nobody is refused, then or later.

    Taken back after the new value has signed, the plan leaves both, the old one in front, until the new one can go.
    """
    deployed(env)
    old = stored(env)[NAME]
    with Users(env) as users:
        env.killed(at, "secrets", "rotate", "staging", NAME, "--yes")
        done = env.run("resume", "staging", "--yes", "--json", *(["--undo"] if undo else []))
        told = json.loads(done.stdout)
        assert told["closed"], done.stdout
        seen = users.asked
        until(lambda: users.asked > seen + 5)
    has_signed = undo and at in ("applied:sign-switch-web", "applying:smoke", "applied:smoke", "applying:retire-web")
    assert users.refused == [], done.stdout + done.stderr
    values = stored(env)
    taken_back = told["state"] in ("restored", "undone")
    assert taken_back == (
        bool(undo) and not any(step in at for step in ("applied:retire", "keep", "record", "forget"))
    ), told
    held = values[NAME].split(",")
    both = has_signed or not taken_back
    assert (len(held), held[0 if taken_back else 1]) == (1 + both, old)
    notes = json.loads(values.get(f"{NAME}.rotation", "{}"))
    assert (notes.get("old", ""), notes.get("new", "")) == ("", "")
    report, row = listed(env)
    assert (report["servicesCurrent"], row["state"]) == ({"web": True}, "rotating" if both else "ok")
    assert not both or row["oldValueSecondsLeft"] > 6.9 * 86_400


def test_value_from_an_issuer_is_read_from_standard_input(env):
    """Rotating it is refused with the command that fits; what no variable can carry is refused before any change."""
    deployed(env, rotation="external")
    refused = env.run("secrets", "rotate", "staging", NAME, "--yes")
    assert refused.returncode == 1
    issued = {"cwd": env.folder, "env": "staging", "name": NAME, "more": ["--yes"], "stdin": "from its issuer"}
    carry_out(refused.stderr, proposal.SECRETS_SET, **issued)
    typed = env.run("secrets", "rotate", "staging", "SESION_SECRET", "--yes")
    assert (typed.returncode, f"did you mean `{NAME}`" in typed.stderr) == (2, True)
    before = stored(env)
    for unusable in (b"", b"\n", b"a\0b", b"\xff\xfe", b"x" * 65_537):
        done = given(env, unusable)
        assert (done.returncode, "DOD562" in done.stderr, stored(env)) == (2, True, before), (unusable[:9], done.stderr)
    value = "issued, by\nsomebody ünïcode"
    done = given(env, value.encode() + b"\n")
    assert (done.returncode, stored(env)[NAME]) == (0, value), done.stderr
    assert value.splitlines()[0] not in done.stdout + done.stderr


def test_value_can_be_set_before_the_first_release(env):
    """Nothing is started for it; a kill is finished or taken back; the first release is served with it."""
    env.write(spoil=SIGNS, more=SECRET.format(rotation="external", overlap="1d"))
    done = given(env, b"issued before")
    assert (done.returncode, stored(env)[NAME]) == (0, "issued before"), done.stderr
    assert env.processes() == []
    assert (given(env, b"issued again").returncode, stored(env)[NAME]) == (0, "issued again")
    rotated = env.run("secrets", "rotate", "staging", "DODAI_CSRF_KEYS", "--yes")
    assert (rotated.returncode, "dodai deploy staging" in rotated.stderr) == (1, True)
    killed = given(env, b"issued last", driver=COMMAND_KILLER, KILL_AT="applied:prepare")
    assert killed.returncode == -signal.SIGKILL
    resumed = env.run("resume", "staging", "--yes")
    assert (resumed.returncode, stored(env)[NAME], env.processes()) == (0, "issued last", []), resumed.stderr
    assert env.run("deploy", "staging", "--yes").returncode == 0
    report, row = listed(env)
    assert (stored(env)[NAME], row["state"], report["servicesCurrent"]) == ("issued last", "ok", {"web": True})


def given(env, value: bytes, **options):
    path = env.folder / "value"
    path.write_bytes(value)
    with path.open("rb") as stream:
        done = dodai("secrets", "set", "staging", NAME, "--yes", cwd=env.folder, stdin=stream, **options)
    path.unlink()
    return done


def test_stored_value_that_no_process_has_is_told(env):
    """Exit 1, the service is named, and the proposed command brings it there."""
    deployed(env)
    values = stored(env)
    (env.state / "secrets.json").write_text(json.dumps({**values, NAME: "somebody-wrote-this"}))
    report, row = listed(env, code=1)
    assert (report["servicesCurrent"], row["ageSeconds"], row["state"]) == ({"web": False}, None, "unknown age")
    assert report["next"][0] == "dodai restart staging"
    assert {code: row[2] for code, row in found(env)[0].items()} == {
        "DOD500": f"`dodai secrets rotate staging {NAME}`",
        "DOD502": "`dodai restart staging web`",
    }
    fix = found(env)[0]["DOD502"][2]
    carry_out(fix, proposal.RESTART_SERVICE, cwd=env.folder, env="staging", service="web", more=["--yes"])
    (env.state / "secrets.json").write_text(json.dumps({**values, NAME: "somebody-wrote-that"}))
    report = listed(env, code=1)[0]
    carry_out(report["next"][0], proposal.RESTART, cwd=env.folder, env="staging", more=["--yes"])
    assert listed(env, code=1)[0]["servicesCurrent"] == {"web": True}
