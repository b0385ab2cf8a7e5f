"""The edge's key and the login at the database change while people are served; a kill at any point is finished or taken back."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass, field

import psycopg
import pytest
from tests.end_to_end.hosted_app import HostedApp
from tests.levels import WHOLE, level
from tests.support.wait import until

from dodai.core.database_url import with_login
from dodai.operations.ports import Login
from dodai.wiring import environments
from dodai.wiring.find_project import find_project

KEY, LOGIN, ROLES = "DODAI_EDGE_KEY", "DODAI_DATABASE_LOGIN", ["small_a", "small_b"]
PAUSE_S = 0.005
"""Of a visitor between two requests; without it they take the processor from the command they watch."""
GUARDED = """
import psycopg
from pathlib import Path
from dodai.runtime.edge_gate import EdgeGate

gate = EdgeGate(Path(os.environ["DODAI_EDGE_KEY_FILE"]))
URL = os.environ["DATABASE_URL"]
kept = psycopg.connect(URL, autocommit=True)  # as a pool keeps one
front = Page.do_GET

def do_GET(self):
    if not gate.knows((self.headers.get("x-edge-key") or "").encode()):
        return self.send_error(403)
    kept.execute("SELECT count(*) FROM note")
    with psycopg.connect(URL) as fresh:
        fresh.execute("INSERT INTO note VALUES (default)")
        self.who = fresh.execute("SELECT session_user || ' as ' || current_user").fetchone()[0]
    if self.path == "/who":
        self.send_response(200)
        self.send_header("content-length", str(len(self.who)))
        self.end_headers()
        return self.wfile.write(self.who.encode())
    front(self)

Page.do_GET = do_GET
"""
DATABASE = """[database]
used_by = ["web"]
[migrations]
folder = "db/migrations"
queries = ["queries/*.sql"]
"""
FINISH, NOW = (KEY, "--finish", "--now"), (KEY, "--now")
POINTS: dict[tuple[str, ...], tuple[tuple[str, bool], ...]] = {
    (KEY,): (("applied:recognise", False), ("applying:sign", True), ("applied:sign", True)),
    FINISH: (("applying:drop", False), ("applied:drop", True)),
    NOW: (("applied:sign", False), ("applied:drop", True)),
    (LOGIN,): (
        ("applied:new-login", True),
        ("applied:replace-switch-web", True),
        ("applied:retire-web", True),
        ("applied:old-login", False),
    ),
}
RESTORE_POINTS: tuple[str, ...] = ("applied:put-back",)
"""The telling ones; `make test-whole` tries every point of every step, rotations both ways."""
if level() == WHOLE:
    STEPS = {
        (KEY,): ("prepare", "recognise", "sign", "smoke", "record", "forget"),
        FINISH: ("prepare", "drop", "smoke", "record", "forget"),
        NOW: ("prepare", "recognise", "sign", "drop", "smoke", "record", "forget"),
        (LOGIN,): ("prepare", "new-login", "replace", "replace-start-web", "replace-switch-web", "smoke", "retire-web",
                "keep", "record", "old-login", "forget"),
    }  # fmt: skip
    POINTS = {
        change: tuple(
            (f"{kind}:{step}", undo) for step in steps for kind in ("applying", "applied") for undo in (False, True)
        )
        for change, steps in STEPS.items()
    }
    RESTORE_POINTS = tuple(
        f"{kind}:{step}"
        for step in ("close", "put-back", "database", "login", "start-web", "switch-web", "smoke")
        for kind in ("applying", "applied")
    )


@dataclass
class Visitors:
    """Somebody who asks all the time, and what was not answered as it should."""

    env: HostedApp
    over: threading.Event = field(default_factory=threading.Event)
    refused: list[object] = field(default_factory=list)
    asked: int = 0

    def run(self):
        while not self.over.wait(PAUSE_S):
            status, _ = self.ask()
            self.asked += 1
            if status != 200:
                self.refused.append((status, self.asked))

    def ask(self):
        return get(edge(self.env))

    def go_on(self):
        seen = self.asked
        until(lambda: self.asked > seen + 3)

    def __enter__(self):
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()
        self.go_on()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(30)


def get(url, path="/", **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(url + path, headers=headers), timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except OSError as error:
        return str(error), ""


def edge(env):
    return f"http://127.0.0.1:{env.known()['ports']['edge']}"


def serving(env):
    """The process that serves."""
    status = asyncio.run(environments.open(find_project(env.folder / "dodai.toml"), "staging").host.status())
    return next(one for one in status.service("web").instances if one.live)


def around_the_edge(env, key):
    """The status that it gives to somebody who comes with `key` past the edge."""
    return get(f"http://{serving(env).address}", **{"x-edge-key": key})[0]


def keys(env):
    return (env.state / "edge.key").read_text().split()


def login(env):
    return Login.of(json.loads((env.state / "secrets.json").read_text())[LOGIN])


def owner_url(env):
    return json.loads((env.state / "database.json").read_text())["direct"]


def opens(env, one):
    """Whether that role and password open the database."""
    try:
        psycopg.connect(with_login(owner_url(env), one.role, one.password)).close()
    except psycopg.OperationalError:
        return False
    return True


def may_sign_in(env):
    with psycopg.connect(owner_url(env)) as session:
        rows = session.execute("SELECT rolname FROM pg_roles WHERE rolcanlogin AND rolname = ANY(%s)", (ROLES,))
        return [name for (name,) in rows.fetchall()]


def noted(env):
    """The values that rotations which are over still keep."""
    stored = [json.loads(path.read_text()) for path in env.state.glob("**/secrets.json")]
    notes = [json.loads(text) for one in stored for name, text in one.items() if name.endswith(".rotation")]
    return {value for note in notes for value in (note["old"], note["new"]) if value}


def listed(env, name):
    report = json.loads(env.run("secrets", "list", "staging", "--json").stdout)
    assert report["servicesCurrent"] == {"web": True}, report
    return next(row for row in report["secrets"] if row["name"] == name)


def changed(env, *words):
    done = env.run("secrets", "rotate", "staging", *words, "--yes")
    assert done.returncode == 0, done.stdout + done.stderr
    return done


class Guarded(HostedApp):
    """Asks for the edge's key and writes a row for every visit; `releases` are those that were deployed."""

    def __init__(self, folder):
        super().__init__(folder)
        object.__setattr__(self, "releases", [])


