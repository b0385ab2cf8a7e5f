"""Six generated histories in the shape of six public ones (size, format, traps), through all that a user types.

goose 131 (own ledger, NO TRANSACTION, no way back, own BEGIN and COMMIT, a role, a bad Down), diesel 342, Flyway 327
(data in COPY), Django 205 in 8 apps, Alembic 144 with forks and merges, plain 2. Whole processes; what is not as
expected stops the run. `python benchmarks/migration_histories_benchmark.py [NAME…]`
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from results import record

from dodai.providers.postgres.cluster import Cluster, throw_away

TIMEOUT_S = 600
NEW = 3
"""So many of the last files are new against `main`."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A history: how it is written below a root, the `[migrations]` section, its size, what `check --all` must find."""

    id: str
    size: int
    write: Callable[[Path, int], list[str]]
    section: str
    found: tuple[str, ...] = ()
    down: bool = True
    manifest: str = ""
    at: str = ""
    """What `adopt` has to be told: the last one, where it is a merge that changes nothing."""


# --- SQL files


def change(number: int) -> tuple[str, str]:
    """The nth change and its way back: a table, a column of it, an index of that."""
    table = f"t{(number - 1) // 3}"
    if number % 3 == 1:
        columns = (
            "name text NOT NULL, state text NOT NULL DEFAULT 'new' CHECK (state <> ''), at timestamptz DEFAULT now()"
        )
        key = "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
        return f"CREATE TABLE {table} ({key}, {columns});", f"DROP TABLE {table};"
    if number % 3 == 2:
        return f"ALTER TABLE {table} ADD COLUMN note text;", f"ALTER TABLE {table} DROP COLUMN note;"
    return f"CREATE VIEW {table}_new AS SELECT id, name FROM {table} WHERE state = 'new';", f"DROP VIEW {table}_new;"


def put(path: Path, text: str) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return str(path)


def goose(root: Path, size: int) -> list[str]:
    """Every third file without a transaction, one of five without a way back, some with their own BEGIN and COMMIT."""
    paths = []
    for number in range(1, size + 1):
        up, down = change(number)
        head = ""
        if number % 3 == 2:
            table = f"t{(number - 1) // 3}"
            head = "-- +goose NO TRANSACTION\n"
            up, down = f"CREATE INDEX CONCURRENTLY i{number} ON {table} (at);", f"DROP INDEX CONCURRENTLY i{number};"
        elif number % 18 == 4:
            up = f"BEGIN;\n{up}\nCOMMIT;"
        elif number == 7:
            role = "DO $$\nBEGIN\n  CREATE ROLE authenticated;\nEXCEPTION WHEN duplicate_object THEN NULL;\nEND $$;"
            up = f"-- +goose StatementBegin\n{role}\n-- +goose StatementEnd\n{up}"
        elif number == 9:
            down = "DROP VIEW IF;"
        back = "" if number % 5 == 0 else f"-- +goose Down\n{down}\n"
        paths.append(
            put(root / f"db/migrations/{20230000000000 + number}_change.sql", f"{head}-- +goose Up\n{up}\n{back}")
        )
    return paths


def diesel(root: Path, size: int) -> list[str]:
    paths = []
    for number in range(1, size + 1):
        up, down = change(number)
        name = (
            "00000000000000_diesel_initial_setup"
            if number == 1
            else f"2023-01-{number // 86400 + 1:02d}-{number:06d}_change"
        )
        paths.append(put(root / f"db/migrations/{name}/up.sql", up))
        put(root / f"db/migrations/{name}/down.sql", down)
        if number % 40 == 2:
            put(root / f"db/migrations/{name}/metadata.toml", "run_in_transaction = false\n")
    return paths


def flyway(root: Path, size: int) -> list[str]:
    paths = []
    for number in range(1, size + 1):
        up, _ = change(number)
        if number % 30 == 1:
            table = f"t{(number - 1) // 3}"
            data = "".join(f"name {row}\tnew\n" for row in range(2000))
            up += f"\nCOPY {table} (name, state) FROM stdin;\n{data}\\.\n"
        folder = f"db/migrations/{number // 100}"
        paths.append(put(root / folder / f"V{number // 50 + 1}.{number % 50}__change.sql", up))
    return paths


def plain(root: Path, _: int) -> list[str]:
    """The application that dodai began with: everything again on each run, with psql."""
    first = f"""CREATE EXTENSION IF NOT EXISTS pgcrypto;
{change(1)[0]}
CREATE FUNCTION touch() RETURNS trigger AS $$
BEGIN
  NEW.at = now();
  RETURN NEW;
END $$ LANGUAGE plpgsql;
CREATE TRIGGER t0_touch BEFORE UPDATE ON t0 FOR EACH ROW EXECUTE FUNCTION touch();
"""
    return [
        put(root / "db/migrations/20260101000000_init.sql", first),
        put(root / "db/migrations/20260102000000_more.sql", change(4)[0]),
    ]


