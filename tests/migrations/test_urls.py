"""The URL that the application uses is the one to migrate with, whichever library wrote its form."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.command import dodai

from dodai.core.database_url import libpq_url
from dodai.migrations.ports import SqlConnection

PLAIN = "postgresql://u:p%40+x@h:1/d"


@pytest.mark.parametrize(
    ("url", "wanted"),
    [
        (PLAIN, PLAIN),
        (PLAIN.replace("sql:", "sql+psycopg:"), PLAIN),
        (PLAIN.replace("sql:", "sql+asyncpg:"), PLAIN),
        (PLAIN + "?schema=public", PLAIN),
        (
            PLAIN + "?schema=shop&connection_limit=5&sslmode=require",
            PLAIN + "?sslmode=require&options=-csearch_path%3Dshop",
        ),
        (PLAIN + "?pgbouncer=true&channel_binding=require", PLAIN + "?channel_binding=require"),
        (PLAIN + "?options=endpoint%3Dep-x", PLAIN + "?options=endpoint%3Dep-x"),
        ("host=h dbname=d password='a?schema=b'", "host=h dbname=d password='a?schema=b'"),
    ],
)
def test_a_url_becomes_what_libpq_reads(url: str, wanted: str):
    """What libpq knows stays, byte for byte."""
    assert libpq_url(url) == wanted


@pytest.mark.parametrize("change", ["sql://|sql+psycopg://|", "||?schema=shop&connection_limit=5"])
def test_up_goes_where_the_url_of_another_library_leads(
    tmp_path: Path, database: str, conn: SqlConnection, change: str
):
    """A schema is where its tables and the ledger are made."""
    conn.execute("CREATE SCHEMA shop")
    old, new, more = change.split("|")
    (tmp_path / "dodai.toml").write_text('[project]\nname = "shop"\n[migrations]\n')
    (tmp_path / "db/migrations").mkdir(parents=True)
    (tmp_path / "db/migrations/1_a.sql").write_text("-- +goose Up\nCREATE TABLE a (b int);\n")
    url = database.replace(old, new, 1) + (more.replace("?", "&") if "?" in database else more)
    done = dodai("migrate", "up", cwd=tmp_path, DATABASE_URL=url)
    assert done.returncode == 0, done.stderr
    schema = "shop" if more else "public"
    assert conn.execute(f"SELECT to_regclass('{schema}.a'), to_regclass('{schema}.goose_db_version')").fetchone()[0]
