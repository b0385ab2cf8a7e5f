"""Plain SQL files and golang-migrate's pairs are read without annotations."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.migrations.conftest import FAST

from dodai.core.errors import DodaiError
from dodai.migrations import run
from dodai.migrations.goose_file import FileError, parse_plain, read_files
from dodai.migrations.ports import MigrationTarget, SqlConnection

Make = Callable[..., MigrationTarget]
PLAIN = replace(FAST, format="plain")


def test_the_whole_file_is_up_cut_by_a_real_lexer():
    """Bodies, quotes and a missing last semicolon are no trouble."""
    migration = parse_plain("m/001_a.sql", b"CREATE TABLE a (b text);\nDO $$\nBEGIN\n  NULL;\nEND $$;\nSELECT 'x;y'")
    assert [(s.line, s.sql.partition("\n")[0]) for s in migration.up] == [
        (1, "CREATE TABLE a (b text);"),
        (2, "DO $$"),
        (6, "SELECT 'x;y'"),
    ]
    assert (migration.id, migration.name, migration.reversible, migration.transactional) == ("1", "a", False, True)


def test_a_file_with_concurrently_runs_outside_a_transaction():
    """There is no annotation to say so."""
    assert not parse_plain("m/1_a.sql", b"CREATE INDEX CONCURRENTLY i ON a (b);").transactional


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("COPY a FROM stdin;\n1\n", "do not end"),
        ("COPY a FROM stdin;\n1\n \\.\n", "do not end"),
        ("COPY a FROM stdin; SELECT 1;\n1\n\\.\n", "begin on the line behind"),
        ("COPY a FROM stdin", "begin on the line behind"),
        ("SELECT 'a", "not closed"),
        ("SELECT 1 /* a", "not closed"),
    ],
)
def test_what_cannot_be_sent_is_refused(text: str, said: str):
    """COPY without data or without their end, and open quotes; the line is that of the statement."""
    with pytest.raises(FileError) as caught:
        parse_plain("m/1_a.sql", f"SELECT 1;\n{text}".encode())
    problem = caught.value.problem
    assert (problem.code.id, problem.line) == ("DOD200", 2)
    assert said in problem.message


def test_golang_migrate_pairs_are_one_migration_each(make_target: Make, conn: SqlConnection):
    """Up and down stand in two files of one version."""
    files = {"000001_a.up.sql": "CREATE TABLE a (b int);", "000001_a.down.sql": "DROP TABLE a;"}
    folder = read_files({f"m/{name}": text.encode() for name, text in files.items()}, layout="plain")
    assert [(m.id, m.name, m.reversible) for m in folder.migrations] == [("1", "a", True)]
    target = make_target(files, PLAIN)
    run.up(target)
    assert conn.execute("SELECT to_regclass('a')").fetchone()[0] == "a"
    run.down(target)
    assert run.applied_ids(target) == ()


def test_python_formats_say_that_they_need_their_reader(make_target: Make):
    """Nothing is taken for an empty history."""
    target = make_target({"1_a.sql": "SELECT 1;"}, replace(FAST, format="alembic"))
    assert [p.code.id for p in run.status(target).problems] == ["DOD226"]


COPY = """CREATE TABLE a (b int, c text);
COPY a (b, c) FROM stdin;
1\tit's; -- no comment $$
2\t\\N
\\.

