"""Flask-Migrate's folder, made by its own `flask db init`, through every command: its env.py asks a Flask application."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.providers.alembic.test_check import A, shadow_of
from tests.support.command import dodai

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.interpreter import Interpreter
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import MigrationTarget, SqlConnection
from dodai.providers.alembic.tool import Alembic
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import connect

MODEL = """

class Question(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    text = db.Column(db.Text)
"""
HEAD = """
import os

from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

OWN = os.environ.get("OWN_URL", "postgresql+psycopg://nobody@db.invalid/of_the_application")
"""
SHOP = (
    f"{HEAD}\napp = Flask(__name__)\napp.config['SQLALCHEMY_DATABASE_URI'] = OWN\n"
    f"db = SQLAlchemy(app)\nMigrate(app, db)\n{MODEL}\n\nimport dodai.wsgi\napp.wsgi_app = dodai.wsgi.wrap(app)\n"
)
"""Its own settings lead to a host that does not exist."""
FACTORY = (
    f"{HEAD}\ndb = SQLAlchemy()\n\n\ndef make(name):\n    app = Flask(name)\n    app.secret_key = os.environ['SHOP_KEY']\n"
    f"    app.config['SQLALCHEMY_DATABASE_URI'] = OWN\n    db.init_app(app)\n    Migrate(app, db)\n    return app\n{MODEL}"
)
MANIFEST = f"""
[project]
name = "shop"
langs = ["en"]
python = "{sys.executable}"

[service.web]
command = ["{{python}}", "-m", "flask", "--app", "shop", "run", "--port", "{{port}}"]
app = "shop:app"
public = true

[migrations]
folder = "migrations/versions"
format = "alembic"
base = "none"
"""
"""As in the guide, for a database whose address the application's own settings do not have."""


COLUMNS = """
SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('question') AND attnum > 0 AND NOT attisdropped
"""


class Shop:
    """A repository whose migrations were made with `flask db init` and `flask db migrate`, on a developer's database."""

    def __init__(self, folder: Path, database: str, scratch: str) -> None:
        self.folder, self.database, self.scratch = folder, database, scratch

    def flask(self, app: str, *words: str) -> None:
        url = self.scratch.replace("postgresql://", "postgresql+psycopg://")
        done = subprocess.run(
            [sys.executable, "-m", "flask", "--app", app, "db", *words], cwd=self.folder,
            env={**os.environ, "OWN_URL": url, "SHOP_KEY": "k"}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def made(self, text: str, app: str) -> None:
        """Two revisions: the table, and a column of it."""
        (self.folder / "shop.py").write_text(text.replace("    text = db.Column(db.Text)\n", ""))
        self.flask(app, "init")
        self.flask(app, "migrate", "-m", "table")
        self.flask(app, "upgrade")
        (self.folder / "shop.py").write_text(text)
        self.flask(app, "migrate", "-m", "text")

    def told(self, *words: str) -> dict[str, Any]:
        done = dodai("migrate", *words, "--json", cwd=self.folder, DATABASE_URL=self.database)
        assert done.returncode == 0, done.stdout + done.stderr
        return dict(json.loads(done.stdout))

    def target(self, application: str = "", folder: str = "migrations", **environment: str) -> MigrationTarget:
        interpreter = Interpreter(sys.executable, environment)
        tool = Alembic(self.folder, f"{folder}/versions", interpreter, application=application)
        policy = MigrationsPolicy(folder=f"{folder}/versions", format="alembic")
        return MigrationTarget(self.folder, policy, lambda: connect(self.database), tool=tool)


@pytest.fixture
def shop(tmp_path: Path, database: str, postgres: Cluster) -> Iterator[Shop]:
    with postgres.fresh_database("scratch") as scratch:
        yield Shop(tmp_path, database, scratch)


@pytest.fixture
def conn(database: str) -> Iterator[SqlConnection]:
    opened = connect(database, autocommit=True)
    yield opened
    opened.close()


def columns(conn: SqlConnection) -> set[str]:
    return {row[0] for row in conn.execute(COLUMNS).fetchall()}


def refused(act: Callable[[], object]) -> DodaiError:
    with pytest.raises(DodaiError) as caught:
        act()
    return caught.value


def test_every_command_works_on_the_database_that_is_named(shop: Shop, conn: SqlConnection):
    """The application is the one of the manifest; nothing is looked for where its own settings lead."""
    (shop.folder / "dodai.toml").write_text(MANIFEST)
    shop.made(SHOP, "shop")
    assert len(shop.told("status")["pending"]) == 2
    assert shop.told("check")["findings"] == shop.told("check", "--all")["findings"] == []
    assert len(shop.told("up")["ran"]) == 2
    assert columns(conn) == {"id", "text"}
    assert (shop.told("up")["ran"], shop.told("status")["applied"]) == ([], 2)
    assert len(shop.told("down", "--yes")["ran"]) == 1
    assert columns(conn) == {"id"}
    conn.execute("DROP TABLE alembic_version; DROP SCHEMA dodai CASCADE")
    adopted = shop.told("adopt", "--yes")
    assert (len(adopted["baseline"]), len(adopted["pending"])) == (1, 1)
    made = Path(shop.told("new", "more")["path"])
    assert made.parent == Path("migrations/versions")
    assert len(shop.told("up")["ran"]) == 2
    assert columns(conn) == {"id", "text"}


def test_a_factory_is_named_by_flasks_own_variable(shop: Shop, conn: SqlConnection):
    """With what its settings need; the database that these name is left alone."""
    factory = "shop:make('shop')"
    shop.made(FACTORY, factory)
    own = shop.scratch.replace("postgresql://", "postgresql+psycopg://")
    other = connect(shop.scratch, autocommit=True)
    before = columns(other)
    done = run.up(shop.target(FLASK_APP=factory, SHOP_KEY="k", OWN_URL=own))
    assert len(done.ran) == 2
    assert done.notes == ("limits hold in the session of `psycopg`: lock_timeout 500 ms",)
    assert columns(conn) == {"id", "text"}
    assert columns(other) == before == {"id"}
    other.close()


@pytest.mark.parametrize(("moved", "app"), [("db/schema", "shop.py"), ("backend/migrations", "backend/shop.py")])
def test_the_application_is_looked_for_above_the_folder(shop: Shop, conn: SqlConnection, moved: str, app: str):
    """`flask db` is typed where the application lies, which is not always the folder next above."""
    (shop.folder / "shop.py").write_text(SHOP)
    shop.flask("shop", "init")
    (shop.folder / moved).parent.mkdir(exist_ok=True)
    (shop.folder / "migrations").rename(shop.folder / moved)
    (shop.folder / "shop.py").rename(shop.folder / app)
    (shop.folder / moved / "versions/a1.py").write_text(A)
    assert [ran.migration.id for ran in run.up(shop.target("shop:app", moved)).ran] == ["a1"]
    assert conn.execute("SELECT to_regclass('quiz')").fetchone()[0] == "quiz"


@pytest.mark.share(2)
@pytest.mark.parametrize(
    ("text", "application", "code", "said"),
    [
        (SHOP.replace("app = ", "shop = ").replace("app.", "shop.").replace("(app", "(shop"), "", "DOD226", "Could not locate a Flask application"),
        (FACTORY, "shop:make('shop')", "DOD226", "cannot be loaded: KeyError: 'SHOP_KEY'"),
        (SHOP.replace("Migrate(app, db)", ""), "shop:app", "DOD226", "the Flask application `shop` has no Flask-Migrate"),
        (SHOP.replace("postgresql+psycopg://nobody@db.invalid/of_the_application", "sqlite:///shop.db"), "shop:app", "DOD263", "is `sqlite`, not PostgreSQL"),
    ],
    ids=["not found", "not loaded", "without Flask-Migrate", "another database system"],
)  # fmt: skip
def test_an_application_that_cannot_be_asked_is_a_refusal(
    shop: Shop,
    conn: SqlConnection,
    postgres: Cluster,
    text: str,
    application: str,
    code: str,
    said: str,
):
    """Before anything is changed, with what is missing and where to say it."""
    (shop.folder / "shop.py").write_text(SHOP)
    shop.flask("shop", "init")
    (shop.folder / "migrations/versions/a1.py").write_text(A)
    (shop.folder / "shop.py").write_text(text)
    for act in (
        lambda: run.up(shop.target(application)),
        lambda: shop.target(application).tool.rendered(shadow_of(postgres)),
    ):
        found = refused(act)
        assert (found.code.id, said in found.message) == (code, True), found
        assert found.exit_code == 1
        assert "FLASK_APP" in found.fix if code == "DOD226" else "`[database].variable`" in found.fix
    assert conn.execute("SELECT to_regclass('quiz')").fetchone()[0] is None
    assert not (shop.folder / "instance").exists()
