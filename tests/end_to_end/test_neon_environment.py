"""An environment whose database is a Neon branch: the same commands, and a rehearsal of migrations on a branch."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from tests.end_to_end.small_app import SmallApp
from tests.support.command import start_dodai
from tests.support.wait import until

from dodai.providers.postgres.connection import connect
from dodai.standins.neon_standin import NeonStandIn

CANARY = "napi_c4n4ry"
ENVIRONMENT = """database = "neon"
neon = { project = "quiet-river-123456", role = "quiz_owner", database = "quiz" }"""
MORE = """[database]
used_by = ["web"]
[migrations]
folder = "db/migrations"
queries = ["queries/*.sql"]
"""


@pytest.fixture
def neon():
    with NeonStandIn({CANARY: frozenset({"*"})}) as standin:
        yield standin


@pytest.fixture
def app(tmp_path):
    small = SmallApp(tmp_path)
    small.write(environment=ENVIRONMENT, more=MORE)
    small.migration(
        1, "CREATE TABLE note (id int PRIMARY KEY, author text);", "DROP TABLE note;", "SELECT author FROM note;"
    )
    yield small
    small.clear()


def execute(neon, statement):
    url = neon.named("main").server.login("quiz_owner", "quiz", pooled=False)
    with connect(url, autocommit=True) as session:
        cursor = session.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_neon_branch_is_migrated_copied_restored_and_rehearsed_on_by_the_same_commands(app, neon):
    """Two releases with a branch as restore point, back in time to it, a rehearsal that dies; the key is never said."""
    said = []
    told = {"NEON_API_URL": neon.url, "NEON_API_KEY": CANARY}

    def run(*words, code=0, **extra):
        done = app.run(*words, **{**told, **extra})
        said.append(done.stdout + done.stderr)
        assert done.returncode == code, done.stderr
        return done

    def released():
        rows = json.loads(run("releases", "staging", "--json").stdout)
        return next(row["release"] for row in rows["releases"] if row["live"]), rows["restorePoints"]

    assert "DOD700" in run("deploy", "staging", "--yes", code=3, NEON_API_KEY="").stderr
    assert "DOD701" in run("deploy", "staging", "--yes", code=3, NEON_API_KEY="napi_other").stderr
    run("deploy", "staging", "--yes")
    first, points = released()
    assert points == []
    execute(neon, "INSERT INTO note VALUES (1, 'hana')")

    app.migration(
        2,
        "ALTER TABLE note DROP COLUMN author;",
        "ALTER TABLE note ADD COLUMN author text;",
        "SELECT id FROM note;",
    )
    rehearsed = run("migrate", "rehearse", "--env", "staging", "--on", "neon")
    assert "note: 1 rows" in rehearsed.stdout
    assert "not production data" not in rehearsed.stdout
    assert [branch.name for branch in neon.branches.values()] == ["main"]
    assert "DOD010" in run("migrate", "rehearse", "--env", "local", "--on", "neon", code=2).stderr

    for number, left in ((signal.SIGTERM, False), (signal.SIGKILL, True)):
        neon.work_s = 1.0  # so that it ends while Neon makes the branch
        with (app.folder / "out.log").open("wb") as log:
            ended = start_dodai("migrate", "rehearse", "--env", "staging", cwd=app.folder, output=log, **told)
        until(lambda: len(neon.branches) == 2, "the branch of the rehearsal", ended)
        ended.send_signal(number)
        ended.wait()
        neon.work_s = 0.0
        assert (len(neon.branches) == 2) is left, app.output()
    assert "is of another rehearsal, begun 0 min ago" in run("migrate", "rehearse", "--env", "staging").stderr
    (kept,) = [branch for branch in neon.branches.values() if branch.name.startswith("dodai-rehearsal-")]
    kept.created_at = "2026-11-01T00:00:00Z"
    assert f"deleted the branch `{kept.name}`" in run("migrate", "rehearse", "--env", "staging").stderr
    assert [branch.name for branch in neon.branches.values()] == ["main"]

    run("deploy", "staging", "--yes")
    second, (point,) = released()
    assert second != first
    execute(neon, "INSERT INTO note VALUES (2)")
    refused = run("rollback", "staging", "--yes", code=1)
    assert f"--restore {Path(point).name}" in refused.stderr
    back = run("rollback", "staging", first, "--restore", Path(point).name, "--yes")
    assert "is kept in the branch `dodai-before-" in back.stderr
    assert execute(neon, "SELECT id, author FROM note") == [(1, "hana")]
    assert released()[0] == first
    assert neon.restores == 1
    assert "allow list" in run("doctor", "staging").stdout

    password = neon.named("main").server.passwords["quiz_owner"]
    for secret in (CANARY, password):
        assert secret not in "".join(said)
        for file in (app.folder / ".dodai").rglob("*"):
            if file.is_file() and file.name != "serving.json":
                assert secret.encode() not in file.read_bytes(), file


def test_snapshots_of_a_branch_that_has_none_end_a_deploy_in_its_preflight(app, neon):
    """Before anything of the release is started, and only where there is something to come back from."""
    told = {"NEON_API_URL": neon.url, "NEON_API_KEY": CANARY}
    app.write(environment=ENVIRONMENT.replace("{ project", '{ restore_points = "snapshot", project'), more=MORE)
    neon.named("main").parent_id = "br-elsewhere"
    refused = app.run("deploy", "staging", "--yes", **told)
    assert (refused.returncode, "DOD724" in refused.stderr) == (3, True), refused.stderr
    assert "step `preflight` failed" in refused.stderr
    assert not [one for one in neon.exchanges if one.method != "GET"]
    neon.named("main").parent_id = ""
    assert app.run("deploy", "staging", "--yes", **told).returncode == 0
    neon.named("main").parent_id = "br-elsewhere"
    app.write(
        spoil="# second",
        environment=ENVIRONMENT.replace("{ project", '{ restore_points = "snapshot", project'),
        more=MORE,
    )
    assert app.run("deploy", "staging", "--yes", **told).returncode == 0, "nothing is pending"
