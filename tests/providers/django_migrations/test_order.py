"""The order is Django's own: whatever the graph, `up` ends in the schema of `manage.py migrate`, byte for byte."""

from __future__ import annotations

import os
import random
import re
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.providers.alembic.test_order import dump
from tests.providers.django_migrations.conftest import MANAGE, POLICY, migration
from tests.providers.django_migrations.test_run import manage

from dodai.migrations import run
from dodai.migrations.interpreter import Interpreter
from dodai.migrations.ports import MigrationTarget
from dodai.providers.django_migrations.tool import DjangoMigrations
from dodai.providers.postgres.cluster import Cluster
from dodai.providers.postgres.connection import connect

GRAPHS = int(os.environ.get("DODAI_GRAPHS", "2"))
"""So many are tried: 50 take some minutes, the suite tries a few."""
SETTINGS = """
SECRET_KEY = "only for tests"
INSTALLED_APPS = {apps!r}
DATABASES = {{"default": {{"ENGINE": "django.db.backends.postgresql", "NAME": "nowhere", "HOST": "db.invalid"}}}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""


def grown(choose: random.Random) -> dict[str, str]:
    """Apps that fork, are merged, and depend on each other, also backwards (`run_before`).

    Each migration adds a column to one table: the order of the columns is the order of the migrations.
    """
    apps = [f"app{letter}" for letter in choose.sample("abcdefgh", choose.randint(1, 3))]
    files = {"manage.py": MANAGE, "shop/__init__.py": "", "shop/settings.py": SETTINGS.format(apps=apps)}
    files |= {f"{app}/{path}__init__.py": "" for app in apps for path in ("", "migrations/")}
    ends: dict[str, list[str]] = {app: [] for app in apps}
    made: list[tuple[str, str]] = []
    names = [f"{number:04d}_{letter}" for number in range(1, 30) for letter in "abc"]
    choose.shuffle(names)

    def add(app: str, parents: list[str]) -> None:
        name = names.pop()
        needs = [(app, parent) for parent in parents]
        if made and choose.random() < 0.4:
            needs += [choose.choice(made)]
        column = f"{app}_{name}"
        sql = f'CREATE TABLE IF NOT EXISTS trace (id int); ALTER TABLE trace ADD COLUMN \\"{column}\\" int'
        back = f'ALTER TABLE trace DROP COLUMN \\"{column}\\"'
        text = migration(sorted(set(needs)), f'migrations.RunSQL("{sql}", "{back}")')
        files[f"{app}/migrations/{name}.py"] = text
        ends[app] = [*(end for end in ends[app] if end not in parents), name]
        made.append((app, name))

    for _ in range(choose.randint(4, 16)):
        app = choose.choice(apps)
        of_app = [name for owner, name in made if owner == app]
        if len(ends[app]) > 1 and choose.random() < 0.4:
            add(app, choose.sample(ends[app], 2))
        else:
            add(app, [choose.choice(of_app)] if of_app else [])
    for app in apps:
        if len(ends[app]) > 1:
            add(app, list(ends[app]))
    return files


def target_of(root: Path, url: str) -> MigrationTarget:
    tool = DjangoMigrations(root, "web", Interpreter(sys.executable))
    return MigrationTarget(root, POLICY, lambda: connect(url), tool=tool)


def without_times(text: str) -> str:
    """A dump in which Django's own table does not say when."""
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.\d]*\+00", "at some time", text)


@settings(max_examples=GRAPHS, deadline=None, suppress_health_check=list(HealthCheck))
@given(choose=st.randoms(use_true_random=False))
def test_any_graph_ends_in_djangos_own_schema(
    tmp_path_factory: pytest.TempPathFactory, postgres: Cluster, choose: random.Random
):
    """From an empty database, or from the middle, where Django itself had stopped."""
    root = tmp_path_factory.mktemp("graph")
    files = grown(choose)
    for name, text in files.items():
        path = root / "web" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with postgres.fresh_database("theirs") as theirs, postgres.fresh_database("ours") as ours:
        if choose.randint(0, 1):
            path = Path(choose.choice([name for name in files if "/migrations/0" in name]))
            for url in (theirs, ours):
                manage(target_of(root, url), url, "migrate", path.parts[0], path.stem)
        manage(target_of(root, theirs), theirs, "migrate")
        run.up(target_of(root, ours))
        assert run.up(target_of(root, ours)).ran == ()
        assert without_times(dump(ours, postgres)) == without_times(dump(theirs, postgres))
