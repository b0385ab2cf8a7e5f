"""The commands reach what the area can do: live rules, fixing, Alembic, and a start that loads only what it needs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.migrations.conftest import up

from dodai.cli.main import run
from dodai.migrations.ports import SqlConnection

MANIFEST = '[project]\nname = "shop"\n\n[check]\nenvironment = { PLAIN = "1" }\n\n[migrations]\n'
ENV_PY = """
import os
from alembic import context
from sqlalchemy import create_engine
if context.is_offline_mode():
    context.configure(dialect_name="postgresql", literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()
else:
    url = os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg://")
    with create_engine(url).connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()
"""
REVISION = """
from alembic import op
revision = "a1"
down_revision = None
def upgrade():
    op.execute("CREATE TABLE quiz (id int PRIMARY KEY)")
def downgrade():
    op.execute("DROP TABLE quiz")
"""


@pytest.fixture
def project(tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one migration; the variable names the test's database."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATABASE_URL", database)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    (tmp_path / "dodai.toml").write_text(MANIFEST)
    folder = tmp_path / "db/migrations"
    folder.mkdir(parents=True)
    (folder / "1_a.sql").write_text(up("CREATE TABLE a (b int);", down=("DROP TABLE a;",)))
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = run((*words, "--json"))
    return code, json.loads(capsys.readouterr().out)


def codes_of(report: Any) -> set[str]:
    return {finding["code"] for finding in report["findings"]}


def test_drift_of_a_target_is_found(project: Path, conn: SqlConnection, capsys: pytest.CaptureFixture[str]):
    """A column that no file made is red with `--target`, and not looked for without."""
    run(("migrate", "up", "--quiet"))
    capsys.readouterr()
    code, report = answer(capsys, "check", "migrations", "--target", "local")
    assert (code, "DOD216" in report["judged"], report["unknown"]) == (0, True, report["unknown"])
    conn.execute("ALTER TABLE a ADD COLUMN sneaked int")
    code, report = answer(capsys, "check", "migrations", "--target", "local")
    drifted = [finding for finding in report["findings"] if "sneaked" in finding["message"]]
    assert (code, len(drifted)) == (1, 1)
    code, report = answer(capsys, "check", "migrations")
    assert not [finding for finding in report["findings"] if "sneaked" in finding["message"]]


def test_an_unknown_target_is_a_question_of_usage(project: Path, capsys: pytest.CaptureFixture[str]):
    """Exit 2, with the names there are."""
    code, error = answer(capsys, "check", "migrations", "--target", "stagin")
    assert (code, error["error"]["code"]) == (2, "DOD051")
    assert answer(capsys, "check", "--fast", "--target", "local")[0] == 2


def test_fix_annotates_a_file_that_goose_would_cut_and_says_so(project: Path, capsys: pytest.CaptureFixture[str]):
    """Only annotation lines are added; the second time there is nothing to write."""
    body = "CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$\nBEGIN\n  PERFORM 1;\nEND $$;"
    file = project / "db/migrations/2_f.sql"
    file.write_text(up(body, down=("DROP FUNCTION f;",)))
    assert "DOD221" in codes_of(answer(capsys, "check", "migrations", "--fast")[1])
    run(("check", "migrations", "--fast", "--fix"))
    assert "wrote: db/migrations/2_f.sql" in capsys.readouterr().err
    assert "-- +goose StatementBegin\n" + body in file.read_text()
    assert "DOD221" not in codes_of(answer(capsys, "check", "migrations", "--fast")[1])
    run(("check", "migrations", "--fast", "--fix"))
    assert "nothing to write" in capsys.readouterr().err


def test_alembic_is_one_format_among_others(project: Path, conn: SqlConnection, capsys: pytest.CaptureFixture[str]):
    """The same `status`, `up` and `check`, over revisions and the user's own Alembic."""
    pytest.importorskip("alembic")
    (project / "dodai.toml").write_text(f'{MANIFEST}folder = "alembic/versions"\nformat = "alembic"\n')
    (project / "alembic/versions").mkdir(parents=True)
    (project / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/alembic\n")
    (project / "alembic/env.py").write_text(ENV_PY)
    (project / "alembic/versions/a1.py").write_text(REVISION)
    code, report = answer(capsys, "check", "migrations", "--all")
    assert (code, codes_of(report)) == (0, set()), report
    assert answer(capsys, "migrate", "status")[1]["pending"] == ["a1"]
    code, done = answer(capsys, "migrate", "up")
    assert (code, [ran["id"] for ran in done["ran"]]) == (0, ["a1"])
    assert conn.execute("SELECT to_regclass('quiz') IS NOT NULL").fetchone()[0]
    seen = answer(capsys, "migrate", "status")[1]
    assert (seen["applied"], seen["pending"]) == (1, [])


def test_stats_says_unknown_where_nobody_counted(
    project: Path, conn: SqlConnection, capsys: pytest.CaptureFixture[str]
):
    """A table that was never analysed is not an empty table, and no rule may take it for one."""
    run(("migrate", "up", "--quiet"))
    conn.execute("INSERT INTO a SELECT generate_series(1, 50)")
    capsys.readouterr()
    run(("migrate", "stats"))
    assert "unknown  public.a" in capsys.readouterr().out
    assert "public.a" not in json.loads((project / "db/migrations/rows.json").read_text())["rows"]
    conn.execute("ANALYZE a")
    run(("migrate", "stats"))
    assert "50  public.a" in capsys.readouterr().out


def test_up_loads_only_what_it_needs(project: Path):
    """The command is typed all day: no host, no engine, no HTTP client, and without work not even what does it."""
    code = "import sys\nfrom dodai.cli.main import run\nassert run(['migrate', 'up']) == 0\nprint(*sorted(sys.modules))"

    def loaded() -> set[str]:
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=project, env=dict(os.environ), capture_output=True, text=True, check=True
        )
        return set(done.stdout.split())

    heavy = {
        "dodai.wiring.local_provider",
        "dodai.wiring.environments",
        "dodai.engine.execute",
        "dodai.engine.journal",
        "dodai.engine.lease",
        "dodai.engine.plan",
        "dodai.providers.local",
        "dodai.migrations.check",
        "dodai.csrf.check",
        "dodai.operations.codes",
    }
    heavy |= {"httpx", "httpx2", "dodai.migrations.run.copy_rehearsal", "sqlalchemy", "grpc"}
    heavy |= {"dodai.runtime.process", "dodai.core.page", "dodai.operations.local_control"}
    first, again = loaded(), loaded()
    assert "dodai.migrations.apply.batch" in first
    assert not first & heavy
    assert not first & {"psycopg", "asyncio"}
    assert not again & {"dodai.migrations.apply.batch", "dodai.migrations.apply.failure_report"}


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("postgresql://u:secret@db.example/x?hostaddr=127.0.0.1&port={port}", "DOD066"),
        ("postgresql://u:secret@localhost/x?hostaddr=203.0.113.5&port={port}", "DOD066"),
        ("postgresql://u:secret@ep-x-pooler.example/x?sslmode=verify-full&hostaddr=127.0.0.1&port={port}", "DOD067"),
    ],
)
@pytest.mark.parametrize("command", ["up", "status", "rehearse"])
def test_an_address_that_is_refused_gets_no_password(
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
    url: str,
    code: str,
):
    """Nothing connects there: the refusal comes before the first byte."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        monkeypatch.setenv("DATABASE_URL", url.format(port=server.getsockname()[1]))
        assert run(["migrate", command]) == 1
        with pytest.raises(BlockingIOError):
            server.accept()
    assert code in capsys.readouterr().err


def test_status_says_how_far_a_half_applied_file_got(project: Path, capsys: pytest.CaptureFixture[str]):
    """The two statements that are done, of four."""
    text = "-- +goose NO TRANSACTION\n-- +goose Up\nCREATE TABLE h (i int);\nSELECT 1;\nSELECT nope;\nSELECT 2;\n"
    (project / "db/migrations/9_half.sql").write_text(text)
    assert run(["migrate", "up"]) == 4
    assert run(["migrate", "status"]) == 0
    assert "half applied db/migrations/9_half.sql  2 of 4 statements" in capsys.readouterr().out
