"""`dodai migrate up` of Alembic's and Django's migrations beside the tool itself: whole processes, interleaved.

Both begin with an empty database and end in the same schema, which is compared. A ratio is that of two runs of one
round, next to each other. `python benchmarks/migration_tools_benchmark.py [ROUNDS]`
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from results import record, spread

from dodai.migrations.snapshot import Snapshot, snapshot
from dodai.providers.postgres.cluster import Cluster, throw_away
from dodai.providers.postgres.connection import connect

ROUNDS = int(sys.argv[1]) if len(sys.argv) > 1 else 5
SIZES = (50, 500)
BUDGET = 1.3
TIMEOUT_S = 300

ENV_PY = """
import os
from alembic import context
from sqlalchemy import create_engine
with create_engine(os.environ["APP_URL"].replace("postgresql://", "postgresql+psycopg://")).connect() as connection:
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()
"""
SETTINGS = """
import os
from urllib.parse import urlsplit
url = urlsplit(os.environ["APP_URL"])
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "HOST": url.hostname,
                         "PORT": url.port, "USER": url.username, "PASSWORD": url.password}}
INSTALLED_APPS = ["app"]
USE_TZ = True
SECRET_KEY = "of a benchmark"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
"""
MANAGE = """
import os, sys
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")
from django.core.management import execute_from_command_line
execute_from_command_line(sys.argv)
"""


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def alembic(root: Path, size: int) -> list[str]:
    """Tables and columns in turn; the command of the tool itself."""
    put(root / "alembic.ini", "[alembic]\nscript_location = %(here)s/alembic\n")
    put(root / "alembic/env.py", ENV_PY)
    for number in range(1, size + 1):
        table = f"t{(number - 1) // 2}"
        up = f'op.create_table("{table}", sa.Column("id", sa.Integer, primary_key=True), sa.Column("a", sa.Text))'
        down = f'op.drop_table("{table}")'
        if number % 2 == 0:
            up, down = f'op.add_column("{table}", sa.Column("b", sa.Integer))', f'op.drop_column("{table}", "b")'
        before = f'"r{number - 1}"' if number > 1 else "None"
        put(
            root / f"alembic/versions/r{number}_change.py",
            f'import sqlalchemy as sa\nfrom alembic import op\nrevision = "r{number}"\ndown_revision = {before}\n'
            f"def upgrade():\n    {up}\ndef downgrade():\n    {down}\n",
        )
    return ["-m", "alembic", "upgrade", "heads"]


def django(root: Path, size: int) -> list[str]:
    """Ten models whose columns come one by one; the command of the tool itself."""
    put(root / "manage.py", MANAGE)
    put(root / "settings.py", SETTINGS)
    put(root / "app/__init__.py", "")
    put(root / "app/migrations/__init__.py", "")
    for number in range(1, size + 1):
        model = f"M{(number - 1) % 10}"
        fields = '[("id", models.BigAutoField(primary_key=True)), ("a", models.TextField())]'
        operation = f'migrations.CreateModel("{model}", {fields})'
        if number > 10:
            operation = f'migrations.AddField("{model}", "c{number}", models.TextField(null=True))'
        needs = f'("app", "{number - 1:04d}_change")' if number > 1 else ""
        put(
            root / f"app/migrations/{number:04d}_change.py",
            "from django.db import migrations, models\nclass Migration(migrations.Migration):\n"
            f"    dependencies = [{needs}]\n    operations = [{operation}]\n",
        )
    return ["manage.py", "migrate", "-v", "0"]


@dataclass(frozen=True, slots=True)
class Case:
    id: str
    size: int
    write: Callable[[Path, int], list[str]]
    section: str


CASES = tuple(
    case
    for size in SIZES
    for case in (
        Case("Alembic", size, alembic, 'format = "alembic"\nfolder = "alembic/versions"\n'),
        Case("Django", size, django, 'format = "django"\nfolder = "."\n'),
    )
)


def run(cluster: Cluster, root: Path, words: list[str]) -> tuple[float, Snapshot]:
    """Seconds of a run on an empty database, and the schema it made."""
    cluster.create_database("bench")
    url = cluster.dsn("bench", tcp=True)
    environment = {**os.environ, "APP_URL": url, "PYTHONDONTWRITEBYTECODE": ""}
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=root, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S,
        check=False,
    )  # fmt: skip
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed with {done.returncode}: {done.stderr[-2000:]}")
    with connect(url, autocommit=True) as conn:
        made = snapshot(conn)
    cluster.drop_database("bench")
    return seconds, made


def measure(case: Case, cluster: Cluster, root: Path) -> tuple[list[float], list[float]]:
    own = case.write(root, case.size)
    project = f'[project]\nname = "bench"\npython = "{sys.executable}"\n[database]\nvariable = "APP_URL"\n'
    put(root / "dodai.toml", f"{project}[migrations]\n{case.section}")
    run(cluster, root, own)  # both find the bytecode of the migrations
    theirs, ours = [], []
    for _ in range(ROUNDS):
        alone, wanted = run(cluster, root, own)
        through, made = run(cluster, root, ["-m", "dodai", "migrate", "up"])
        if made != wanted:
            raise SystemExit(f"{case.id} {case.size}: another schema: {wanted.differences(made)[:5]}")
        theirs.append(alone)
        ours.append(through)
    return theirs, ours


def main() -> None:
    rows = []
    for case in CASES:
        with tempfile.TemporaryDirectory() as folder, throw_away(tcp=True) as cluster:
            theirs, ours = measure(case, cluster, Path(folder))
        ratios = [mine / alone for mine, alone in zip(ours, theirs, strict=True)]
        print(case.id, case.size, f"{statistics.median(ratios):.2f}", flush=True)
        figures = (spread(theirs, "s", 2), spread(ours, "s", 2), spread(ratios, "×", 2))
        rows.append((f"{case.id}, {case.size}", *figures, f"{BUDGET:g} ×"))
    title = f"Migrations of another tool through `dodai migrate up`, fsync off, median of {ROUNDS} interleaved rounds"
    heads = ("migrations", "the tool itself", "through dodai", "ratio", "budget")
    notes = f"Both end in the same schema; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the end."
    record("migration-tools", title, heads, tuple(rows), notes)


if __name__ == "__main__":
    main()