# --- Python

ENV_PY = """
import os
from alembic import context
from sqlalchemy import create_engine, pool
with create_engine(os.environ["APP_URL"].replace("postgresql://", "postgresql+psycopg://", 1),
                   poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""


def alembic(root: Path, size: int) -> list[str]:
    """A fork every twelve revisions, merged again; one of them reads rows."""
    put(root / "alembic.ini", "[alembic]\nscript_location = %(here)s/alembic\n")
    put(root / "alembic/env.py", ENV_PY)
    paths, heads = [], ["None"]
    for number in range(1, size + 1):
        up, down = change(number)
        if number % 3 == 2:
            up, down = f"CREATE TABLE b{number} (id int)", f"DROP TABLE b{number}"
        parent = heads[0]
        if number % 12 == 0 and len(heads) > 1:
            parent, up, down = f"({heads[0]}, {heads[1]})", "SELECT 1", "SELECT 1"
            heads = [f'"r{number}"']
        elif number % 12 == 5:
            heads = [f'"r{number - 1}"', f'"r{number}"']
            up, down = f"CREATE TABLE b{number} (id int)", f"DROP TABLE b{number}"
        else:
            heads[0] = f'"r{number}"'
        reads = (
            "    assert op.get_bind().exec_driver_sql('SELECT count(*) FROM t0').scalar() == 0\n"
            if number == 20
            else ""
        )
        paths.append(put(
            root / f"alembic/versions/r{number}.py",
            f'from alembic import op\nrevision = "r{number}"\ndown_revision = {parent}\n'
            f'def upgrade():\n{reads}    op.execute("""{up}""")\ndef downgrade():\n    op.execute("""{down}""")\n',
        ))  # fmt: skip
    if len(heads) > 1:
        raise SystemExit(f"{size} revisions end in two heads")
    return paths


APPS = 8
SETTINGS = """
import os
from urllib.parse import urlsplit
url = urlsplit(os.environ.get("APP_URL", ""))
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": url.path[1:], "HOST": url.hostname,
                         "PORT": url.port, "USER": url.username, "PASSWORD": url.password}}
INSTALLED_APPS = [%s]
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


def django(root: Path, size: int) -> list[str]:
    apps = [f"app{number}" for number in range(APPS)]
    put(root / "manage.py", MANAGE)
    put(root / "settings.py", SETTINGS % ", ".join(f'"{app}"' for app in apps))
    counts = dict.fromkeys(apps, 0)
    choose = random.Random(1)
    paths = []
    for app in apps:
        put(root / app / "__init__.py", "")
        put(root / app / "migrations/__init__.py", "")
    for number in range(size):
        app = apps[number % APPS]
        count = counts[app] = counts[app] + 1
        needs = [f'("{app}", "{count - 1:04d}_change")'] if count > 1 else []
        other = choose.choice(apps)
        if other != app and counts[other]:
            needs.append(f'("{other}", "{counts[other]:04d}_change")')
        model = f"M{(count - 1) // 2}"
        if count % 2:
            fields = '[("id", models.BigAutoField(primary_key=True)), ("a", models.TextField())]'
            operation = f'migrations.CreateModel("{model}", {fields})'
        else:
            operation = f'migrations.AddField("{model}", "b", models.TextField(null=True))'
        paths.append(put(
            root / app / f"migrations/{count:04d}_change.py",
            "from django.db import migrations, models\nclass Migration(migrations.Migration):\n"
            f"    dependencies = [{', '.join(needs)}]\n    operations = [{operation}]\n",
        ))  # fmt: skip
    return paths


PYTHON = f'[project]\nname = "bench"\npython = "{sys.executable}"\n[database]\nvariable = "APP_URL"\n'
SHAPES = (
    Shape("goose 131", 131, goose, 'ledger = "public.history"\n', ("DOD209", "DOD211")),
    Shape("diesel 342", 342, diesel, 'format = "diesel"\n'),
    Shape("Flyway 327", 327, flyway, 'format = "flyway"\n', ("DOD211",), down=False),
    Shape("Django 205", 205, django, 'format = "django"\nfolder = "."\n', manifest=PYTHON),
    Shape("Alembic 144", 144, alembic, 'format = "alembic"\nfolder = "alembic/versions"\n', manifest=PYTHON, at="r144"),
    Shape("plain 2", 2, plain, 'format = "plain"\n', ("DOD211",), down=False),
)


