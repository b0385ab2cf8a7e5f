"""A real Django project: two apps of its own beside Django's `auth` and `contenttypes`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from dodai.migrations.interpreter import Interpreter
from dodai.migrations.policy import MigrationsPolicy
from dodai.migrations.ports import Author, Connect, MigrationTarget, Shadow, SqlConnection
from dodai.providers.django_migrations.tool import DjangoMigrations
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import connect

POLICY = MigrationsPolicy(folder="web", format="django", lock_timeout_s=0.2, lock_patience_s=2.0, runner_patience_s=0.5)
MANAGE = """
import os, sys
if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
    from django.core.management import execute_from_command_line
    execute_from_command_line(sys.argv)
"""
SETTINGS = """
SECRET_KEY = "only for tests"
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "quiz", "score"]
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "nowhere", "HOST": "db.invalid"}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
"""
QUIZ_MODELS = """
from django.conf import settings
from django.db import models

class Question(models.Model):
    text = models.TextField()
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.CASCADE)
"""
SCORE_MODELS = """
from django.db import models

class Score(models.Model):
    question = models.ForeignKey("quiz.Question", on_delete=models.CASCADE)
    points = models.IntegerField(default=0)
"""


def migration(dependencies: list[tuple[str, str]], *operations: str, body: str = "", head: str = "") -> str:
    """A migration module; `head` stands before the class, `body` in it."""
    listed = "".join(f"        {operation},\n" for operation in operations)
    return (
        f"from django.conf import settings\nfrom django.db import migrations, models\n\n{head}\n"
        f"class Migration(migrations.Migration):\n    {body or 'initial = False'}\n"
        f"    dependencies = {dependencies!r}\n    operations = [\n{listed}    ]\n"
    )


QUIZ_1 = migration(
    [("auth", "0012_alter_user_first_name_max_length")],
    "migrations.CreateModel('Question', [('id', models.BigAutoField(primary_key=True)), ('text', models.TextField())])",
)
QUIZ_2 = migration(
    [("quiz", "0001_initial")],
    "migrations.AddField('question', 'owner', models.ForeignKey(settings.AUTH_USER_MODEL, null=True,"
    " on_delete=models.CASCADE))",
)
SCORE_1 = migration(
    [("quiz", "0002_owner")],
    "migrations.CreateModel('Score', [('id', models.BigAutoField(primary_key=True)),"
    " ('points', models.IntegerField(default=0)),"
    " ('question', models.ForeignKey('quiz.Question', on_delete=models.CASCADE))])",
)
PROJECT = {
    "manage.py": MANAGE,
    "shop/__init__.py": "",
    "shop/settings.py": SETTINGS,
    "quiz/__init__.py": "",
    "quiz/models.py": QUIZ_MODELS,
    "quiz/migrations/__init__.py": "",
    "quiz/migrations/0001_initial.py": QUIZ_1,
    "quiz/migrations/0002_owner.py": QUIZ_2,
    "score/__init__.py": "",
    "score/models.py": SCORE_MODELS,
    "score/migrations/__init__.py": "",
    "score/migrations/0001_initial.py": SCORE_1,
}
OURS = ("quiz.0001_initial", "quiz.0002_owner", "score.0001_initial")
ALL = 2 + 12 + 3
"""Of contenttypes, of auth, of the project (Django 5.2)."""


@pytest.fixture
def target(tmp_path: Path, database: str) -> Callable[..., MigrationTarget]:
    """The project on the test's database, with more files or others."""

    def make(files: dict[str, str] | None = None, policy: MigrationsPolicy = POLICY) -> MigrationTarget:
        for name, text in {**({} if (tmp_path / "web").exists() else PROJECT), **(files or {})}.items():
            path = tmp_path / "web" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        tool = DjangoMigrations(tmp_path, "web", Interpreter(sys.executable))
        return MigrationTarget(tmp_path, policy, lambda: connect(database), lambda: Author(actor="somebody"), tool=tool)

    return make


@pytest.fixture
def conn(database: str) -> Iterator[SqlConnection]:
    opened = connect(database, autocommit=True)
    yield opened
    opened.close()


@pytest.fixture
def shadow(postgres: Cluster) -> Shadow:
    """Empty databases of the session's server."""

    @contextmanager
    def start() -> Iterator[Callable[[], Connect]]:
        with ExitStack() as stack:

            def new() -> Connect:
                dsn = stack.enter_context(postgres.fresh_database("shadow"))
                return lambda: connect(dsn)

            yield new

    return start
