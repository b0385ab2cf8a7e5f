"""Every command that changes something, on a protected environment that lacks evidence, an approval, or an open hour.

Whatever is typed, with whatever manifest: what serves is a release that was let in, and what is stored stays.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from tests.end_to_end.protected_app import SIGNERS, ProtectedApp

from dodai.cli.main import run
from dodai.wiring import environments
from dodai.wiring.find_project import find_project

FREEZE = 'freeze = ["2020-01-01T00:00/2099-01-01T00:00 UTC"]'
SITUATIONS = {
    "no evidence": "approvals = 0",
    "no approval": f'allowed_signers = "{SIGNERS}"',
    "freeze": f"approvals = 0\n{FREEZE}",
}
DATABASE = '[database]\nused_by = ["web"]\n'
SPOILED = "# nobody has seen this"
DESCRIPTIONS = {
    "origins": 'public_origins = ["https://evil.example"]',
    "database": 'database = "postgres"\ndatabase_url = {empty}',
    "secrets": 'secrets = "command"\nsecrets_read = ["cat", "stolen.json"]\nsecrets_write = ["tee", "stolen.json"]',
}
TOLD = ("DODAI_PUBLIC_ORIGINS", "DATABASE_URL", "DODAI_CSRF_KEYS", "DODAI_RELEASE")
MANIFESTS = ("as it is", "not protected", "no control database", "an empty control database")
COMMANDS = (
    ("up",),
    ("deploy", "--yes"),
    ("rollback", "--yes"),
    ("rollback", "SPOILED", "--yes"),
    ("resume", "--yes"),
    ("resume", "--undo", "--yes"),
    ("resume", "--trust", "database", "--yes"),
    ("resume", "--trust", "copy", "--yes"),
    ("exec", "web", "--", "sh", "-c", "echo spoiled >web.py"),
    ("migrate", "up"),
    ("migrate", "down", "--yes"),
    ("migrate", "adopt", "--yes"),
    ("migrate", "repair", "1", "--yes"),
)


@dataclass
class Attacked:
    """A protected environment that serves `good`; the tree holds something nobody let in."""

    app: ProtectedApp
    situation: str
    good: str
    spoiled: str
    empty: str
    edge: str

    def manifest(self, kind):
        protection = SITUATIONS[self.situation]
        dsn = {"no control database": "", "an empty control database": self.empty}.get(kind, self.app.dsn)
        app = ProtectedApp(self.app.folder, dsn)
        app.write(spoil=SPOILED, more=DATABASE, protection=protection, protected=kind == "as it is")

    def serves(self):
        """The release that answers, by its own word; empty when nobody does."""
        try:
            with urllib.request.urlopen(self.edge + "/", timeout=5) as answer:
                return answer.read().decode().removeprefix("hello from ")
        except urllib.error.URLError:
            return ""

    def stored(self):
        url = json.loads((self.app.folder / ".dodai/env/staging/database.json").read_text())["direct"]
        try:
            with psycopg.connect(url, connect_timeout=2) as connection:
                rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
                return [*rows, *connection.execute("SELECT version_id, is_applied FROM goose_db_version ORDER BY id")]
        except psycopg.OperationalError:
            return None  # it does not run

    def told(self):
        """What the process that people reach was started with, of what the manifest of an environment decides."""
        here = environments.open(find_project(self.app.folder / "dodai.toml"), "staging")
        live = next(one for one in asyncio.run(here.compute.status()).service("web").instances if one.live)
        lines = Path(f"/proc/{live.pid}/environ").read_text().split("\0")
        return {name: value for name, _, value in (line.partition("=") for line in lines) if name in TOLD}

    def attack(self, words):
        env = ["--env", "staging"] if words[0] == "migrate" else ["staging"]
        at = 2 if words[0] == "migrate" else 1
        words = [self.spoiled if word == "SPOILED" else word for word in words]
        return self.run(*words[:at], *env, *words[at:])

    def run(self, *words):
        """A command line in this process, like `main` gets it; what it said on stderr."""
        said = io.StringIO()
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
            code = run([*words, "--manifest", str(self.app.folder / "dodai.toml")])
        return code, said.getvalue()


@pytest.fixture(scope="module", params=SITUATIONS)
def attacked(request, tmp_path_factory, postgres):
    folder = tmp_path_factory.mktemp("attacked") / "app"
    (folder / "db" / "migrations").mkdir(parents=True)
    first = "-- +goose Up\nCREATE TABLE a (b int);\n-- +goose Down\nDROP TABLE a;\n"
    (folder / "db" / "migrations" / "00001_a.sql").write_text(first)
    dsns = [postgres.create_database(f"{name}_{request.param.replace(' ', '_')}") for name in ("control", "empty")]
    app = ProtectedApp(folder, dsns[0]).signers("hana")
    try:
        app.write(more=DATABASE, protection=SITUATIONS[request.param]).commit()
        app.evidence()
        glass = ["--break-glass", "the first"] if request.param == "freeze" else []
        if request.param == "no approval":
            app.run("deploy", "staging", "--yes")
            app.approve("hana")
        done = app.run("deploy", "staging", "--yes", *glass)
        assert done.returncode == 0, done.stderr
        good = json.loads(app.run("releases", "staging", "--json").stdout)["releases"][0]["release"]
        app.write(spoil=SPOILED, more=DATABASE, protection=SITUATIONS[request.param])
        second = first.replace("TABLE a", "TABLE c")
        (folder / "db" / "migrations" / "00002_c.sql").write_text(second)
        app.commit()
        here = environments.open(find_project(folder / "dodai.toml"), "staging")
        spoiled = here.artifacts.publish(str(folder)) if request.param == "no evidence" else app.evidence()
        edge = json.loads(app.run("status", "staging", "--json").stdout)["host"]["edge"]
        yield Attacked(app, request.param, good, spoiled, dsns[1], edge)
    finally:
        app.clear()


@pytest.mark.share(3)
@pytest.mark.parametrize("manifest", MANIFESTS)
@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_no_command_serves_or_stores_what_was_not_let_in(attacked, words, manifest):
    """Refused, and what serves and what is stored are what they were."""
    attacked.manifest(manifest)
    stored = attacked.stored()
    code, said = attacked.attack(words)
    assert (attacked.serves(), attacked.stored()) == (attacked.good, stored), said
    assert code in (1, 2, 4), said


@pytest.mark.share(3)
@pytest.mark.parametrize("description", DESCRIPTIONS)
def test_what_todays_manifest_says_of_the_environment_reaches_no_process(attacked, description):
    """A restart and a rollback of what was let in tell it what was let in: its origins, its database, its secrets."""
    attacked.manifest("as it is")
    before = attacked.told()
    section = DESCRIPTIONS[description].format(empty=json.dumps(attacked.empty))
    kept = json.loads((attacked.app.folder / ".dodai/env/staging/secrets.json").read_text())
    (attacked.app.folder / "stolen.json").write_text(json.dumps({**kept, "DODAI_CSRF_KEYS": "evil:" + "A" * 43}))
    attacked.app.write(spoil=SPOILED, more=DATABASE, protection=f"{SITUATIONS[attacked.situation]}\n{section}")
    for words in (("restart", "--yes"), ("rollback", attacked.good, "--yes")):
        code, said = attacked.attack(words)
        assert (attacked.told(), attacked.serves(), code) == (before, attacked.good, 0), (words, said)


def test_another_environment_does_not_reach_the_database_of_a_protected_one(attacked):
    """Neither by its address in the manifest, where a deploy would migrate it, nor by a variable of the shell."""
    attacked.manifest("as it is")
    stored = attacked.stored()
    url = json.loads((attacked.app.folder / ".dodai/env/staging/database.json").read_text())["direct"]
    manifest = attacked.app.folder / "dodai.toml"
    other = f'[env.other]\ndatabase = "postgres"\ndatabase_url = {json.dumps(url)}\n'
    manifest.write_text(manifest.read_text() + other)
    code, said = attacked.run("deploy", "other", "--yes")
    assert (code in (1, 3), "DOD264" in said, attacked.stored()) == (True, True, stored), said
    for words in (("up",), ("down", "--yes"), ("adopt", "--yes"), ("repair", "1", "--reason", "x", "--yes")):
        done = attacked.app.run("migrate", *words, DATABASE_URL=url)
        assert (done.returncode, attacked.stored()) == (1, stored), (words, done.stderr)
    assert attacked.run("down", "other")[0] == 0


@pytest.mark.share(3)
@pytest.mark.parametrize("manifest", MANIFESTS)
def test_what_was_stopped_comes_back_as_it_was_let_in_or_not_at_all(attacked, manifest):
    """`down`, then everything that starts something; the release that was let in comes back by a rollback."""
    attacked.manifest("as it is")
    frozen = attacked.situation == "freeze"
    assert attacked.run("down", "staging")[0] == 2
    if frozen:
        code, said = attacked.run("down", "staging", "--yes")
        assert (code, "DOD360" in said) == (1, True), said
    assert attacked.run("down", "staging", "--yes", *(["--break-glass", "to look"] if frozen else []))[0] == 0
    attacked.manifest(manifest)
    for words in (("up",), ("deploy", "--yes"), ("rollback", "--yes"), ("rollback", "SPOILED", "--yes")):
        code, said = attacked.attack(words)
        assert (attacked.serves(), code in (1, 2, 4)) == ("", True), (words, code, said)
    attacked.manifest("as it is")
    code, said = attacked.run("rollback", "staging", attacked.good, "--yes")
    assert (attacked.serves(), code) == (attacked.good, 0), said


@pytest.mark.share(3)
def test_journal_that_was_emptied_and_trusted_opens_nothing(attacked):
    """The reason is on record, and this machine still knows what the release in service asks for."""
    attacked.manifest("an empty control database")
    glass = ("--break-glass", "the old one burned down")
    code, said = attacked.run("resume", "staging", "--trust", "database", "--yes", *glass)
    assert code == 0, said
    assert "the old one burned down" in attacked.app.run("history", "staging").stdout
    for words in (("up",), ("deploy", "--yes"), ("rollback", "SPOILED", "--yes"), ("migrate", "up")):
        code, said = attacked.attack(words)
        assert (attacked.serves(), code in (1, 2, 4)) == (attacked.good, True), (words, code, said)
    attacked.manifest("as it is")
    code, said = attacked.run("resume", "staging", "--trust", "database", "--yes", *glass)
    assert code == 0, said
    code, said = attacked.run("rollback", "staging", attacked.good, "--yes")
    assert (attacked.serves(), code) == (attacked.good, 0), said