@pytest.fixture(scope="module")
def env(tmp_path_factory):
    """An environment with a restore point from before its second migration."""
    made = Guarded(tmp_path_factory.mktemp("guarded"))
    made.write(spoil=GUARDED, environment=f"database_roles = {json.dumps(ROLES)}", more=DATABASE)
    made.migration(1, "CREATE TABLE note (id serial PRIMARY KEY);", "DROP TABLE note;", "SELECT id FROM note;")
    for _ in range(2):
        done = made.run("deploy", "staging", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr
        made.releases.append(made.serves())
        made.migration(2, "ALTER TABLE note ADD COLUMN likes int;", "ALTER TABLE note DROP COLUMN likes;", "SELECT 1;")
    yield made
    made.clear()


@pytest.fixture(autouse=True)
def _settled(env):
    """No old key is left of the test before."""
    if len(keys(env)) > 1:
        changed(env, KEY, "--finish", "--now")


def test_edge_key_changes_and_nobody_is_refused(env):
    """Both are accepted until `--finish`; then the old one opens nothing. No process is started anew, nothing printed."""
    before, (old,) = serving(env).pid, keys(env)
    with Visitors(env) as visitors:
        changed(env, KEY)
        visitors.go_on()
        new, behind = keys(env)
        assert (behind, around_the_edge(env, old), around_the_edge(env, new)) == (old, 200, 200)
        assert (listed(env, KEY)["state"], listed(env, KEY)["oldValueSecondsLeft"] <= 60) == ("rotating", True)
        early = env.run("secrets", "rotate", "staging", KEY, "--finish", "--yes")
        with (env.folder / "web.py").open("rb") as value:
            given = env.run("secrets", "set", "staging", KEY, "--yes", stdin=value)
        assert (early.returncode, given.returncode, "DOD561" in early.stderr, "DOD561" in given.stderr) == (
            1,
            1,
            True,
            True,
        ), given.stderr
        done = changed(env, KEY, "--finish", "--now")
        visitors.go_on()
    assert (keys(env), visitors.refused, listed(env, KEY)["state"]) == ([new], [], "ok")
    assert [around_the_edge(env, key) for key in (old, new, "forged")] == [403, 200, 403]
    assert serving(env).pid == before
    assert [value for value in (old, new) if value in early.stderr + done.stdout + done.stderr] == []


def test_compromised_edge_key_is_refused_at_once(env):
    """One command: the edge sends another one, and who has the old one is let in no more."""
    (old,) = keys(env)
    changed(env, KEY, "--now")
    assert (len(keys(env)), around_the_edge(env, old), get(edge(env))[0]) == (1, 403, 200)


def test_login_changes_role_by_role_and_nobody_is_refused(env):
    """The other role serves, as the owner; the old role is closed and its password opens nothing."""
    old = login(env)
    assert get(edge(env), "/who")[1] == f"{old.role} as postgres"
    with Visitors(env) as visitors:
        done = changed(env, LOGIN)
        visitors.go_on()
    new = login(env)
    assert (visitors.refused, {old.role, new.role}) == ([], set(ROLES))
    assert (get(edge(env), "/who")[1], may_sign_in(env)) == (f"{new.role} as postgres", [new.role])
    assert (opens(env, old), opens(env, new)) == (False, True)
    row = listed(env, LOGIN)
    assert (row["state"], row["rotation"], row["usedBy"]) == ("ok", "dual-role", ["web"])
    assert [value for value in (old.password, new.password) if value in done.stdout + done.stderr] == []


@pytest.mark.parametrize("change", POINTS, ids=" ".join)
def test_change_that_is_killed_is_finished_or_taken_back(env, change):
    """Nobody is refused, at the kill, at its resume or later; what is stored is what serves, and no other role is open.

    What dropped an old key and was finished lets nobody in with it.
    """
    name, *words = change
    for at, undo in POINTS[change]:
        if (len(keys(env)) > 1) is not (change is FINISH):
            changed(env, KEY, *([] if change is FINISH else ["--finish", "--now"]))
        old = keys(env)[-1]
        with Visitors(env) as visitors:
            env.killed(at, "secrets", "rotate", "staging", name, *words, "--yes")
            done = env.run("resume", "staging", "--yes", "--json", *(["--undo"] if undo else []))
            assert json.loads(done.stdout)["closed"], (at, undo, done.stdout)
            visitors.go_on()
        assert visitors.refused == [], (at, undo)
        assert listed(env, name)["state"] in ("ok", "rotating"), (at, undo)
        assert may_sign_in(env) == [login(env).role], (at, undo)
        assert get(edge(env), "/who")[1].startswith(login(env).role), (at, undo)
        assert [around_the_edge(env, key) for key in keys(env)] == [200] * len(keys(env)), (at, undo)
        assert not words or undo or (len(keys(env)), around_the_edge(env, old)) == (1, 403), (at, undo)
        assert noted(env) == set(), (at, undo)


def test_restore_brings_no_old_login_back(env):
    """The data of then has the roles of then; killed anywhere, the login of now serves afterwards and it alone."""
    point = json.loads(env.run("releases", "staging", "--json").stdout)["restorePoints"][0].rpartition("/")[2]
    back = ("rollback", "staging", env.releases[0], "--restore", point, "--yes")
    while login(env).role == ROLES[0]:  # the role of the restore point
        changed(env, LOGIN)
    for at in RESTORE_POINTS:
        env.killed(at, *back)
        done = env.run("resume", "staging", "--yes")
        assert done.returncode == 0, (at, done.stdout + done.stderr)
        assert (env.serves(), may_sign_in(env)) == (env.releases[0], [login(env).role]), at
        assert get(edge(env), "/who")[1].startswith(login(env).role), at
