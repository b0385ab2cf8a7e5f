"""A history of Alembic and one of Django, through the commands that a person types, from an empty database to a deploy."""

from __future__ import annotations

import json

import pytest
from tests.end_to_end.small_app import SmallApp
from tests.providers.alembic.test_check import A, B, revision
from tests.providers.alembic.test_run import ENV_PY
from tests.providers.django_migrations.conftest import ALL, PROJECT, migration

ALEMBIC = {
    "alembic.ini": "[alembic]\nscript_location = %(here)s/alembic\n",
    "alembic/env.py": ENV_PY.replace("APP_URL", "DATABASE_URL"),
    "alembic/script.py.mako": "revision = ${repr(up_revision)}\ndown_revision = ${repr(down_revision)}\n\n"
    "def upgrade(): pass\n\ndef downgrade(): pass\n",
    "alembic/versions/a1.py": A,
    "alembic/versions/b2.py": B,
}
DJANGO = {f"site/{name}": text for name, text in PROJECT.items()}
MORE = '[database]\nused_by = ["web"]\n[migrations]\nbase = "none"\n'
ASKED = """
import psycopg
sys.path.insert(0, {tests!r})
import dodai.psycopg
with psycopg.connect(os.environ["DATABASE_URL"]) as conn:
    READY = bool(dodai.psycopg.schema_ready_sync(conn))
"""
CASES = [
    pytest.param(
        ALEMBIC,
        'folder = "alembic/versions"\nformat = "alembic"\n',
        ("alembic/versions/c3.py", revision("c3", "b2", "op.create_table('c', sa.Column('x', sa.Integer))", "op.drop_table('c')")),
        2,
        "add_readers",
        id="alembic",
    ),
    pytest.param(
        DJANGO,
        'folder = "site"\nformat = "django"\n',
        ("site/quiz/migrations/0003_c.py", migration([("quiz", "0002_owner")], "migrations.RunSQL('CREATE TABLE c (x int)', 'DROP TABLE c')")),
        ALL,
        "quiz.add_readers",
        id="django",
    ),
]  # fmt: skip


@pytest.fixture
def app(tmp_path):
    small = SmallApp(tmp_path)
    yield small
    small.clear()


def put(app, files):
    for name, text in files.items():
        path = app.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def told(done, code=0):
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


@pytest.mark.share(2)
@pytest.mark.parametrize(("files", "section", "later", "count", "new"), CASES)
def test_a_deploy_applies_what_is_pending_and_serves_once_it_is_there(app, files, section, later, count, new):
    """The release waits for its own migrations; the next deploy applies the new one, `down` and `status` see it."""
    app.write(spoil=ASKED.format(tests=""), more=MORE + section)
    put(app, files)
    first = app.run("deploy", "staging", "--yes")
    assert first.returncode == 0, first.stderr
    seen = told(app.run("migrate", "status", "--env", "staging", "--json"))
    assert (seen["applied"], seen["pending"], seen["refusal"]) == (count, [], None)
    put(app, dict([later]))
    assert len(told(app.run("migrate", "status", "--env", "staging", "--json"))["pending"]) == 1
    second = app.run("deploy", "staging", "--yes")
    assert second.returncode == 0, second.stderr
    assert told(app.run("migrate", "status", "--env", "staging", "--json"))["applied"] == count + 1
    assert told(app.run("migrate", "rehearse", "--env", "staging", "--json"))["pending"] == []
    undone = told(app.run("migrate", "down", "--env", "staging", "--yes", "--json"))
    assert [ran["path"] for ran in undone["ran"]] == [later[0]]
    rehearsed = told(app.run("migrate", "rehearse", "--env", "staging", "--json"))
    assert (rehearsed["pending"], rehearsed["ok"]) == ([later[0]], True)
    assert any("c" in statement["path"] for statement in rehearsed["statements"])


@pytest.mark.share(2)
@pytest.mark.parametrize(("files", "section", "later", "count", "new"), CASES)
def test_the_commands_work_without_a_deploy(app, files, section, later, count, new):
    """Locally and in CI: check, up, new, and a second up that does nothing."""
    app.write(more=MORE + section)
    put(app, files)
    checked = told(app.run("migrate", "check", "--json"))
    assert checked["findings"] == []
    assert len(told(app.run("migrate", "up", "--json"))["ran"]) == count
    again = told(app.run("migrate", "up", "--json"))
    assert (again["ran"], again["already"]) == ([], count)
    made = told(app.run("migrate", "new", new, "--json"))["path"]
    assert (app.folder / made).is_file()
    assert len(told(app.run("migrate", "status", "--json"))["pending"]) == 1
