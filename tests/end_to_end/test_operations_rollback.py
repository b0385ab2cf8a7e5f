"""Going back with real processes and a real schema: when it may, when it must not, and what a person is told."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import psycopg
import pytest
from tests.end_to_end.small_app import SmallApp
from tests.support.command import clean_environment
from tests.support.proposed import carry_out

from dodai.core import proposal
from dodai.operations.run.plans import build, request_for
from dodai.wiring import environments
from dodai.wiring.find_project import find_project

DATABASE = """[database]
used_by = ["web"]
[migrations]
folder = "db/migrations"
queries = ["queries/*.sql"]
"""
MIGRATIONS = {
    1: ("CREATE TABLE note (id int PRIMARY KEY, text text, author text);", "DROP TABLE note;"),
    2: ("ALTER TABLE note ADD COLUMN likes int;", "ALTER TABLE note DROP COLUMN likes;"),
    3: ("ALTER TABLE note DROP COLUMN author;", "ALTER TABLE note ADD COLUMN author text;"),
}


@pytest.fixture
def app(tmp_path):
    small = SmallApp(tmp_path)
    yield small
    small.clear()


def release(app, number, query, *, more=DATABASE):
    """The tree of release `number`: migrations 1 to `number`, and one query."""
    app.write(spoil=f"# release {number}", more=more)
    for n in range(1, number + 1):
        up, down = MIGRATIONS[n]
        file = app.folder / "db" / "migrations" / f"{n}_change.sql"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"-- +goose Up\n{up}\n-- +goose Down\n{down}\n")
    queries = app.folder / "queries"
    queries.mkdir(exist_ok=True)
    (queries / "read.sql").write_text(query)
    deployed = app.run("deploy", "staging", "--yes")
    assert deployed.returncode == 0, deployed.stderr
    return live(app)


def restore_points(app):
    paths = json.loads(app.run("releases", "staging", "--json").stdout)["restorePoints"]
    return [path.rpartition("/")[2] for path in paths]


def live(app):
    host = environments.open(find_project(app.folder / "dodai.toml"), "staging").host
    service = asyncio.run(host.status()).service("web")
    return service.release if service else ""


def test_rollback_is_allowed_while_queries_fit_and_refused_when_a_column_is_gone(app):
    """Expand lets the old release back, contract does not; `--yes` changes nothing about it."""
    first = release(app, 1, "SELECT author FROM note WHERE id = %(id)s;\n")
    second = release(app, 2, "SELECT text, likes FROM note;\n")

    back = app.run("rollback", "staging", "--yes")
    assert back.returncode == 0, back.stderr
    assert live(app) == first
    assert app.run("deploy", "staging", second[:8], "--yes").returncode == 0
    assert live(app) == second

    third = release(app, 3, "SELECT text, likes FROM note;\n")
    refused = app.run("rollback", "staging", first, "--yes")
    assert refused.returncode == 1, refused.stderr
    assert "DOD367 rollback-refused" in refused.stderr
    assert "queries/read.sql:1" in refused.stderr
    assert 'column "author" does not exist' in refused.stderr
    assert "roll forward" in refused.stderr
    assert f"--restore {restore_points(app)[0]}" in refused.stderr  # it ran last on migrations 1 and 2
    assert live(app) == third

    told = json.loads(app.run("releases", "staging", "--json").stdout)
    verdicts = {row["release"]: (row["live"], row["mayComeBack"]) for row in told["releases"]}
    assert verdicts == {first: (False, False), second: (False, True), third: (True, True)}
    assert len(told["restorePoints"]) == 2  # before migrations 2 and 3; an empty database needs none
    assert app.run("rollback", "staging", "--dry-run").returncode == 0
    assert app.run("rollback", "staging", "--yes").returncode == 0
    assert live(app) == second


def query(app, statement):
    """The application's own database, asked directly."""
    urls = json.loads((app.folder / ".dodai" / "env" / "staging" / "database.json").read_text())
    with psycopg.connect(urls["direct"], autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def test_refused_rollback_names_commands_that_work_forward_and_back_in_time(app):
    """What the refusal offers is typed as it stands: the old release serves again, on the data of its time."""
    first = release(app, 1, "SELECT author FROM note WHERE id = %(id)s;\n")
    query(app, "INSERT INTO note VALUES (1, 'before', 'hana')")
    release(app, 3, "SELECT text FROM note;\n")
    query(app, "INSERT INTO note VALUES (2, 'after')")
    refused = app.run("rollback", "staging", "--yes")
    assert refused.returncode == 1
    assert "`dodai deploy staging`" in refused.stderr
    offered = re.search(r"`dodai (rollback staging \S+ --restore \S+)`", refused.stderr)[1].split()

    shown = app.run(*offered, "--dry-run")
    assert "people get 503 from here on" in shown.stdout
    assert shown.stdout.index("point of no return") < shown.stdout.index("put-back")
    words = {"release": offered[2], "point": offered[4], "env": "staging"}
    back = carry_out(refused.stderr, proposal.ROLLBACK_RESTORE, cwd=app.folder, more=["--yes"], **words)
    assert "the data that was there is kept in" in back.stderr
    assert live(app) == first
    assert query(app, "SELECT id, author FROM note") == [(1, "hana")]
    assert app.run("rollback", "staging", first, "--restore", "nosuch", "--yes").returncode == 2
    shows_and_gives_back_what_was_replaced(app)


def shows_and_gives_back_what_was_replaced(app):
    """The row written after the restore point is counted, exported for its owner alone, and inserted again by the SQL."""
    told = json.loads(app.run("replaced", "staging", "--json").stdout)
    assert told["tables"] == [{"table": "public.note", "added": 1, "changed": 0, "removed": 0}]
    done = app.run("replaced", "staging", told["compared"], "--export", "lost")
    assert (done.returncode, "public.note         1         0         0" in done.stdout) == (0, True), done.stderr
    rows, replay = app.folder / "lost" / "rows.jsonl", app.folder / "lost" / "replay.sql"
    assert [oct(path.stat().st_mode & 0o777) for path in (rows, replay)] == ["0o600"] * 2
    row = {"id": 2, "text": "after", "likes": None}
    assert [json.loads(line) for line in rows.read_text().splitlines()] == [
        {"table": "public.note", "change": "added", "row": row}
    ]
    query(app, replay.read_text())
    assert query(app, "SELECT id, text FROM note ORDER BY id") == [(1, "before"), (2, "after")]
    again = app.run("replaced", "staging", "--export", "lost")
    assert (again.returncode, "is there already" in again.stderr) == (2, True)


def test_going_back_in_time_killed_half_way_is_finished_or_taken_back(app):
    """Before the data is touched the present release serves again; once it was, only forward, and never twice."""
    first = release(app, 1, "SELECT author FROM note WHERE id = %(id)s;\n")
    query(app, "INSERT INTO note VALUES (1, 'before', 'hana')")
    third = release(app, 3, "SELECT text FROM note;\n")
    point = json.loads(app.run("releases", "staging", "--json").stdout)["restorePoints"][0].rpartition("/")[2]
    words = ("rollback", "staging", first, "--restore", point, "--yes")

    killed(app, "applied:close", *words)
    undone = app.run("resume", "staging", "--undo", "--yes")
    assert undone.returncode == 0, undone.stderr
    assert live(app) == third
    with urllib.request.urlopen(edge(app)) as answer:
        assert answer.status == 200

    killed(app, "before applied:put-back", *words)
    resumed = app.run("resume", "staging", "--yes")
    assert resumed.returncode == 0, resumed.stderr
    assert live(app) == first
    assert query(app, "SELECT id, author FROM note") == [(1, "hana")]
    homes = (app.folder / ".dodai" / "env" / "staging" / "postgres").rglob("data.before-*")
    elsewhere = app.folder / ".dodai" / "env" / "staging" / "postgres" / "elsewhere"
    if elsewhere.exists():
        homes = Path(elsewhere.read_text().strip()).glob("data.before-*")
    assert len(list(homes)) == 1


def killed(app, at, *words):
    """The real command, dead at its record `at`."""
    code = "import tests.end_to_end.killed_dodai"
    environment = clean_environment({"KILL_AT": at, "PYTHONPATH": str(Path(__file__).parents[2])})
    died = subprocess.run([sys.executable, "-c", code, *words], cwd=app.folder, env=environment, check=False)
    assert died.returncode == -signal.SIGKILL


def edge(app):
    return json.loads(app.run("status", "staging", "--json").stdout)["host"]["edge"]


def test_release_without_queries_is_unknown_on_a_newer_schema_and_so_refused(app):
    """Nobody can tell whether it fits: no, with the way to make it known."""
    bare = DATABASE.replace('queries = ["queries/*.sql"]\n', "")
    release(app, 1, "", more=bare)
    second = release(app, 2, "", more=bare)
    refused = app.run("rollback", "staging", "--yes")
    assert refused.returncode == 1
    assert "unknown" in refused.stderr
    assert "[migrations].queries" in refused.stderr
    assert live(app) == second


def test_first_release_has_nothing_to_go_back_to(app):
    """Said before anything is asked."""
    app.write()
    assert app.run("deploy", "staging", "--yes").returncode == 0
    refused = app.run("rollback", "staging", "--yes")
    assert (refused.returncode, "DOD368" in refused.stderr) == (1, True)
    unknown = app.run("rollback", "staging", "nosuch", "--yes")
    assert (unknown.returncode, "`nosuch`" in unknown.stderr) == (2, True)


def test_rolled_back_release_brings_its_own_manifest_back(app):
    """A journey that only the newer release passes does not stop the older one from returning."""
    app.write()
    assert app.run("deploy", "staging", "--yes").returncode == 0
    first = live(app)
    manifest = app.folder / "dodai.toml"
    app.write(spoil="# newer")
    manifest.write_text(manifest.read_text().replace('contains = "hello from"', 'contains = "hello"\nstatus = 200'))
    assert app.run("deploy", "staging", "--yes").returncode == 0
    assert app.run("rollback", "staging", "--yes").returncode == 0
    told = json.loads(app.run("releases", "staging", "--json").stdout)["releases"]
    assert (told[0]["release"], told[0]["live"]) == (first, True)
    assert told[0]["configHash"] != told[1]["configHash"]


def test_plan_made_for_another_live_release_is_refused(app):
    """Somebody deployed between the plan and its execution: nothing is changed, exit 1."""
    app.write()
    assert app.run("deploy", "staging", "--yes").returncode == 0
    environment = environments.open(find_project(app.folder / "dodai.toml"), "staging")

    async def late():
        from dodai.engine.execute import execute

        app.write(spoil="# mine")
        mine = environment.artifacts.publish(str(app.folder))
        request = await request_for(environment, "deploy", mine)
        app.write(spoil="# theirs")
        theirs = await asyncio.to_thread(app.run, "deploy", "staging", "--yes")
        assert theirs.returncode == 0
        with environment.journal() as journal:
            return await execute(build(environment, request), journal, environment.lease(request))

    outcome = asyncio.run(late())
    assert (outcome.exit_code, outcome.error().code.id) == (1, "DOD377")
    assert "nothing was changed" in outcome.summary()
    assert outcome.ids("done", "remains", "undone") == ()