CREATE TABLE d (e int);
COPY d FROM STDIN WITH (FORMAT csv);
3
\\.
INSERT INTO d VALUES (4);
"""


def test_the_data_of_copy_follow_their_statement(make_target: Make, conn: SqlConnection):
    """As pg_dump writes them: nothing in a data line is SQL."""
    migration = parse_plain("m/1_a.sql", COPY.encode())
    assert [(s.line, s.sql.split()[0], s.data) for s in migration.up] == [
        (1, "CREATE", None),
        (2, "COPY", "1\tit's; -- no comment $$\n2\t\\N\n"),
        (7, "CREATE", None),
        (8, "COPY", "3\n"),
        (11, "INSERT", None),
    ]
    target = make_target({"1_a.sql": COPY, "2_b.sql": "COPY d FROM stdin;\n5\n\\.\n"}, PLAIN)
    run.up(target)
    assert conn.execute("SELECT b, c FROM a ORDER BY b").fetchall() == [(1, "it's; -- no comment $$"), (2, None)]
    assert [row[0] for row in conn.execute("SELECT e FROM d ORDER BY e").fetchall()] == [3, 4, 5]


def test_every_character_of_the_data_counts_and_comments_do_not():
    """White space in a data line is data."""
    one = parse_plain("m/1_a.sql", COPY.encode()).token_sha256
    assert parse_plain("m/1_a.sql", f"-- why\n{COPY}".encode()).token_sha256 == one
    assert parse_plain("m/1_a.sql", COPY.replace("1\t", "1\t ").encode()).token_sha256 != one


def test_bad_data_name_their_line_and_leave_nothing(make_target: Make, conn: SqlConnection):
    """The server counts data lines, the message lines of the file."""
    target = make_target({"1_a.sql": COPY.replace("2\t", "two\t")}, PLAIN)
    with pytest.raises(DodaiError) as caught:
        run.up(target)
    assert (caught.value.code.id, caught.value.data["line"], caught.value.data["sqlstate"]) == ("DOD280", 4, "22P02")
    assert run.applied_ids(target) == ()
    assert conn.execute("SELECT to_regclass('a')").fetchone()[0] is None


def test_copy_outside_a_transaction_happens_once(make_target: Make, conn: SqlConnection):
    """A file with CONCURRENTLY is recorded statement by statement, COPY with its rows."""
    text = "CREATE TABLE a (b int);\nCOPY a FROM stdin;\n1\n2\n\\.\nCREATE INDEX CONCURRENTLY i ON a (c);\n"
    target = make_target({"1_a.sql": text}, PLAIN)
    with pytest.raises(DodaiError) as caught:
        run.up(target)
    assert caught.value.code.id == "DOD283"
    run.up(make_target({"1_a.sql": text.replace("(c)", "(b)")}, PLAIN))
    assert conn.execute("SELECT count(*) FROM a").fetchone()[0] == 2


def test_a_runner_killed_in_the_middle_of_the_data_leaves_a_true_ledger(
    make_target: Make,
    conn: SqlConnection,
    database: str,
):
    """`kill -9` while the server waits for more: nothing of it stays, and the next run writes each row once."""
    rows = "".join(f"{n}\n" for n in range(200_000))
    target = make_target({"1_a.sql": f"CREATE TABLE a (b int);\nCOPY a FROM stdin;\n{rows}\\.\n"}, PLAIN)
    program = (
        "import os, signal, sys\nfrom pathlib import Path\nimport psycopg\n"
        "from dodai.migrations import run\nfrom dodai.migrations.policy import MigrationsPolicy\n"
        "from dodai.migrations.ports import MigrationTarget\n"
        "write, seen = psycopg.Copy.write, []\n"
        "def dying(self, data):\n"
        "    write(self, data)\n    seen.append(data)\n"
        "    if len(seen) == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "psycopg.Copy.write = dying\n"
        "run.up(MigrationTarget(Path(sys.argv[1]), MigrationsPolicy(format='plain'), lambda: psycopg.connect(sys.argv[2])))\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(target.root), database], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert run.applied_ids(target) == ()
    assert [ran.migration.id for ran in run.up(target).ran] == ["1"]
    assert conn.execute("SELECT count(*), count(DISTINCT b) FROM a").fetchone() == (200_000, 200_000)
    assert run.applied_ids(target) == ("1",)


def test_new_makes_what_the_folder_is_made_of(make_target: Make):
    """One file, or a pair where the last one is a pair; no annotations, and no mark that plain files do not have."""
    target = make_target({"0001_a.sql": "SELECT 1;"}, PLAIN)
    assert run.new(target, "b") == "db/migrations/0002_b.sql"
    assert (target.root / "db/migrations/0002_b.sql").read_text() == ""
    pairs = make_target({"0003_c.up.sql": "SELECT 1;", "0003_c.down.sql": "SELECT 1;"}, PLAIN)
    assert run.new(pairs, "d") == "db/migrations/0004_d.up.sql"
    assert (pairs.root / "db/migrations/0004_d.down.sql").is_file()
    with pytest.raises(DodaiError) as caught:
        run.new(pairs, "e", no_transaction=True)
    assert (caught.value.code.id, caught.value.exit_code) == ("DOD201", 2)
    assert "shows by itself" in caught.value.fix