# --- the commands


@dataclass(slots=True)
class Course:
    shape: Shape
    root: Path
    url: str
    taken: dict[str, float] = field(default_factory=dict)

    def dodai(self, name: str, *words: str, code: int = 0, said: str = "", said_not: str = "") -> str:
        """What a command printed; its exit code and words must be the expected ones."""
        began = time.perf_counter()
        variables = {"DATABASE_URL": self.url, "APP_URL": self.url, "PYTHONDONTWRITEBYTECODE": ""}
        done = subprocess.run(
            [sys.executable, "-m", "dodai", "migrate", *words], cwd=self.root, env={**os.environ, **variables},
            capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        self.taken[name] = time.perf_counter() - began
        text = done.stdout + done.stderr
        if done.returncode != code or said not in text or (said_not and said_not in text):
            raise SystemExit(
                f"{self.shape.id}: {' '.join(words)}: exit {done.returncode}, wanted {code}, `{said}`:\n{text[-3000:]}"
            )
        return text


def git(root: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=root, check=True, capture_output=True)


def walk(shape: Shape, cluster: Cluster, root: Path) -> Course:
    paths = shape.write(root, shape.size)
    project = shape.manifest or '[project]\nname = "bench"\n'
    put(root / "dodai.toml", f'{project}[migrations]\n{shape.section}base = "main"\n')
    new = paths[-NEW:] if shape.size > NEW else []
    git(root, "init", "-b", "main")
    git(root, "add", ".")
    if new:
        git(root, "rm", "--cached", "-q", *(str(Path(path).relative_to(root)) for path in new))
    git(root, "commit", "-m", "history")
    git(root, "checkout", "-b", "branch")
    name = shape.id.split()[0].lower()
    cluster.create_database(name)
    course = Course(shape, root, cluster.dsn(name, tcp=True))
    run = course.dodai
    run("check, new files", "check", code=1 if "DOD211" in shape.found and new else 0, said_not="not judged:")
    git(root, "add", ".")
    git(root, "commit", "--allow-empty", "-m", "new")
    git(root, "branch", "-f", "main")
    run("check, nothing new", "check", said_not="not judged:")
    everything = run("check --all", "check", "--all", code=1 if shape.found else 0, said_not="not judged:")
    missing = [code for code in shape.found if code not in everything]
    if missing:
        raise SystemExit(f"{shape.id}: check --all did not find {missing}")
    run("up", "up", said="applied")
    run("up again", "up", said="already up to date")
    run("status", "status", said=f"{shape.size} applied, 0 pending")
    if shape.down:
        run("down", "down", "--yes", said="undone")
        run("up one", "up", said="applied")
    else:
        run("down", "down", "--yes", code=1, said="DOD256")
    forget(cluster, name)
    run("up, unmanaged", "up", code=1, said="DOD265")
    run(
        "adopt",
        "adopt",
        "--yes",
        *(("--at", shape.at) if shape.at else ()),
        said=f"{shape.size} migrations are in effect",
    )
    run("status", "status", said=f"{shape.size} applied, 0 pending")
    cluster.drop_database(name)
    return course


def forget(cluster: Cluster, name: str) -> None:
    """The database as if nobody had kept a record."""
    from dodai.providers.postgres.connection import connect

    conn = connect(cluster.dsn(name), autocommit=True)
    ledger = {"django": "django_migrations", "alembic": "alembic_version"}.get(name, "goose_db_version")
    conn.execute(f"DROP SCHEMA dodai CASCADE; DROP TABLE {'public.history' if name == 'goose' else ledger}")
    conn.close()


def main() -> None:
    wanted = sys.argv[1:]
    chosen = [shape for shape in SHAPES if not wanted or shape.id.split()[0].lower() in wanted]
    rows = []
    for shape in chosen:
        with tempfile.TemporaryDirectory() as folder, throw_away(tcp=True) as cluster:
            taken = walk(shape, cluster, Path(folder)).taken
        print(shape.id, {name: round(seconds, 2) for name, seconds in taken.items()}, flush=True)
        columns = ("up", "up again", "check, new files", "check, nothing new", "check --all", "down", "adopt")
        rows.append((shape.id, *(f"{taken[name]:.2f} s" for name in columns)))
    if not wanted:
        title = "Six generated histories through every command, whole processes, once each"
        heads = ("history", "up", "up again", "check, 3 new", "check, nothing new", "check --all", "down", "adopt")
        notes = (
            f"Every exit code and word was the expected one; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores."
        )
        record("migration-histories", title, heads, tuple(rows), notes)


if __name__ == "__main__":
    main()
